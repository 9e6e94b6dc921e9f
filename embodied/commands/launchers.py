"""How the jobs of a sweep run: one after another, or some at a time. Each job is a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from embodied.core.errors import ConfigError


class Local:
    """One job after another on this machine; what they print is shown as they print it."""

    def launch(self, commands: Sequence[list[str]], folder: Path) -> list[int]:
        """Runs all commands; returns their exit codes. Stops at an interrupted one."""
        codes = []
        for number, command in enumerate(commands):
            print(f"== job {number + 1} of {len(commands)}", flush=True)
            codes.append(subprocess.run(command).returncode)
            if codes[-1] in (130, -2):
                raise KeyboardInterrupt
        return codes


class Joblib:
    """Some jobs at a time with joblib; what each prints goes to `job_<number>.log` in the sweep's folder.

    Args:
        n_jobs: how many run at once; every trainer uses its own threads, so cores / threads per job is a
            good value.
    """

    def __init__(self, *, n_jobs: int = 2) -> None:
        if n_jobs < 1:
            raise ConfigError(f"launcher.n_jobs={n_jobs} must be at least 1")
        self.n_jobs = n_jobs

    def launch(self, commands: Sequence[list[str]], folder: Path) -> list[int]:
        """Runs all commands; returns their exit codes."""
        try:
            import joblib
        except ModuleNotFoundError:
            raise ConfigError("launcher=joblib needs joblib: pip install 'embodied-control[sweep]'") from None
        calls = (joblib.delayed(_logged)(c, folder / f"job_{i + 1}.log") for i, c in enumerate(commands))
        return joblib.Parallel(n_jobs=self.n_jobs, backend="threading")(calls)


def _logged(command: list[str], log: Path) -> int:
    print(f"== {log.stem} started, prints to {log}", flush=True)
    with open(log, "wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
    print(f"== {log.stem} ended with exit code {code}", flush=True)
    return code
