"""The public `franka-sim` server as a twin's process: `<its python> franka_server.py '<json>'`.

Runs in the server's own environment, which has neither this project nor its NumPy: nothing of ours is imported. It
talks to its owner like `robots.twin.serve`: a first line `{"pid", "connection"}`, then one line for each command of
`{"state": true}`, `{"place": [rad, ...]}`, `{"advance_s": x}` and `{"cut": true}`. The server knows real time only, so
`advance_s` waits. It ends when its owner does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import sys
import threading
import time
from typing import Any

PORT, READY_S = 1337, 30.0  # libfranka's
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection, as a pulled cable does in the end


def free_host() -> str:
    """A loopback address that nobody serves at: the port is fixed, so every twin has an address of its own."""
    for last in range(2, 255):
        host = f"127.0.1.{last}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, PORT))
            except OSError:
                continue
        return host
    raise OSError(f"port {PORT} is taken at all addresses of 127.0.1.0/24")


class FrankaTwin:
    """The server, its physics in a thread of its own.

    Args:
        host: loopback address.
        model: MJCF of the arm.
    """

    def __init__(self, host: str, model: str) -> None:
        from franka_sim.franka_sim_server import FrankaSimServer
        from franka_sim.mujoco_franka_sim import MujocoFrankaSim

        self.host, self._sim = host, MujocoFrankaSim(model_path=model)
        enforced = {"enforce_comm_constraints": True, "enforce_motion_limits": True}
        self._server = FrankaSimServer(host=host, physics_sim=self._sim, enable_gripper=False, **enforced)
        threading.Thread(target=self._server.start, daemon=True).start()
        until_s = time.monotonic() + READY_S
        while not (self._sim.running and self._server.server_socket is not None):
            if time.monotonic() > until_s:
                raise TimeoutError(f"franka-sim was not ready after {READY_S:g} s")
            time.sleep(0.02)

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Commands of the owner; gives the state."""
        orders = {"state": lambda _: None, "place": self._place, "advance_s": time.sleep, "cut": lambda _: self._cut()}
        for word, given in command.items():
            if word not in orders:
                return {"error": f"command '{word}' is not one of {', '.join(orders)}"}
            orders[word](given)
        sim = self._sim
        q, dq = sim.data.qpos[sim.arm_qpos_adr], sim.data.qvel[sim.arm_dofs_idx]
        moving = self._server.control_mode.name != "NONE" and not self._server._idle_hold
        return {
            "t_s": time.monotonic(),
            "position_rad": q.tolist(),
            "velocity_radps": dq.tolist(),
            "torque_on": [moving] * len(q),
            "goal_rad": list(map(float, sim.latest_joint_positions)),
            "tool_m": sim.ee_pose().reshape(4, 4)[:3, 3].tolist(),
        }

    def _place(self, position_rad: list[float]) -> None:
        """Puts the arm at rest at a pose, which it holds."""
        sim = self._sim
        sim.update_joint_positions(position_rad)
        for _ in range(200):  # against a physics thread that may be in the middle of a step
            sim.data.qpos[sim.arm_qpos_adr], sim.data.qvel[sim.arm_dofs_idx] = position_rad, 0.0
            time.sleep(0.001)

    def _cut(self) -> None:
        server = self._server
        for one in (server.client_socket, server.server_socket):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    one.close()
        server.transmitting_state = False


def main() -> int:
    """Serves until the owner's end of stdin closes."""
    config = json.loads(sys.argv[1])
    words = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=words, filename=config.get("log") or os.devnull)
    if config.get("priority"):  # before its threads begin: they inherit it
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(int(config["priority"])))
    answers, sys.stdout = sys.stdout, sys.stderr  # the server prints; its owner reads lines of ours alone
    try:
        twin = FrankaTwin(free_host(), config["model"])
    except Exception as error:
        why = f"franka-sim does not start: {type(error).__name__}: {error}"
        print(json.dumps({"error": why}), file=answers, flush=True)
        return 2
    print(json.dumps({"pid": os.getpid(), "connection": {"host": twin.host}}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(twin.obey(json.loads(line))), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the server's threads are not waited for: their sockets close with the process
