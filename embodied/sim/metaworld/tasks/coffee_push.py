"""Coffee push: bring a mug to a coffee machine."""

from __future__ import annotations

import numpy as np

from embodied.sim.metaworld.tasks.coffee_pull import CoffeePull, mug_quantities, reward

__all__ = ["CoffeePush", "reward"]


class CoffeePush(CoffeePull):
    """The mug shall be brought to the goal at the coffee machine, within 7 cm."""

    name, env_id = "metaworld/coffee-push", "coffee-push-v3"
    quantities = mug_quantities("at the coffee machine, below its button")

    def served(self, draw: np.ndarray) -> np.ndarray:
        """Place of a mug that stands at the machine `(n, 3)` [m, world]: here the goal."""
        return draw[:, 3:]
