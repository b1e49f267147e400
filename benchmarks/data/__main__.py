"""Claims about data, printed in the shape of those about speed.

python -m benchmarks.data                 all
python -m benchmarks.data decode_speed    one
python -m benchmarks.data.import_speed    in processes of its own, for its memory
"""

import argparse
import importlib
import json
from dataclasses import asdict

import torch

SCRIPTS = ("decode_speed", "check_speed", "shar_start")


def main() -> None:
    """Measure, and print each claim as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", help=f"some of: {', '.join(SCRIPTS)}")
    torch.set_num_threads(1)
    for script in parser.parse_args().scripts or SCRIPTS:
        for claim in importlib.import_module(f"benchmarks.data.{script}").claims():
            line = {**asdict(claim), "ratio": round(claim.ratio, 2), "holds": claim.holds}
            print(json.dumps({name: value for name, value in line.items() if value is not None}), flush=True)


if __name__ == "__main__":
    main()
