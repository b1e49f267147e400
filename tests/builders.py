"""Small models, songs and rows for tests: real classes, real processor, no files from elsewhere."""

import json
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from lhotse import CutSet, Recording
from lhotse.cut import Cut
from lightning import Trainer
from transformers import MusicFlamingoConfig, MusicFlamingoForConditionalGeneration, MusicFlamingoProcessor

from music_flamingo.batch import PackedBatch, RowBuilder
from music_flamingo.corpora.songbook.captions import metadata
from music_flamingo.corpora.songbook.observations import observe
from music_flamingo.corpora.songbook.questions import ask
from music_flamingo.corpora.songbook.vocabulary import songbook_vocabulary
from music_flamingo.models import MusicFlamingo
from music_flamingo.models.audio_frontend import WhisperFrontend
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.presets import build_config, build_network, build_processor
from music_flamingo.new_model import BUILDERS

QUESTIONS = ("Which instrument enters first?", "Are there drums?", "What is the tempo?")
ANSWERS = ("the flute", "yes", "fast tempo")
TEXTS = (*QUESTIONS, *ANSWERS, "at 0 s the flute begins . with drums . hence , the final answer is :") * 8

_folder = TemporaryDirectory(prefix="music-flamingo-tests-")


@lru_cache
def model_directory() -> Path:
    """An untrained tiny model with a small tokenizer, as a Hugging Face directory."""
    directory = Path(_folder.name) / "tiny"
    processor = build_processor(TEXTS, vocabulary=320, num_mel_bins=64, window_seconds=10)
    torch.manual_seed(0)
    network = build_network(build_config("tiny", processor))
    network.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


@lru_cache
def preset_directory(preset: str) -> Path:
    """An untrained model of a preset with its processor, whose cross-attention, if any, is open."""
    directory = Path(_folder.name) / preset
    torch.manual_seed(0)
    network, preset_processor = BUILDERS[preset](preset, TEXTS)
    for name, parameter in network.named_parameters():
        if name.endswith("_gate"):
            parameter.data.fill_(0.7)  # untrained it lets nothing through
    network.save_pretrained(directory)
    preset_processor.save_pretrained(directory)
    return directory


def tiny_model() -> MusicFlamingo:
    return MusicFlamingo(str(model_directory())).eval()


def hf_model() -> MusicFlamingoForConditionalGeneration:
    """The same weights in transformers' own class, with transformers' own attention."""
    return MusicFlamingoForConditionalGeneration.from_pretrained(model_directory(), local_files_only=True).eval()


