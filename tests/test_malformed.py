"""Five hundred damaged or hostile files: each is read or refused in one line, quickly, and none runs anything."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_no_file_crashes_hangs_or_runs_anything(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile_inputs", str(tmp_path)],
        check=False,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    came = json.loads(done.stdout.splitlines()[-1])
    assert came["wrong"] == []
    assert came["events"] == []
    assert came["pwned"] == []
    assert sum(came["refused"].values()) + sum(came["read"].values()) == 500
    assert all(came["refused"][kind] > 15 for kind in ("audio", "manifest", "archive", "recipe", "checkpoint"))
    assert came["mib"] < 2048
