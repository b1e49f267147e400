"""Does data keep up with training? Reading, checking, importing and opening songs, each claim beside a baseline.

    python -m benchmarks.data                        all: half an hour and 6 GB of disk
    python -m benchmarks.data decode_speed           some, which are only printed

One thread, each script in a process of its own. All of them write benchmarks/results/DATE-data.json and the same as
Markdown.
"""

import argparse

from benchmarks.claim_scripts import print_claims, write_claims

SCRIPTS = ("decode_speed", "check_speed", "import_speed", "shar_start")
PACKAGES = ("torch", "transformers", "lhotse", "soundfile", "soxr")


def main() -> None:
    """Measure, and write what came out of the whole list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", help=f"some of: {', '.join(SCRIPTS)}")
    parser.add_argument("--json", action="store_true", help="print claims as JSON")
    arguments = parser.parse_args()
    if arguments.scripts:
        print_claims("benchmarks.data", arguments.scripts, as_json=arguments.json)
    else:
        write_claims("benchmarks.data", SCRIPTS, "Data on a CPU", "data", PACKAGES)


if __name__ == "__main__":
    main()
