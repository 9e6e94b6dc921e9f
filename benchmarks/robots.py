"""A robot's driver, gate and processes against its twin: what goes wrong, how fast it is seen, what the arm does.

    python benchmarks/robots.py [--quick] [--parts wire,cable,kill,soak,parity,...]

`wire`: corrupted, late and dropped replies, the vendor's SDK alone beside ours. `cable`: the line is cut. `kill`: the
daemon and the policy are killed with signal 9. `park`: what falls when the torque goes off. `soft`: the first second
after arming. `soak`: the control loop's rhythm at 50 to 500 Hz, and beside CPU hogs. `parity`: one policy in the
simulator and through SDK, wire and twin. `lerobot`: LeRobot's own class on the same twin. `ur5e`, `fr3`: arms behind a
controller of their own. The twins are our reading of the data sheets (the FR3's is the public franka-sim); the vendors'
SDKs are the independent witnesses.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(sys.path.pop(0))  # this folder comes last: `robots` is the package, not this script
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from arms import HOME, bench, ticks
from common import RESULTS, finish, train
from controller_parts import fr3, ur5e
from reaching import reaching_policy
from robot_parts import connected, lerobot, row, soak
from tabletop import Row

from embodied.core.errors import RobotError, RobotLostError
from embodied.core.files import read_json
from embodied.core.runs import RunFolder, find_runs
from embodied.deploy.lockstep import Lockstep
from embodied.deploy.opening import prepare, start_twin
from embodied.deploy.supervisor import Supervisor
from embodied.deploy.translate import TaskBridge
from embodied.rl.job import policy_actor
from embodied.rl.policy import MLPPolicy
from embodied.rl.writing import make_task
from embodied.safety.faults import Mode
from embodied.sim.evaluation import evaluate_seeds
from robots.calibration import RAD_PER_COUNT


def wire(quick: bool) -> list[Row]:
    """Readings under wire faults: ours, and the vendor's SDK alone on the same line."""
    n, rows = (1_000 if quick else 10_000), []
    with tempfile.TemporaryDirectory() as folder:
        arm, twin = connected(Path(folder))
        hold = arm.observe().position_rad
        ids = list(arm._ids.values())
        began = time.perf_counter()
        for _ in range(1000):
            arm.send(hold)
            arm.observe()
        truth = np.array(arm.observe().position_rad)
        rows.append(row("command and reading [cycles/s]", 1000 / (time.perf_counter() - began), None, "at least"))
        for share in (0.001, 0.01, 0.02, 0.05):
            twin.tell(set={"corrupt": share})
            wrong = failed = alone = 0
            for _ in range(n):
                try:
                    wrong += bool((np.abs(np.array(arm.observe().position_rad) - truth) > 6 * RAD_PER_COUNT).any())
                except RobotError:
                    failed += 1
            for _ in range(n // 10):
                alone += len(arm.bus.read(ids)) < len(ids)
                arm.bus.quiesce()
            more = {"reads": n, "kept": 1 - failed / n, "sdk_alone_kept": 1 - alone / (n // 10)}
            rows.append(row(f"{share:.1%} of packets corrupted: wrong readings", wrong, 0, **more))
            if share == 0.01:
                rows.append(row("1% of packets corrupted: cycles kept", 1 - failed / n, 0.95, "at least"))
        twin.tell(set={"corrupt": 0.0, "drop": 0.01})
        durations = []
        for _ in range(n // 2):
            begin = time.perf_counter()
            arm.observe()
            durations.append(1e3 * (time.perf_counter() - begin))
        p50, p99, worst = np.percentile(durations, [50, 99.9, 100])
        rows.append(row("1% of replies dropped: worst reading [ms]", float(worst), 10.0, p50=p50, p999=p99))
        twin.tell(set={"drop": 0.0, "late": 0.05})
        wrong = 0
        calibration = {m.id: (m.homing_offset, m.range_min, m.range_max) for m in twin.calibration.values()}
        for i in range(20 if quick else 100):
            motor = ids[i % len(ids)]
            wrong += arm.bus.stored_calibration(motor) != calibration[motor]
            wrong += arm.bus.model_number(motor) != 777
        rows.append(row("5% of replies 60 ms late: another register's value", wrong, 0))
        arm.disconnect()
        twin.close()
    return rows


def cable(quick: bool) -> list[Row]:
    """The line is cut while the arm moves."""
    seen_ms, moved = [], []
    for _ in range(3 if quick else 20):
        with tempfile.TemporaryDirectory() as folder:
            arm, twin = connected(Path(folder))
            target, begin = list(HOME), time.monotonic()
            while time.monotonic() - begin < 0.3:
                target[0] = HOME[0] + 0.3 * (time.monotonic() - begin)
                arm.send(target)
                arm.observe()
            before = twin.tell(cut=True)["position_rad"]
            cut = time.perf_counter()
            try:
                while True:
                    arm.send(target)
                    arm.observe()
            except RobotLostError:
                seen_ms.append(1e3 * (time.perf_counter() - cut))
            arm.disconnect()
            time.sleep(1.0)
            after = twin.state()
            moved.append(float(np.abs(np.array(after["position_rad"]) - before).max()))
            twin.close()
    return [
        row("cable pulled: seen after [ms], worst", max(seen_ms), 50.0, median=statistics.median(seen_ms)),
        row("cable pulled: a joint moves afterwards [rad], worst", max(moved), 0.02, repeats=len(moved)),
    ]


def kill(quick: bool) -> list[Row]:
    """Kill -9 of the daemon and of the policy while episodes are played."""
    rows = []
    for victim, want in (("daemon", "rescued"), ("policy", "fault")):
        hold_ms, moved, ended = [], [], []
        for _ in range(1 if quick else 5):
            with tempfile.TemporaryDirectory() as folder:
                outcome, killed, before, after = _killed(Path(folder), victim)
            ended.append(outcome.ended)
            for at, text in outcome.notes:
                if victim == "daemon" and text == "holding again":
                    hold_ms.append(1e3 * (at - killed))
            moved.append(float(np.abs(np.array(after) - before).max()))
        right = ended.count(want) / len(ended)
        rows.append(row(f"kill -9 of the {victim}: ended {want}, arm parked", right, 1.0, "at least"))
        if hold_ms:
            rows.append(row("kill -9 of the daemon: holding again after [ms], worst", max(hold_ms), 200.0))
            rows.append(row("kill -9 of the daemon: a joint moves in 0.1 s [rad], worst", max(moved), 0.1))
    return rows


def _killed(folder: Path, victim: str) -> tuple[Any, float, list[float], list[float]]:
    from embodied.commands.compose import compose_config, load_run_config

    run = _run_with_policy(folder)
    config = compose_config("deploy", [f"policy={run}"]).config
    prepared = prepare(config, load_run_config(run))
    prepared.config["connection"], twin = start_twin(config["robot"], folder, manual=False, priority=45)
    supervisor, seen = Supervisor(prepared.config), {}

    def strike() -> None:
        while supervisor.outcome.status.get("verdicts", {}).get("passed", 0) < 150:
            time.sleep(0.01)
        seen["before"] = twin.state()["position_rad"]
        os.kill(getattr(supervisor, victim).pid, signal.SIGKILL)
        seen["at"] = time.monotonic()
        time.sleep(0.1)
        seen["after"] = twin.state()["position_rad"]

    threading.Thread(target=strike, daemon=True).start()
    with twin:
        outcome = supervisor.run(list(range(5)), prepared.bridge.start_pose)
        assert not any(twin.state()["torque_on"])
    return outcome, seen["at"], seen["before"], seen["after"]


def _run_with_policy(folder: Path) -> Path:
    from embodied.commands.compose import compose_config

    composed = compose_config("train", ["task=reach"])
    run = RunFolder.create(folder / "runs", "reach")
    run.start(composed.yaml, composed.overrides, {})
    reaching_policy(make_task("reach")).save(run / "policy")
    return run.path


def park(quick: bool) -> list[Row]:
    """How far the tool falls when the torque goes off: parked, and where it stood."""
    fell = {}
    for name in ("parked", "at home"):
        with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as (loop, twin, clock):
            loop.arm()
            ticks(loop, twin, clock, 100)
            if name == "parked":
                loop.machine.park(clock.now_s())
                while loop.machine.mode is not Mode.PARKED:
                    ticks(loop, twin, clock, 1)
            before = np.array(twin.state()["tool_m"])
            loop.robot.release()
            for _ in range(100):
                twin.advance(0.02)
            fell[name] = 1e3 * float(np.linalg.norm(np.array(twin.state()["tool_m"]) - before))
    return [row("torque off when parked: the tool falls [mm]", fell["parked"], 10.0, at_home=fell["at home"])]


def soft(quick: bool) -> list[Row]:
    """A move to a pose one radian off, from the moment of arming."""
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as (loop, twin, clock):
        loop.arm()
        loop.go_to([HOME[0] + 1.0, *HOME[1:]])
        sent = np.array([c.sent for c in ticks(loop, twin, clock, 100)])
    fastest = float(np.abs(sent[10:] - sent[:-10]).max() / (10 * loop.gate.dt_s))
    return [row("first second after arming: fastest joint [rad/s]", fastest, 0.25 + 2 * RAD_PER_COUNT / 0.1)]


def parity(quick: bool) -> list[Row]:
    """A trained policy: success in the simulator and on the twin from the same seeds."""
    episodes = 10 if quick else 50
    with tempfile.TemporaryDirectory() as folder:
        task = make_task("reach")
        if quick:
            policy = reaching_policy(task)
        else:
            train("reach", 0, "expert", Path(folder) / "runs", "baselines=[]", "video.episodes=0")
            (run,) = find_runs(Path(folder) / "runs")
            policy = MLPPolicy.load(run / "policy")
        simulated = evaluate_seeds(task, policy_actor(policy), list(range(episodes)))
        with bench(Path(folder)) as (loop, twin, clock):
            loop.arm()
            steps = Lockstep(loop, TaskBridge(task, loop.robot.joints), policy, clock, twin.advance)
            rows = [steps.episode(seed) for seed in range(episodes)]
            parked = steps.park()
    succeeded = sum(r["success"] for r in rows)
    return [
        row(
            "one policy: successes on the twin less those in the simulator",
            succeeded - sum(simulated),
            0.0,
            "at least",
            twin=succeeded,
            simulator=sum(simulated),
            episodes=episodes,
            parked=parked,
            clamped=int(loop.gate.counts["clamped"]),
        )
    ]


PARTS: dict[str, Callable[[bool], list[Row]]] = {
    "wire": wire, "cable": cable, "kill": kill, "park": park, "soft": soft, "soak": soak, "parity": parity,
    "lerobot": lerobot, "ur5e": ur5e, "fr3": fr3,
}  # fmt: skip


def main() -> None:
    """Runs the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--parts", default=",".join(PARTS))
    given = parser.parse_args()
    wanted = given.parts.split(",")
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; known: {', '.join(PARTS)}")
    path, kept = RESULTS / "robots.json", []
    if path.is_file() and len(wanted) < len(PARTS):
        kept = [Row(r) for r in read_json(path)["metrics"] if r.get("part") not in wanted]
    rows = []
    for name in wanted:
        for found in PARTS[name](given.quick):
            rows.append(Row({**found, "part": name}))
            print(f"{found['name']:66s} {found['ours']:10.4g}  {found['target_is']} {found['target']}", flush=True)
    raise SystemExit(finish("robots", [*kept, *rows], seeds=[0], quick=given.quick))


if __name__ == "__main__":
    main()
