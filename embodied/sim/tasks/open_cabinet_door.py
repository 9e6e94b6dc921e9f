"""Open cabinet door: hook the handle of a hinged door and pull it round its arc."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embodied.core.quantities import Quantity
from embodied.core.world import World
from embodied.sim.reads import Computed, Frame, JointPosition, JointVelocity
from embodied.sim.tabletop import (
    ARM_OBSERVATION,
    ScriptedExpert,
    TabletopTask,
    apart,
    arm_quantities,
    comfortable_pitch,
    constant,
    relative,
)
from embodied.sim.task import Start

_MAX_ANGLE = 1.6  # end stop of the door [rad]


def reward(world, action):
    """Bring the jaws around the handle, then pull the door open."""
    distance = np.linalg.norm(world.gripper.to_handle, axis=-1)
    angle = np.clip(world.cabinet.door_angle, 0.0, 1.0)
    return {
        "near": 1.0 - np.tanh(8.0 * distance),
        "opened": 5.0 * angle,
        "done": np.where(world.cabinet.door_angle > 0.8, 2.0, 0.0),
        "effort": -0.01 * np.sum(action**2, axis=-1),
    }


def _pull_direction(v: Mapping[str, np.ndarray]) -> np.ndarray:
    """Unit vector of the handle's way when the door opens: from the hinge to the handle, by -90 degrees about z."""
    arm = v["cabinet.handle_position"] - v["cabinet.hinge_position"]
    way = np.stack([arm[:, 1], -arm[:, 0], np.zeros(len(arm))], axis=-1)
    return way / np.linalg.norm(way, axis=-1, keepdims=True)


class OpenCabinetDoor(TabletopTask):
    """The closed door, hinged on the left, shall be opened by at least `opened_deg`.

    Args:
        instruction: what the robot shall do.
        opened_deg: angle that counts as open [degrees].
        spread_m: half widths of the cabinet's places in x and y [m].
        spread_rad: half width of its yaw [rad].
        episode_steps: actions per episode.
        aliases: published names of quantities.
    """

    name, scene = "open_cabinet_door", "cabinet"
    quantities = {
        **arm_quantities(),
        Quantity("cabinet.handle_position", (3,), "m", "world", "middle of the handle bar, moves with the door"): Frame(
            "site", "cabinet_handle"
        ),
        Quantity("cabinet.hinge_position", (3,), "m", "world", "point on the door's vertical hinge"): Frame(
            "body", "cabinet_door"
        ),
        Quantity(
            "cabinet.pull_direction", (3,), "1", "world", "unit vector in which the handle moves when the door opens"
        ): Computed(_pull_direction),
        Quantity("cabinet.door_angle", (), "rad", "joint", "0 closed, grows when the door opens"): JointPosition(
            "cabinet_hinge"
        ),
        Quantity("cabinet.door_velocity", (), "rad/s", "joint", "how fast the door opens"): JointVelocity(
            "cabinet_hinge"
        ),
        Quantity("cabinet.max_angle", (), "rad", "-", "angle at which the door meets its stop"): constant(_MAX_ANGLE),
        Quantity("gripper.to_handle", (3,), "m", "world", "handle position minus gripper position"): relative(
            "cabinet.handle_position", "gripper.position"
        ),
    }
    observation = (
        *ARM_OBSERVATION,
        "cabinet.handle_position",
        "cabinet.pull_direction",
        "gripper.to_handle",
        "cabinet.door_angle",
        "cabinet.door_velocity",
    )

    def __init__(
        self,
        *,
        instruction: str,
        opened_deg: float = 45.0,
        spread_m: tuple[float, float] = (0.03, 0.03),
        spread_rad: float = 0.1,
        episode_steps: int = 100,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(instruction=instruction, episode_steps=episode_steps, aliases=aliases)
        self.opened_deg, self.spread_m, self.spread_rad = opened_deg, spread_m, spread_rad

    def start(self, rng: np.random.Generator, n: int) -> Start:
        """The arm near home with its jaws half open, the door shut."""
        edits = self.prop_edits(rng, n, "cabinet_base", spread_m=self.spread_m, spread_rad=self.spread_rad)
        return Start(self.noisy_home(rng, n, jaw_rad=0.3), edits=edits)

    def success(self, world: World) -> np.ndarray:
        """The door is open far enough."""
        return world.cabinet.door_angle >= np.radians(self.opened_deg)

    def expert(self, n: int) -> ScriptedExpert:
        """Jaws around the bar from above, then along its arc."""
        return _Swing(self, n)


class _Swing(ScriptedExpert):
    """Phases: 0 above the handle, 1 down around it, 2 pull along the arc; anew when the bar got lost."""

    def target(self, row: int, world: World):
        handle, tool = world.quantity("cabinet.handle_position"), world.quantity("gripper.position")
        way = world.quantity("cabinet.pull_direction")
        up = np.array([0.0, 0.0, 1.0])
        around = handle + 0.002 * up + 0.002 * way
        aims = (around + 0.055 * up, around, handle + 0.002 * up + 0.05 * way)
        phase, steps = self.phase[row], self.steps_in_phase[row]
        lost = apart(tool[:2], handle[:2]) > 0.035 or tool[2] > handle[2] + 0.03
        if (phase == 0 and apart(tool, aims[0]) < 0.012 + 0.001 * steps) or (
            phase == 1 and apart(tool, around) < 0.010
        ):
            self.next_phase(row)
        elif (phase == 1 and steps > 15) or (phase == 2 and lost):
            self.phase[row] = self.steps_in_phase[row] = 0
        self.stride_m[row] = 0.03 if self.phase[row] == 1 else 0.05
        return aims[self.phase[row]], comfortable_pitch(tool[0]), 0.30
