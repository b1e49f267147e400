"""How fast is a published dataset imported, and in how much memory?

    python -m benchmarks.data import_speed                     a million conversations about 50,000 sounds
    CONVERSATIONS=50000 python -m benchmarks.data import_speed

Audio Flamingo 3's manifest, one JSON array, its conversations in random order. Lengths are taken from the manifest
(`--trust_durations`), or read from the headers of as many tiny wav files. The baseline reads the manifest with
`json.load`, groups it in a dictionary and writes lhotse's cuts. CPU microseconds for each conversation over all
threads, and the most memory the process ever held; each in a process of its own.
"""

import argparse
import json
import os
import random
import shutil
import struct
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.claim import Claim
from benchmarks.measurement import in_own_process

CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "1000000"))
CONVERSATIONS_PER_SOUND = 20
MAX_MICROSECONDS = 50.0
"""20,000 conversations a second."""
MAX_MIB = 500.0
SECONDS, SAMPLING_RATE = 0.01, 16000


def main() -> None:
    """Be one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=list(WAYS), help="way of importing")
    parser.add_argument("folder", type=Path, help="with the data")
    arguments = parser.parse_args()
    print(json.dumps(measured(arguments.measure, arguments.folder)))


def claims() -> Iterator[Claim]:
    """Each way of importing against the baseline."""
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder), CONVERSATIONS)
        yield from _claims_about(Path(folder))


def _claims_about(folder: Path) -> Iterator[Claim]:
    setting = f"{CONVERSATIONS:,} conversations, {CONVERSATIONS // CONVERSATIONS_PER_SOUND:,} sounds"
    baseline = in_own_process(__name__, "lhotse", str(folder))
    for way in ("trusted", "headers"):
        ours = in_own_process(__name__, way, str(folder))
        seconds = (baseline["seconds"], ours["seconds"])
        costs = [1e6 * each / CONVERSATIONS for each in seconds]
        for what, must, quantities in (
            ("CPU us a conversation", MAX_MICROSECONDS, costs),
            ("peak MiB", MAX_MIB, [baseline["mib"], ours["mib"]]),
        ):
            yield Claim(
                f"data import, {way}: {what}",
                setting,
                "json.load and lhotse",
                *seconds,
                must,
                baseline_quantity=quantities[0],
                our_quantity=quantities[1],
            )


def measured(way: str, folder: Path) -> dict[str, float]:
    """CPU seconds and peak MiB of this process."""
    out = folder / f"corpus_{way}"
    shutil.rmtree(out, ignore_errors=True)
    start = time.process_time()
    WAYS[way](folder, out)
    seconds = time.process_time() - start
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024
    return {"seconds": seconds, "mib": peak}


def import_trusted(folder: Path, out: Path) -> None:
    """Lengths from the manifest."""
    from music_flamingo.corpora.formats.importing import import_command  # noqa: PLC0415 - its memory is measured

    import_command("af3", folder / "manifest.json", out, trust_durations=True)


def import_headers(folder: Path, out: Path) -> None:
    """Lengths from the files' headers."""
    from music_flamingo.corpora.formats.importing import import_command  # noqa: PLC0415

    import_command("af3", folder / "manifest.json", out)


def import_with_lhotse(folder: Path, out: Path) -> None:
    """Everything in memory, lengths from the manifest."""
    from lhotse import AudioSource, CutSet, MonoCut, Recording  # noqa: PLC0415

    with (folder / "manifest.json").open(encoding="utf-8") as file:
        records = json.load(file)
    grouped = defaultdict(list)
    for record in records:
        grouped[record["sound"]].append(record)
    out.mkdir()
    cuts = []
    for sound, group in grouped.items():
        seconds, rate = group[0]["duration"], group[0]["sampling_rate"]
        source = AudioSource("file", [0], str(folder / sound))
        recording = Recording(sound, [source], rate, round(seconds * rate), seconds)
        custom = {
            "conversations": [
                {"id": record["id"], "question": turns[0]["value"], "answer": turns[1]["value"]}
                for record in group
                for turns in [record["conversations"]]
            ]
        }
        cuts.append(MonoCut(sound, 0.0, seconds, 0, recording=recording, custom=custom))
    CutSet(cuts).to_file(out / "cuts_train.jsonl")


WAYS = {"trusted": import_trusted, "headers": import_headers, "lhotse": import_with_lhotse}


def write_data(folder: Path, conversations: int) -> None:
    """A manifest, and wav files of silence."""
    rng = random.Random(0)
    sounds = conversations // CONVERSATIONS_PER_SOUND
    frames = round(SECONDS * SAMPLING_RATE)
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 2 * frames, b"WAVE", b"fmt ", 16, 1, 1, SAMPLING_RATE,
                         2 * SAMPLING_RATE, 2, 16, b"data", 2 * frames)  # fmt: skip
    for number in range(sounds):
        path = folder / _sound(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header + bytes(2 * frames))
    words = "the flute enters after a rest and the strings answer calmly in a minor key".split()  # noqa: SIM905
    with (folder / "manifest.json").open("w", encoding="utf-8") as file:
        for number in range(conversations):
            question, answer = (" ".join(rng.choices(words, k=count)) for count in (12, rng.choice((1, 3, 40))))
            record = {
                "id": f"q{number}",
                "sound": _sound(rng.randrange(sounds)),
                "duration": SECONDS,
                "sampling_rate": SAMPLING_RATE,
                "conversations": [
                    {"from": "human", "value": f"<sound>\n{question}?"},
                    {"from": "gpt", "value": answer},
                ],
            }
            file.write(("[" if number == 0 else ",\n") + json.dumps(record))
        file.write("]\n")


def _sound(number: int) -> str:
    return f"audio/{number % 100:02}/{number:07}.wav"


if __name__ == "__main__":
    main()
