"""What the sandbox costs: the static check per program, and the lock per step and per start.

The same worker loop runs in an open and in a locked process: step 64 small MuJoCo models through
`mujoco.rollout` with two threads made after the lock, build the batched world, call a reward. One command:

    python benchmarks/sandbox_cost.py [--quick]

Ends with one JSON line and writes `benchmarks/results/sandbox_cost.json`.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVS = 64
MODEL = """
<mujoco><option timestep="0.005"/><worldbody><geom type="plane" size="5 5 .1"/>
<body pos="0 0 .5"><freejoint/><geom type="capsule" size=".05 .1"/>
<body pos="0 0 .2"><joint name="j" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .2 0 0" size=".03"/></body>
</body></worldbody><actuator><motor joint="j" gear="1"/></actuator></mujoco>
"""
REWARD = """
import numpy as np

WEIGHTS = {"height": 1.0, "effort": 0.01}


def reward(world, action):
    height = 1.0 - np.tanh(5.0 * np.linalg.norm(world.body.position - np.array([0.0, 0.0, 0.5]), axis=-1))
    calm = np.exp(-np.sum(world.body.velocity**2, axis=-1))
    progress = world.body.position[..., 0] - world.previous.body.position[..., 0]
    return {"height": height, "calm": calm, "progress": progress, "effort": -np.sum(action**2, axis=-1)}
