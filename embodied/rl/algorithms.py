"""Stable-Baselines3's PPO and SAC, built from plain settings, and their actors as `MLPPolicy`.

PPO: Schulman et al. 2017 (arXiv:1707.06347). SAC: Haarnoja et al. 2018 (arXiv:1812.05905).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from embodied.core.errors import ConfigError, UnknownNameError
from embodied.rl.policy import MLPPolicy
from embodied.rl.vec_env import RewardVecEnv

_ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "sac": SAC}
_ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def make_algorithm(name: str, settings: Mapping[str, Any], env: RewardVecEnv, seed: int) -> BaseAlgorithm:
    """Builds an algorithm.

    Args:
        name: `ppo` or `sac`.
        settings: SB3's own keyword arguments, with `net_arch` (list of widths), `activation` and `log_std_init`.
        env: the environments.
        seed: seed of weights, exploration and mini-batches.
    """
    if name not in _ALGORITHMS:
        raise UnknownNameError("trainer", name, _ALGORITHMS)
    arguments = dict(settings)
    activation = arguments.pop("activation", "tanh")
    if activation not in _ACTIVATIONS:
        raise UnknownNameError("activation", activation, _ACTIVATIONS)
    policy: dict[str, Any] = {
        "net_arch": list(arguments.pop("net_arch", [64, 64])),
        "activation_fn": _ACTIVATIONS[activation],
    }
    if "log_std_init" in arguments:
        policy["log_std_init"] = float(arguments.pop("log_std_init"))
    try:
        algorithm = _ALGORITHMS[name](
            "MlpPolicy", env, policy_kwargs=policy, seed=seed, device="cpu", verbose=0, **arguments
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"trainer={name}: {error}") from None
    algorithm.set_logger(Logger(folder=None, output_formats=[]))  # SB3's own logger would write to /tmp
    return algorithm


def actor(algorithm: BaseAlgorithm, env: RewardVecEnv) -> MLPPolicy:
    """The algorithm's present deterministic actor as data."""
    task, moments = env.env.task, env.observation_moments
    if isinstance(algorithm, PPO):
        hidden, last = algorithm.policy.mlp_extractor.policy_net, algorithm.policy.action_net
    elif isinstance(algorithm, SAC):
        hidden, last = algorithm.actor.latent_pi, algorithm.actor.mu
    else:
        raise ConfigError(f"no actor of {type(algorithm).__name__}")
    modules = list(hidden)
    linear = [m for m in modules if isinstance(m, torch.nn.Linear)] + [last]
    layers = tuple((m.weight.detach().numpy().copy(), m.bias.detach().numpy().copy()) for m in linear)
    size = task.observation_size
    return MLPPolicy(
        layers=layers,
        activation="tanh" if any(isinstance(m, torch.nn.Tanh) for m in modules) else "relu",
        squash=isinstance(algorithm, SAC),
        mean=moments.mean.copy() if env.normalize_observations else np.zeros(size),
        std=moments.std.copy() if env.normalize_observations else np.ones(size),
        observation=tuple(task.observation),
        task=task.name,
    )
