"""Five hundred damaged or hostile files, each read as a user's file would be. Run as a program, as it watches itself.

Prints JSON: how many were refused and read, by kind, what went wrong otherwise, and the most memory.
"""

import gzip
import io
import json
import pickle
import random
import shutil
import signal
import sys
import tarfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import soundfile
import torch

from music_flamingo.checkpoint_folder import MANIFEST
from music_flamingo.corpora.shar.build import shar_command
from music_flamingo.corpora.song_audio import load_waveform, song_cut
from music_flamingo.corpora.songs import open_songs
from music_flamingo.errors import UserError
from music_flamingo.recipe import read_recipe
from music_flamingo.recipe_check import check_recipe
from music_flamingo.recipe_keys import ALLOWED_PACKAGES
from music_flamingo.strategies.checkpoint_io import FolderCheckpointIO
from tests.builders import song, write_corpus

ROOT = Path(__file__).parents[1]
SECONDS = 10
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "os.kill")
ASKS_FOR_TYPES = "import sys, json; print(json.dumps(sys.path))"
"""What jsonargparse runs once to find type stubs, whatever it reads."""
HOSTILE_YAML = (
    "model: !!python/object/apply:os.system ['touch {pwned}']",
    "model: !!python/object/new:subprocess.Popen [['touch', '{pwned}']]",
    "model: {{class_path: os.system, init_args: {{command: 'touch {pwned}'}}}}",
    "model: {{class_path: subprocess.Popen, init_args: {{args: [touch, '{pwned}']}}}}",
    "model: ${{oc.env:HOME}}",
    "a: &a [1, 2]\nb: &b [*a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b]\nmodel: [*c, *c, *c]",
)


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, pwned: Path) -> None:
        self.pwned = pwned

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        import os  # noqa: PLC0415

        return os.system, (f"touch {self.pwned}",)


def spoilt(content: bytes, rng: random.Random) -> bytes:
    """Cut, with other bytes, with a stretch repeated, taken out or zeroed."""
    place, other = sorted(rng.sample(range(len(content) + 1), 2))
    changed = bytearray(content)
    match rng.randrange(6):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + content[other:]
        case 2:
            return content[:other] + content[place:]
        case 3:
            changed[place:other] = bytes(other - place)
        case 4:
            for _ in range(rng.randint(1, 40)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        case _:  # the header alone
            for _ in range(rng.randint(1, 8)):
                changed[rng.randrange(min(64, len(changed)))] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    return bytes(changed)


def audio(folder: Path, rng: random.Random, count: int) -> Iterator[Callable[[], object]]:
    formats = {"wav": {}, "flac": {}, "mp3": {"format": "MP3"}, "ogg": {}, "opus": {"format": "OGG", "subtype": "OPUS"}}
    good = {}
    for ending, encoding in formats.items():
        path = folder / f"good.{ending}"
        soundfile.write(path, song(2.0), 16_000, **encoding)
        good[ending] = path.read_bytes()
    for number in range(count):
        ending = rng.choice(list(good))
        path = folder / f"{number}.{ending}"
        path.write_bytes(spoilt(good[ending], rng))
        yield lambda path=path: load_waveform(song_cut(path), 16_000)


def manifests(folder: Path, rng: random.Random, count: int) -> Iterator[Callable[[], object]]:
    corpus = write_corpus(folder / "corpus", train=2, held_out=1, seconds=1.0)
    manifest = corpus / "cuts_train.jsonl.gz"
    compressed = manifest.read_bytes()
    lines = gzip.decompress(compressed)
    command = lines.replace(b'"type": "file"', b'"type": "command"').replace(b".flac", b".flac; touch pwned")
    for number in range(count):
        content = command if number == 0 else spoilt(lines, rng)
        content = spoilt(compressed, rng) if number % 4 == 1 else gzip.compress(content)
        yield lambda content=content: (manifest.write_bytes(content), heard(corpus))


def heard(corpus: Path) -> list[object]:
    return [load_waveform(cut, 16_000) for cut in open_songs(corpus, "train")]


def archives(folder: Path, rng: random.Random, count: int) -> Iterator[Callable[[], object]]:
    shar_command(write_corpus(folder / "corpus", train=3, held_out=1, seconds=1.0), folder / "shar")
    split = folder / "shar" / "train"
    for name in ("../pwned", "/tmp/pwned", "link"):  # noqa: S108 - never to be written
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            tar.addfile(member)
        yield lambda made=made: read_archive(folder, split / "recording.000000.tar", made.getvalue())
    files = [path for path in split.iterdir() if path.is_file()] + list((folder / "shar").glob("train.index/*"))
    for _ in range(count - 3):
        path = rng.choice(files)
        content = spoilt(path.read_bytes(), rng)
        yield lambda path=path, content=content: read_archive(folder, path, content)


def read_archive(folder: Path, path: Path, content: bytes) -> object:
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "shar", copy)
    (copy / path.relative_to(folder / "shar")).write_bytes(content)
    return heard(copy)


