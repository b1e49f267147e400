"""Is every audio token paid for once? Each claim of speed or memory against what people use today, side by side.

    python -m benchmarks.speed                    all but the long ones
    python -m benchmarks.speed --long             the long ones
    python -m benchmarks.speed rote rollouts      some, which are only printed
    python -m benchmarks.speed shared_questions matpac_encoder tinymu_step --table cpu-relatives

One thread, process-CPU seconds, medians of runs by turns, each script in a process of its own. All of them, and the
long ones, write benchmarks/results/DATE-cpu.json and DATE-cpu-long.json, a list of claims beside what they were
measured on, and the same as Markdown.
"""

import argparse

from benchmarks.claim_scripts import print_claims, write_claims

SCRIPTS = [
    *("rote", "loss_memory", "packed_sft", "shared_questions"),
    *("rollouts", "grpo_update", "grpo_step", "flop_balance", "matpac_encoder"),
]
LONG_SCRIPTS = ["ablations", "cost_fit", "grpo_update_long", "grpo_step_long", "tinymu_step"]
TITLE, PACKAGES = "Speed on a CPU", ("torch", "transformers")


def main() -> None:
    """Measure, and write what came out of a whole list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", help=f"some of: {', '.join([*SCRIPTS, *LONG_SCRIPTS])}")
    parser.add_argument("--long", action="store_true", help=f"instead of the others: {', '.join(LONG_SCRIPTS)}")
    parser.add_argument("--json", action="store_true", help="print claims as JSON")
    parser.add_argument("--table", help="write some as DATE-TABLE too")
    arguments = parser.parse_args()
    if arguments.scripts and arguments.table:
        write_claims("benchmarks.speed", arguments.scripts, TITLE, arguments.table, PACKAGES)
        return
    if arguments.scripts:
        print_claims("benchmarks.speed", arguments.scripts, as_json=arguments.json)
        return
    scripts, name = (LONG_SCRIPTS, "cpu-long") if arguments.long else (SCRIPTS, "cpu")
    write_claims("benchmarks.speed", scripts, TITLE, name, PACKAGES)


if __name__ == "__main__":
    main()
