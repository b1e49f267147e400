"""Does a slice of Music Flamingo at its true widths train, sample, save and load on a CPU within 20 GiB?

    python benchmarks/full_size_slice.py          about ten minutes on four cores, 20 GB of disk

The slice has the published widths, heads and vocabulary (152,064), and two layers in place of 32 and 28: 1.6 billion
weights. Embeddings and head stay as they are; all else trains. It hears pieces of one minute, takes two supervised
steps and one of GRPO by the recipes of the published size, and leaves what transformers loads. Writes
benchmarks/results/DATE-full-size-slice.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AudioFlamingo3EncoderConfig, MusicFlamingoConfig, MusicFlamingoForConditionalGeneration

from music_flamingo.corpora.conversations import iterate_texts
from music_flamingo.corpora.songbook.build import songbook_command
from music_flamingo.models.presets import build_network, build_processor

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("music-flamingo")
LIMIT_GIB = 20.0
LAYERS = 2
CALLBACKS = [
    "{class_path: music_flamingo.callbacks.GRPOSampling}",
    "{class_path: music_flamingo.callbacks.HFExport, init_args: {processor: '${run.start}'}}",
    "{class_path: music_flamingo.callbacks.RollingCheckpoint, init_args: {keep: 1, asynchronous: false}}",
]
SETTINGS = {
    "trainer.accelerator": "cpu",
    "trainer.precision": "32-true",
    "trainer.limit_val_batches": 0,
    "trainer.log_every_n_steps": 1,
    "trainer.enable_progress_bar": "false",
    "trainer.callbacks": f"[{', '.join(CALLBACKS)}]",
    "model.freeze": "[embed_tokens, lm_head]",
    "data.num_workers": 0,
    "data.max_tokens": 2600,
}
STAGES = {
    "2_sft": {"trainer.max_steps": 2, "data.questions_per_song": 4},
    "4_grpo": {
        "trainer.max_steps": 1,
        "data.questions_per_song": 1,
        "data.style": "{class_path: music_flamingo.data_modules.DirectAnswers, init_args: {always: []}}",
        "model.sampling.max_new_tokens": 16,
        "model.beta": 0,
        "model.listening_every": 0,
    },
}


def main() -> None:
    """Make the slice, train it, load it, write what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="for 20 GB of files; removed in the end")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="music-flamingo-slice-", dir=arguments.folder))
    try:
        songbook_command(root / "corpus", clips=60, full_pieces=12, full_seconds=(60, 70))
        parameters = make_slice(root)
        start, stages = root / "start", {}
        for name, settings in STAGES.items():
            stages[name] = train(name, root, start, settings)
            shutil.rmtree(start)  # disk
            start = root / name / "export"
        loaded = MusicFlamingoForConditionalGeneration.from_pretrained(start, local_files_only=True)
        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "cores": os.cpu_count(),
            "versions": {name: version(name) for name in ("torch", "transformers", "lightning")},
            "parameters": parameters,
            "parameters_loaded": sum(each.numel() for each in loaded.parameters()),
            "limit_gib": LIMIT_GIB,
            "stages": stages,
            "holds": all(stage["peak_gib"] <= LIMIT_GIB for stage in stages.values()),
        }
    finally:
        shutil.rmtree(root)
    path = ROOT / "benchmarks" / "results" / f"{about['date']}-full-size-slice.json"
    path.write_text(json.dumps(about, indent=1) + "\n")
    print(path.read_text(), path)


def make_slice(root: Path) -> int:
    """Write `root/start`, untrained; the number of its weights."""
    processor = build_processor(iterate_texts(root / "corpus"), 1024, num_mel_bins=128, window_seconds=30)
    tokenizer = processor.tokenizer
    special_ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = MusicFlamingoConfig(
        audio_config={**AudioFlamingo3EncoderConfig().to_dict(), "num_hidden_layers": LAYERS},
        text_config={
            "model_type": "qwen2",
            "vocab_size": 152_064,
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            **special_ids,
        },
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
        **special_ids,
    )
    torch.manual_seed(0)
    network = build_network(config)
    network.save_pretrained(root / "start")
    processor.save_pretrained(root / "start")
    return sum(each.numel() for each in network.parameters())


def train(name: str, root: Path, start: Path, settings: dict[str, object]) -> dict[str, float]:
    """A stage by its recipe: seconds of the command, and the most memory that it held."""
    values = {**SETTINGS, **settings, "run.root": root, "run.start": start, "data.corpus": root / "corpus"}
    words = ["fit", "--config", f"recipes/music_flamingo/{name}.yaml", *(f"--{k}={v}" for k, v in values.items())]
    begin = time.monotonic()
    subprocess.run([str(COMMAND), *words], check=True, cwd=ROOT)
    record = json.loads((root / name / "stage.json").read_text())
    shutil.rmtree(root / name / "checkpoints")
    return {"seconds": round(time.monotonic() - begin), "peak_gib": round(record["peak_rss_mib"] / 1024, 2)}


if __name__ == "__main__":
    main()