def recipes(folder: Path, rng: random.Random, count: int) -> Iterator[Callable[[], object]]:
    good = (ROOT / "recipes" / "songbook" / "3_warmup.yaml").read_bytes()
    for number in range(count):
        path = folder / f"{number}.yaml"
        if number < len(HOSTILE_YAML):
            path.write_text(HOSTILE_YAML[number].format(pwned=folder / "pwned"))
        else:
            path.write_bytes(spoilt(good, rng))
        yield lambda path=path: check_recipe(read_recipe([path]), "fit", ALLOWED_PACKAGES)


def checkpoints(folder: Path, rng: random.Random, count: int) -> Iterator[Callable[[], object]]:
    folders = FolderCheckpointIO()
    good, bomb = folder / "good.ckpt", pickle.dumps(Bomb(folder / "pwned"))
    folders.save_checkpoint({"state_dict": {"weight": torch.arange(300.0)}}, good)
    folders.finish()
    for number in range(count):
        path = shutil.copytree(good, folder / f"{number}.ckpt")
        file = path / (MANIFEST, "rank-00000.safetensors")[number % 2]
        file.write_bytes(bomb if number % 20 < 2 else spoilt(file.read_bytes(), rng))
        yield lambda path=path: folders.load_checkpoint(path)


KINDS = {"audio": (audio, 150), "manifest": (manifests, 100), "archive": (archives, 50), "recipe": (recipes, 100)}
KINDS |= {"checkpoint": (checkpoints, 100)}


def main() -> None:
    """Read all, and print what came of it."""
    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore")
    refused, read, wrong = Counter[str](), Counter[str](), list[str]()
    events: list[str] = []
    watching = False

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        is_forbidden = event.startswith(FORBIDDEN) or event == "pickle.find_class"
        if watching and is_forbidden and ASKS_FOR_TYPES not in repr(arguments):
            events.append(f"{event} {arguments!r:.80}")

    def too_long(*_: object) -> None:
        raise TimeoutError

    sys.addaudithook(watch)
    signal.signal(signal.SIGALRM, too_long)
    for kind, (make, count) in KINDS.items():
        place = folder / kind
        place.mkdir()
        for number, attempt in enumerate(make(place, random.Random(kind), count)):
            watching = True
            signal.alarm(SECONDS)
            try:
                attempt()
                read[kind] += 1
            except UserError as error:
                refused[kind] += 1
                if "\n" in str(error):
                    wrong.append(f"{kind} {number}: more than one line: {error}")
            except Exception as error:  # noqa: BLE001 - what a user would see as a traceback
                wrong.append(f"{kind} {number}: {type(error).__name__} {error}"[:300])
            finally:
                signal.alarm(0)
                watching = False
    pwned = [str(path) for path in (*folder.rglob("pwned*"), *Path.cwd().glob("pwned*"))]
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"refused": refused, "read": read, "wrong": wrong, "events": events, "pwned": pwned, "mib": peak}))


if __name__ == "__main__":
    main()