"""


def _schema():
    from embodied.core.quantities import Quantity, Schema

    return Schema.of(
        [
            Quantity("body.position", (3,), "m", "world", "centre of the body"),
            Quantity("body.velocity", (3,), "m/s", "world", "velocity of the body"),
        ]
    )


class Loop:
    """The worker of both processes."""

    @staticmethod
    def prepare(request):
        """Imports and builds; the warm-up uses no pool."""
        import mujoco
        import mujoco.rollout
        import numpy as np

        from embodied.core.reward import RewardProgram

        model = mujoco.MjModel.from_xml_string(MODEL)
        size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        data = mujoco.MjData(model)
        state = np.zeros(size)
        mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        program = RewardProgram(REWARD, "benchmark", "benchmark", evaluation="batched")
        return {"model": model, "state": np.tile(state, (ENVS, 1)), "program": program, **request}

    @staticmethod
    def run(context, channel):
        """Times blocks of steps on demand, until told to stop."""
        import mujoco
        import mujoco.rollout
        import numpy as np

        model = context["model"]
        bound = context["program"].bind(reviewed=True)
        data = [mujoco.MjData(model) for _ in range(2)]
        with mujoco.rollout.Rollout(nthread=2) as pool:
            while (job := channel.receive()) is not None:
                seconds = _block(context, bound, pool, data, job["steps"], np)
                channel.send({"seconds": seconds, "cpu": time.process_time()})


def _block(context, bound, pool, data, steps, np) -> float:
    from embodied.core.world import World

    model, schema, state = context["model"], _schema(), context["state"].copy()
    rng = np.random.default_rng(0)
    world = None
    began = time.perf_counter()
    for _ in range(steps):
        action = rng.uniform(-1, 1, size=(ENVS, model.nu))
        states, _ = pool.rollout([model] * ENVS, data, state, control=action[:, None, :], nstep=1)
        state = states[:, -1]
        values = {"time": state[:, 0], "body.position": state[:, 1:4], "body.velocity": state[:, 9:12]}
        world = World(schema, values, world)
        total, _ = bound(world, action)
    assert np.isfinite(total).all()
    return time.perf_counter() - began


class _Pipe:
    """The channel of the open process: standard input and output."""

    def receive(self):
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def send(self, message):
        print(json.dumps(message), flush=True)


def _open_process():
    from embodied.sandbox.lock import ENVIRONMENT

    code = (
        f"import sys; sys.path[:0] = [{str(HERE.parent)!r}, {str(HERE)!r}]; import sandbox_cost as s;"
        " c = s.Loop.prepare({}); p = s._Pipe(); p.send({}); s.Loop.run(c, p)"
    )
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd="/",
    )  # fmt: skip


def measure_check(quick: bool) -> dict:
    """Milliseconds of the static check for a program of ordinary length."""
    from embodied.sandbox.static_check import check_source

    schema, times = _schema(), []
    assert check_source(REWARD, schema).ok
    for _ in range(50 if quick else 300):
        began = time.perf_counter()
        check_source(REWARD, schema)
        times.append((time.perf_counter() - began) * 1e3)
    return {"best_ms": min(times), "median_ms": statistics.median(times)}


def measure_steps(blocks: int, steps: int) -> dict:
    """Time per step (64 environments) open and locked, in alternating blocks; and time to be ready."""
    from embodied.sandbox.process import LockedProcess

    began = time.perf_counter()
    opened = _open_process()
    assert opened.stdin is not None
    assert opened.stdout is not None
    opened.stdout.readline()
    open_start = time.perf_counter() - began
    began = time.perf_counter()
    times: dict[str, list[float]] = {"open": [], "locked": []}
    with LockedProcess("sandbox_cost:Loop", {}, packages=["sandbox_cost"], import_paths=[HERE]) as locked:
        locked_start = time.perf_counter() - began
        for _ in range(blocks + 1):
            opened.stdin.write(json.dumps({"steps": steps}) + "\n")
            opened.stdin.flush()
            times["open"].append(json.loads(opened.stdout.readline())["seconds"] / steps)
            answer = locked.request({"steps": steps}, deadline_s=300)
            assert isinstance(answer, dict), answer
            times["locked"].append(answer["seconds"] / steps)
        report = locked.report
    opened.stdin.close()
    opened.wait()
    return {
        "open_us": min(times["open"][1:]) * 1e6,
        "locked_us": min(times["locked"][1:]) * 1e6,
        "open_median_us": statistics.median(times["open"][1:]) * 1e6,
        "locked_median_us": statistics.median(times["locked"][1:]) * 1e6,
        "open_start_ms": open_start * 1e3,
        "locked_start_ms": locked_start * 1e3,
        "report": report,
    }


def main() -> int:
    """Measures, prints, writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    quick = parser.parse_args().quick
    check = measure_check(quick)
    steps = measure_steps(*((5, 200) if quick else (15, 1000)))
    print(f"static check: best {check['best_ms']:.2f} ms, median {check['median_ms']:.2f} ms a program")
    print(
        f"step of {ENVS} environments: open {steps['open_us']:.0f} us, locked {steps['locked_us']:.0f} us"
        f" (medians {steps['open_median_us']:.0f}, {steps['locked_median_us']:.0f})"
    )
    print(
        f"start until ready: open {steps['open_start_ms']:.0f} ms, locked {steps['locked_start_ms']:.0f} ms"
    )

    def metric(name, ours, peer, peer_name, target):
        ratio = ours / peer
        row = {"name": name, "ours": round(ours, 3), "peer": round(peer, 3), "peer_name": peer_name}
        return {**row, "ratio": round(ratio, 3), "target": f"ratio <= {target}", "ok": ratio <= target}

    result = {
        "benchmark": "sandbox_cost",
        "metrics": [
            metric("step_us_64_envs", steps["locked_us"], steps["open_us"], "the same loop, open", 1.1),
            metric("start_ms", steps["locked_start_ms"], steps["open_start_ms"], "the same start, open", 1.5),
            metric("check_ms_per_program", check["median_ms"], 10.0, "budget of 10 ms", 1.0),
        ],
    }
    details = {
        **result,
        "check": check,
        "steps": steps,
        "quick": quick,
        "seeds": [0],
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cpu_count": os.cpu_count(), "kernel": platform.release(), "machine": platform.machine()},
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("numpy", "mujoco")},
        },
    }
    path = HERE / "results" / "sandbox_cost.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(details, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
