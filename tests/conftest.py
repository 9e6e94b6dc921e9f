"""What all tests share: one thread per library, the helpers of `tests/support`, and no slow tests by default."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before numpy and torch are imported: results depend on the number of threads, and tests run side by side.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent / "support"))

from hypothesis import settings

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")


def pytest_collection_modifyitems(config, items):
    """Tests marked `learning` take minutes: they run only where a marker expression is given (`-m learning`)."""
    if config.option.markexpr:
        return
    slow = [item for item in items if item.get_closest_marker("learning")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
