"""A run folder and its corpus, made up but complete: small enough to compute every number of it by hand."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

SAMPLING_RATE = 16_000


def prediction(**changes: Any) -> dict[str, Any]:
    """A greedy, correct, thinking answer to one question, as a line of predictions.jsonl."""
    row = {
        "stage": "4_grpo",
        "cut": "clip-0",
        "piece": "piece-0",
        "conversation": "clip-0-instrument-open",
        "question_name": "instrument",
        "form": "open",
        "question": "Which instrument enters first?",
        "options": None,
        "mode": "think",
        "audio": "own",
        "decoding": "greedy",
        "temperature": 1.0,
        "completion": "<think> with drums . </think> <answer> flute </answer>",
        "think": "with drums .",
        "answer": "flute",
        "truth": "flute",
        "correct": True,
        "why": "said flute, truth flute",
        "rewards": {"format": 1.0, "accuracy": 1.0},
        "reward": 2.0,
        "steps": [{"field": "drums", "value": "drums", "true": True}],
        "num_tokens": 9,
        "entropy": 0.2,
    }
    return row | changes


def custom(first: str = "flute", tempo: str = "fast", piece: str = "piece-0") -> dict[str, Any]:
    """What a cut of a duet with drums knows; two questions and a caption are asked about it."""
    conversations = [
        {"question_name": "instrument", "question": "Which instrument enters first?", "answer": first},
        {"question_name": "tempo", "question": "How fast is the tempo?", "answer": tempo},
    ]
    return {
        "piece": piece,
        "tradition": "fiddle tune",
        "truth": {
            "entries": [{"instrument": first, "start": 0.0}, {"instrument": "violin", "start": 1.0}],
            "change": "louder",
            "change_time": 1.5,
            "chord": {"name": "G major", "start": 0.5},
        },
        "observations": [
            {"field": "first_instrument", "value": first, "start": 0.0},
            {"field": "drums", "value": "drums", "start": None},
        ],
        "conversations": [
            {"form": "open", "task": "qa", "answer_type": "text", "value": each["answer"], **each}
            for each in conversations
        ]
        + [
            {
                "form": "caption",
                "task": "caption",
                "question_name": "caption",
                "question": "Describe the music.",
                "answer": f"{first} and violin .",
            }
        ],
    }


def write_predictions(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")


def write_scalars(folder: Path, scalars: Mapping[str, Iterable[tuple[int, float]]], wall_time: float = 1.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(str(folder), filename_suffix=f".{wall_time}")
    for tag, points in scalars.items():
        for step, value in points:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(wall_time=wall_time, step=step, summary=summary))
    writer.close()


def write_stage(
    run: Path,
    name: str,
    rows: Iterable[Mapping[str, Any]] | None = None,
    *,
    corpus: Path | None = None,
    noise: str = "",
) -> Path:
    """A stage folder with everything in it; no predictions.jsonl when `rows` is None."""
    folder = run / name
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({"name": name, "seconds": 95.0, "peak_rss_mib": 812.5}))
    recipe = f"seed_everything: 7\nrun: {{corpus: {corpus}}}\ndata:\n  init_args:\n"
    recipe += f"    corpus: ${{run.corpus}}\n{noise}"
    (folder / "recipe.yaml").write_text(recipe)
    write_scalars(folder / "tensorboard" / "version_0", {"train/loss": [(0, 2.0), (1, 1.0)], "lr-Adam": [(0, 1e-3)]})
    if rows is not None:
        write_predictions(folder, rows)
    return folder


def write_corpus(
    folder: Path, train: Iterable[Mapping[str, Any]], test: Iterable[Mapping[str, Any]], seconds: float = 2.0
) -> Path:
    """A corpus folder of tones; cut ids are train-0, train-1 ... and clip-0, clip-1 ..."""
    for split, prefix, customs in (("train", "train", train), ("test", "clip", test)):
        cuts = [_tone_cut(folder, split, f"{prefix}-{number}", each, seconds) for number, each in enumerate(customs)]
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    (folder / "corpus.json").write_text(json.dumps({"seed": 3, "clips": 5}))
    vocabulary = {"fields": {"instruments": ["flute", "oboe", "violin", "drums"], "tempo": ["slow", "fast"]}}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    return folder


def _tone_cut(folder: Path, split: str, name: str, known: Mapping[str, Any], seconds: float) -> MonoCut:
    audio = folder / "audio" / split / f"{name}.flac"
    audio.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    soundfile.write(audio, 0.3 * np.sin(2 * math.pi * 440 * time) * np.minimum(1, time), SAMPLING_RATE)
    recording = Recording.from_file(audio, recording_id=name)
    recording.sources[0].source = str(audio.relative_to(folder))
    conversations = [each | {"id": f"{name}-{each['question_name']}-{each['form']}"} for each in known["conversations"]]
    cut = recording.to_cut()
    cut.id = name
    cut.custom = {**known, "conversations": conversations}
    return cut


@pytest.fixture(scope="session")
def builders() -> SimpleNamespace:
    """The functions of this file, as test modules cannot import one another."""
    return SimpleNamespace(
        prediction=prediction,
        custom=custom,
        write_predictions=write_predictions,
        write_scalars=write_scalars,
        write_stage=write_stage,
        write_corpus=write_corpus,
    )
