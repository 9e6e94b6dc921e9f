"""A training on a disk of its own that gets full, in a mount namespace: `test_train_faults.py` runs it.

Usage: full_disk.py <folder to mount over> <words of embodied train ...>; prints one JSON line.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tiny import events, only_run, run, start, until

from embodied.rl.snapshot import newest_snapshot


def fill(path: Path) -> None:
    """Takes all space that is left."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)


def main(folder: Path, words: list[str]) -> dict:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], check=True)
    process = start(*words, f"runs_dir={folder}")
    until(lambda: len(events(folder, "training_checkpoint")) >= 2, "two snapshots")
    fill(folder / "filler")
    _, err = process.communicate(timeout=60)
    path = only_run(folder).path
    snapshot = newest_snapshot(path / "checkpoints/written/snapshots")
    found = {"code": process.returncode, "err": err, "path": str(path), "snapshot": snapshot and snapshot.name}
    full = run("train", f"resume={path}")
    found |= {"resumed_full_code": full.returncode, "resumed_full_err": full.stderr}
    os.unlink(folder / "filler")
    done = run("train", f"resume={path}")
    found |= {"resumed_code": done.returncode, "resumed_err": done.stderr}
    found |= {"resumes": len(events(folder, "training_resumed")), "rest": [p.name for p in path.rglob("*.tmp")]}
    found |= {"complete": only_run(folder).result is not None}
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    refused = run(*words, f"runs_dir={folder}")
    return {**found, "read_only_code": refused.returncode, "read_only_err": refused.stderr}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))
