"""Faucet close: turn a faucet's handle towards -x."""

from __future__ import annotations

from embodied.sim.metaworld.tasks.faucet_open import FaucetOpen, faucet_quantities, reward

__all__ = ["FaucetClose", "reward"]


class FaucetClose(FaucetOpen):
    """The faucet's handle shall be turned towards -x, to within 7 cm of the goal."""

    name, env_id = "metaworld/faucet-close", "faucet-close-v3"
    quantities = faucet_quantities(
        0.015,
        (0.0, 0.0, 0.0),
        "where the handle is pushed: at `handle.position`",
        "where `handle.contact` shall be brought by turning the handle towards -x",
    )
    direction = -1.0