def full_size_config() -> MusicFlamingoConfig:
    """Music Flamingo's own: transformers' encoder as it is by default, and Qwen2.5-7B."""
    sizes = {"vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28}
    heads = {"num_attention_heads": 28, "num_key_value_heads": 4}
    return MusicFlamingoConfig(text_config={"model_type": "qwen2", **sizes, **heads})


@lru_cache
def processor() -> MusicFlamingoProcessor:
    return MusicFlamingoProcessor.from_pretrained(model_directory(), local_files_only=True)


def chat() -> ConversationFormat:
    return ConversationFormat(processor())


def frontend() -> WhisperFrontend:
    return WhisperFrontend(processor().feature_extractor)


def song(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """A gliding tone with noise, (S,) float32 at 16 kHz."""
    t = np.arange(round(16_000 * seconds)) / 16_000
    rng = np.random.default_rng(seed)
    glide = 0.3 * np.sin(2 * np.pi * (220 + 40 * seed + 15 * t) * t)
    return (glide + 0.02 * rng.standard_normal(len(t))).astype(np.float32)


def question_row(
    songs: Sequence[npt.NDArray[np.float32]],
    questions: Sequence[str] = QUESTIONS,
    answers: Sequence[str] | None = ANSWERS,
) -> PackedBatch:
    """One root per song, one branch per question, with its answer unless `answers` is None."""
    form, windows_of = chat(), frontend()
    row = RowBuilder(form.processor.audio_token_id)
    for number, waveform in enumerate(songs):
        windows = windows_of(waveform)
        root = row.add(form.song_ids(windows), windows=windows, example={"custom": {"piece": f"piece {number}"}})
        for index, question in enumerate(questions):
            prompt = form.question_ids(question)
            answer = [] if answers is None else form.answer_ids(answers[index])
            row.add(prompt + answer, parent=root, train_from=len(prompt) if answer else None)
    return row.build()


def chat_text(question: str, answer: str = "") -> str:
    """The conversation as transformers' processor reads it."""
    content = [{"type": "audio"}, {"type": "text", "text": question}]
    prompt = processor().apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return f"{prompt}{answer}<|im_end|>" if answer else prompt


def truth(number: int = 0) -> dict[str, Any]:
    """The truth of a clip, varied by `number`."""
    first, last = (("flute", "violin"), ("piano", "piano"), ("oboe", "trumpet"))[number % 3]
    solo = first == last
    return {
        "instruments": list(dict.fromkeys((first, last))),
        "first_instrument": first,
        "last_instrument": last,
        "entries": [{"instrument": first, "start": 0.0}] + ([] if solo else [{"instrument": last, "start": 3.9}]),
        "last_entry": 0.0 if solo else 3.9,
        "drums": number % 2 == 0,
        "texture": "solo" if solo else "duet",
        "bpm": 96 + number,
        "tempo": "moderate",
        "meter": "3/4",
        "tonic": "G",
        "mode": "major",
        "change": "louder" if number % 2 else "none",
        "change_time": 5.1 if number % 2 else None,
        "chord": None,
        "sections": None,
        "section_starts": None,
        "dance": None,
    }


def write_corpus(folder: Path, train: int = 8, held_out: int = 3, seconds: float = 10.0) -> Path:
    """A corpus folder of gliding tones with songbook's questions and answers."""
    for split, count in (("train", train), ("val", held_out), ("test", held_out)):
        cuts = [_cut(folder, split, number, seconds) for number in range(count)]
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    (folder / "vocabulary.json").write_text(json.dumps(songbook_vocabulary()))
    return folder


def write_transcripts(corpus: Path, texts: Mapping[str, str], question_name: str = "transcription") -> Path:
    """Add to each song of a corpus a transcript in each language; `texts` has what is heard by the language."""
    for file in corpus.glob("cuts_*.jsonl*"):
        cuts = list(CutSet.from_jsonl_lazy(file))
        for cut in cuts:
            spoken = {"task": "qa", "question_name": question_name, "form": "open", "question": "What is said?"}
            cut.custom["conversations"] += [
                {"id": f"{cut.id}-spoken-{language}", **spoken, "answer": text, "language": language}
                for language, text in texts.items()
            ]
        CutSet(cuts).to_file(file)
    return corpus


def _cut(folder: Path, split: str, number: int, seconds: float) -> Cut:
    name = f"{split}-{number}"
    path = folder / "audio" / f"{name}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, song(seconds, number), 16_000)
    facts = truth(number)
    noted, tradition = observe(facts), "chorale"
    about = metadata(facts, tradition)
    recording = Recording.from_file(path, recording_id=name)
    recording.sources[0].source = str(path.relative_to(folder))
    cut = recording.to_cut()
    cut.id = name
    cut.custom = {
        "piece": f"piece-{name}",
        "tradition": tradition,
        "difficulty": number % 3,
        "truth": facts,
        "metadata": about,
        "observations": noted,
        "conversations": ask(facts, noted, about, cut_id=name, tradition=tradition, rng=random.Random(number)),
    }
    return cut


def quiet_trainer(folder: Path, **settings: Any) -> Trainer:
    """A trainer on the CPU without logger, checkpoints, bars, summary or validation, unless `settings` say so."""
    quiet: dict[str, Any] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "use_distributed_sampler": False,
    }
    return Trainer(**{**quiet, **settings})
