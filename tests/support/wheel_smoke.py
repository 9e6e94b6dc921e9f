"""Installs the built wheel into a new environment and runs the stack from an empty folder.

The dependencies are those of the environment that runs this script (seen through a path file, which does not carry
over its editable installation of the checkout); the package itself comes from the wheel alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path


def main(dist: str) -> None:
    """Smoke-tests the one wheel in `dist`."""
    (wheel,) = Path(dist).resolve().glob("embodied_control-*.whl")
    with tempfile.TemporaryDirectory() as folder:
        root, empty = Path(folder), Path(folder) / "empty"
        empty.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
        python = root / "venv" / "bin" / "python"
        site = Path(
            subprocess.run(
                [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
        )
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel],
            check=True,
        )
        where = _run([python, "-c", "import embodied; print(embodied.__file__)"], empty).stdout.strip()
        assert Path(where).is_relative_to(site), f"the package came from {where}, not from the wheel"
        command = root / "venv" / "bin" / "embodied"
        _run([command, "--help"], empty)
        _run([command, "list", "tasks"], empty)
        checked = _run([command, "reward", "check", _program(empty), "--task", "reach", "--run"], empty)
        assert json.loads(checked.stdout.splitlines()[-1])["verdict"] == "accepted", checked.stdout
        tiny = ["trainer.total_steps=4000", "trainer.n_envs=8", "evaluation.episodes=4", "video.episodes=1"]
        _run([command, "train", "task=reach", "reward=expert", "baselines=[random]", *tiny], empty)
        (report,) = empty.glob("runs/*/*/report.html")
        assert report.stat().st_size > 10_000
    print(f"wheel {wheel.name}: installed, listed, checked and trained from an empty folder")


def _program(folder: Path) -> str:
    path = folder / "my_reward.py"
    path.write_text(
        "import numpy as np\n\n\ndef reward(world, action):\n"
        "    distance = np.linalg.norm(world.goal.position - world.gripper.position, axis=-1)\n"
        "    return {'near': 1.0 - np.tanh(5.0 * distance)}\n"
    )
    return str(path)


def _run(command: list, folder: Path) -> subprocess.CompletedProcess:
    done = subprocess.run([str(c) for c in command], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done


if __name__ == "__main__":
    main(sys.argv[1])
