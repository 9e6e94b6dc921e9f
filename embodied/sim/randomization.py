"""Domain randomisation: masses, friction, action delay, observation noise, camera pose, drawn anew per
episode.

After Tobin et al. 2017 (arXiv:1703.06907) and Peng et al. 2018 (arXiv:1710.06537). Deviation: masses and
frictions are scaled by one factor per body or geom, log-uniform around 1.
"""

from __future__ import annotations

import mujoco
import numpy as np

from embodied.core.errors import ConfigError
from embodied.sim.task import ModelEdit


class Randomization:
    """What is drawn at the start of each episode.

    Args:
        mass_factor: masses and inertias of all moving bodies are scaled by a factor in [1/f, f]; 1 is off.
        friction_factor: sliding friction of all geoms is scaled by a factor in [1/f, f]; 1 is off.
        max_delay_steps: actions reach the motors 0..max control steps late.
        observation_noise_std: standard deviation added to every observation, in the observation's own units.
        camera_position_m: cameras are shifted by up to this much along each axis [m].
    """

    def __init__(
        self,
        *,
        mass_factor: float = 1.0,
        friction_factor: float = 1.0,
        max_delay_steps: int = 0,
        observation_noise_std: float = 0.0,
        camera_position_m: float = 0.0,
    ) -> None:
        if not (1.0 <= mass_factor < np.inf and 1.0 <= friction_factor < np.inf):  # refuses NaN too
            raise ConfigError(
                f"mass_factor={mass_factor} and friction_factor={friction_factor} must be at least 1 (1 is off)"
            )
        if not (max_delay_steps >= 0 and observation_noise_std >= 0 and camera_position_m >= 0):
            raise ConfigError("max_delay_steps, observation_noise_std and camera_position_m must not be negative")
        self.mass_factor, self.friction_factor = mass_factor, friction_factor
        self.max_delay_steps, self.observation_noise_std = max_delay_steps, observation_noise_std
        self.camera_position_m = camera_position_m

    def draw_edits(self, rng: np.random.Generator, model: mujoco.MjModel, n: int) -> list[ModelEdit]:
        """Edits of the models of n environments."""
        edits = []
        if self.mass_factor > 1.0:
            scale = _factors(rng, self.mass_factor, (n, model.nbody))
            every = slice(None)
            edits.append(ModelEdit("body_mass", every, model.body_mass * scale))
            edits.append(ModelEdit("body_inertia", every, model.body_inertia * scale[..., None]))
        if self.friction_factor > 1.0:
            friction = np.repeat(model.geom_friction[None], n, axis=0)
            friction[..., 0] *= _factors(rng, self.friction_factor, (n, model.ngeom))
            edits.append(ModelEdit("geom_friction", slice(None), friction))
        if self.camera_position_m > 0.0 and model.ncam:
            shift = rng.uniform(-self.camera_position_m, self.camera_position_m, (n, model.ncam, 3))
            edits.append(ModelEdit("cam_pos", slice(None), model.cam_pos + shift))
        return edits

    def draw_delay(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Delays of n episodes in control steps."""
        return rng.integers(0, self.max_delay_steps + 1, n)

    def observation_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Noise of one batch of observations."""
        if self.observation_noise_std == 0.0:
            return np.zeros(shape)
        return rng.normal(0.0, self.observation_noise_std, shape)


def _factors(rng: np.random.Generator, most: float, shape: tuple[int, ...]) -> np.ndarray:
    return np.exp(rng.uniform(-np.log(most), np.log(most), shape))
