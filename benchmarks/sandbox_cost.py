"""What the sandbox costs: the static check per program, and the lock per step and per start.

The same worker loop runs in an open and in a locked process: step 64 small MuJoCo models through
`mujoco.rollout` with two threads made after the lock, build the batched world, call a reward. Blocks of the
two alternate, and the ratio is the median over neighbouring blocks, of wall and of processor time: on a
machine that others use, best times of either are luck. One command:

    python benchmarks/sandbox_cost.py [--quick]

Ends with one JSON line and writes `benchmarks/results/sandbox_cost.json`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from embodied.core.runs import machine_provenance

HERE = Path(__file__).resolve().parent
ENVS = 64
MODEL = """
<mujoco><option timestep="0.005"/><worldbody><geom type="plane" size="5 5 .1"/>
<body pos="0 0 .5"><freejoint/><geom type="capsule" size=".05 .1"/>
<body pos="0 0 .2"><joint name="j" axis="0 1 0"/>
<geom type="capsule" fromto="0 0 0 .2 0 0" size=".03"/></body>
</body></worldbody><actuator><motor joint="j" gear="1"/></actuator></mujoco>
"""
REWARD = """
import numpy as np

WEIGHTS = {"height": 1.0, "effort": 0.01}


def reward(world, action):
    away = np.linalg.norm(world.body.position - np.array([0.0, 0.0, 0.5]), axis=-1)
    height = 1.0 - np.tanh(5.0 * away)
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
                cpu = time.process_time()
                seconds = _block(context, bound, pool, data, job["steps"], np)
                channel.send({"seconds": seconds, "cpu": time.process_time() - cpu})


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
        start_new_session=True,  # as the locked one: the scheduler shares processor time by session
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
    cpu: dict[str, list[float]] = {"open": [], "locked": []}
    with LockedProcess("sandbox_cost:Loop", {}, packages=["sandbox_cost"], import_paths=[HERE]) as locked:
        locked_start = time.perf_counter() - began
        for block in range(blocks + 1):
            for name in ("open", "locked") if block % 2 else ("locked", "open"):
                if name == "open":
                    opened.stdin.write(json.dumps({"steps": steps}) + "\n")
                    opened.stdin.flush()
                    answer = json.loads(opened.stdout.readline())
                else:
                    answer = locked.request({"steps": steps}, deadline_s=300)
                assert isinstance(answer, dict), answer
                times[name].append(answer["seconds"] / steps)
                cpu[name].append(answer["cpu"] / steps)
        report = locked.report
    opened.stdin.close()
    opened.wait()
    result = {"open_start_ms": open_start * 1e3, "locked_start_ms": locked_start * 1e3, "report": report}
    for kind, found in (("wall", times), ("cpu", cpu)):
        pairs = [b / a for a, b in zip(found["open"][1:], found["locked"][1:], strict=True)]
        for name in ("open", "locked"):
            result[f"{name}_{kind}_us"] = statistics.median(found[name][1:]) * 1e6
        result[f"{kind}_ratio"] = statistics.median(pairs)
        result[f"{kind}_ratio_quartiles"] = statistics.quantiles(pairs, n=4)[::2]
    return result


def main() -> int:
    """Measures, prints, writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    quick = parser.parse_args().quick
    check = measure_check(quick)
    steps = measure_steps(*((20, 100) if quick else (100, 200)))
    print(f"static check: best {check['best_ms']:.2f} ms, median {check['median_ms']:.2f} ms a program")
    for kind in ("wall", "cpu"):
        low, high = steps[f"{kind}_ratio_quartiles"]
        print(
            f"{kind} time of a step of {ENVS} environments, medians: open {steps[f'open_{kind}_us']:.0f} us,"
            f" locked {steps[f'locked_{kind}_us']:.0f} us; ratio of neighbouring blocks {steps[f'{kind}_ratio']:.3f}"
            f" (quartiles {low:.3f} to {high:.3f})"
        )
    print(f"start until ready: open {steps['open_start_ms']:.0f} ms, locked {steps['locked_start_ms']:.0f} ms")

    def metric(name, ours, peer, peer_name, target, ratio=None):
        ratio = ours / peer if ratio is None else ratio
        row = {"name": name, "ours": round(ours, 3), "peer": round(peer, 3), "peer_name": peer_name}
        return {**row, "ratio": round(ratio, 3), "target": f"ratio <= {target}", "ok": ratio <= target}

    def step(kind):
        ours, peer = steps[f"locked_{kind}_us"], steps[f"open_{kind}_us"]
        return metric(f"step_{kind}_us", ours, peer, "the same loop, open", 1.1, steps[f"{kind}_ratio"])

    result = {
        "benchmark": "sandbox_cost",
        "metrics": [
            step("wall"),
            step("cpu"),
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
        "machine": machine_provenance(),
    }
    path = HERE / "results" / "sandbox_cost.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(details, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
