"""From a sentence to motion: language models write rewards, drive policies and imagine behaviour.

The short Python API, resolved at first use (importing the package loads neither torch, mujoco nor transformers):

    import embodied

    task = embodied.make_task("reach")
    run = embodied.train(task="reach", reward="expert", overrides=["trainer.total_steps=50_000"])
    policy = embodied.load_policy(run)
    print(embodied.evaluate(task, policy, episodes=50).to_json())
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_API = {
    "make_task": "embodied.api",
    "make_env": "embodied.api",
    "plan": "embodied.api",
    "train": "embodied.api",
    "load_policy": "embodied.api",
    "evaluate": "embodied.api",
    "check_reward": "embodied.api",
    "RewardProgram": "embodied.core.reward",
    "World": "embodied.core.world",
    "Quantity": "embodied.core.quantities",
}
__all__ = [*_API, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'embodied' has no attribute '{name}'; it has: {', '.join(sorted(_API))}")
    return getattr(importlib.import_module(_API[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
