"""`embodied deploy`: a trained policy drives a robot, or its digital twin, through the safety gate."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

HELP = """embodied deploy robot=<name> policy=<run folder> [safety=<name>] [transport=twin|real] [key=value ...]

Plays episodes of the policy's task on the robot: the policy, the driver and the supervisor are three processes, and
every command passes the gate. Ends parked, with the torque off, and with a report. Not a certified safety function.

  robot=so101            see: embodied list robots
  safety=tabletop        the envelope; there is no motion without one
  transport=twin         the vendor's SDK against a process that speaks the servos' protocol, with MuJoCo behind it
  transport=real         the metal: needs port=<device> calibration=<LeRobot's file>, and a person's confirmation
  cameras={front: /dev/video0}   of the metal, for a policy that sees; a twin brings its own
  headless=true          the twin step by step, without a clock: the same motion on every machine
  pull_cable_in=2        on a twin: the line goes dead in that episode (from 0), to see that the arm holds
  episodes=5  seed=0

examples:
  embodied deploy robot=so101 policy=<run folder> headless=true
  embodied deploy robot=so101 policy=<run folder> transport=twin
  embodied deploy robot=so101 policy=<run folder> transport=real port=/dev/ttyACM0 calibration=my_arm.json
"""


def run(arguments: list[str]) -> int:
    """Runs the command."""
    from embodied.commands.compose import run_composed

    return run_composed("deploy", arguments, execute)


def execute(composed, finished=None) -> int:
    """Runs one composed configuration; `finished` is told the result row."""
    from embodied.commands.compose import load_run_config
    from embodied.core.errors import ConfigError, EmbodiedError
    from embodied.core.runs import RunFolder
    from embodied.deploy.acting import is_address
    from embodied.deploy.opening import connection, prepare, summary

    config = dict(composed.config)
    if config["headless"] and config["transport"] != "twin":
        raise ConfigError("headless=true moves time by hand, which only transport=twin allows")
    if config["pull_cable_in"] is not None and (config["transport"] != "twin" or config["headless"]):
        raise ConfigError("pull_cable_in=<episode> needs transport=twin in real time")
    task = config.get("task")
    if not task and not is_address(str(config["policy"])):
        task = load_run_config(Path(config["policy"])).get("task")
    if not task:
        raise ConfigError("a policy of `embodied fit` knows many sentences: say which task, as in task=reach")
    prepared = prepare(config, task, composed.trusted_packages)
    folder = RunFolder.create(Path(config["runs_dir"]), config["name"] or f"deploy-{prepared.bridge.task.name}")
    folder.start(composed.yaml, composed.overrides, {"seed": config["seed"]})
    folder.lock()
    try:
        prepared.config["connection"], twin = connection(config, folder.path)
        told = summary(prepared.envelope, str(config["robot"]["driver"]["_target_"]), prepared.config["connection"])
        if twin is None:
            _confirm(config, told)
    except EmbodiedError:
        folder.discard_unbegun()
        raise
    try:
        outcome = _headless(config, prepared, twin) if config["headless"] else _live(config, prepared, twin)
    finally:
        if twin is not None:
            twin.close()
    return _finish(config, prepared, folder, outcome, told, finished)


def _confirm(config: dict, told: str) -> None:
    """A person has read the envelope and stands beside the robot."""
    import sys

    from embodied.core.errors import ConfigError

    print(told, flush=True)
    if config["confirmed_by"]:
        return
    if not sys.stdin.isatty():
        raise ConfigError("transport=real needs a person: run it in a terminal, or give confirmed_by=<your name>")
    if input("The robot will move. Type 'move' to go on: ").strip() != "move":
        raise ConfigError("not confirmed: nothing has moved")


def _live(config: dict, prepared, twin):
    from embodied.deploy.supervisor import Supervisor
    from embodied.terminal.deploy import DeployConsole

    console, before = DeployConsole(), {}
    seeds = [int(config["seed"]) + i for i in range(int(config["episodes"]))]

    with _twin_cameras(prepared, twin) as cameras:

        def starting(seed: int) -> tuple[float, ...]:
            if cameras is not None:
                cameras.begin(seed)
            return prepared.bridge.start_pose(seed)

        def moving(number: int) -> None:
            if number == config["pull_cable_in"]:
                before.update(twin.tell(cut=True))

        outcome = Supervisor(prepared.config, console).run(seeds, starting, moving)
    console.close(outcome)
    if before:
        import time

        time.sleep(1.0)
        after = twin.state()
        moved = max(abs(a - b) for a, b in zip(after["position_rad"], before["position_rad"], strict=True))
        holds = all(after["torque_on"])
        print(f"cable pulled; a second later every joint within {moved:.4f} rad, torque {'on' if holds else 'OFF'}")
    return outcome


@contextmanager
def _twin_cameras(prepared, twin):
    """The cameras of a twin, told to the policy's process; None on the metal, and for a policy that sees nothing."""
    from functools import partial

    from embodied.deploy.acting import pictures_of
    from embodied.deploy.scenes import TaskScene
    from embodied.deploy.twin_cameras import TwinCameras

    ready, shapes = prepared.config, pictures_of(prepared.policy)
    if twin is None or not shapes:
        yield None
        return
    size = next(iter(shapes.values()))[:2]
    scene = partial(TaskScene, ready["task"], ready["joints"], tuple(shapes), *size, ready["trusted_packages"])
    with TwinCameras(twin, scene, tuple(shapes)) as cameras:
        for name, source in cameras.sources.items():
            ready["cameras"][name]["source"] = source
        yield cameras


def _headless(config: dict, prepared, twin):
    from embodied.core.build import build
    from embodied.core.clock import VirtualClock
    from embodied.deploy.daemon import make_loop
    from embodied.deploy.lockstep import Lockstep, outcome_of

    clock = VirtualClock()
    robot = build(prepared.config["driver"], **prepared.config["connection"], clock=clock)
    robot.connect()
    try:
        loop = make_loop(prepared.config, robot, clock)
        loop.arm()
        steps = Lockstep(loop, prepared.bridge, prepared.policy, clock, twin.advance)
        rows = []
        for i in range(int(config["episodes"])):
            rows.append(steps.episode(int(config["seed"]) + i))
            print(f"episode {i + 1}: {'success' if rows[-1]['success'] else 'no success'}", flush=True)
        parked = steps.park()
    finally:
        robot.disconnect()
    return outcome_of(steps, rows, parked)


def _simulated(prepared, seeds: list[int]) -> int | None:
    """Successes of the same policy on the same starts in the simulator; None for one that is served elsewhere."""
    from embodied.deploy.policy_client import PolicyClient
    from embodied.rl.policy import MLPPolicy

    task, policy = prepared.bridge.task, prepared.policy
    if isinstance(policy, PolicyClient):
        return None
    if isinstance(policy, MLPPolicy):
        from embodied.rl.job import policy_actor
        from embodied.sim.evaluation import evaluate_seeds

        return sum(evaluate_seeds(task, policy_actor(policy), seeds))
    from embodied.policies.trial import try_out

    return sum(bool(try_out(task, policy, episodes=1, seed=seed).success[0]) for seed in seeds)


def _finish(config: dict, prepared, folder, outcome, told: str, finished) -> int:
    from embodied.core.stats import wilson_interval
    from embodied.deploy import report

    n, good = len(outcome.episodes), sum(e["success"] for e in outcome.episodes)
    low, high = wilson_interval(good, n) if n else (0.0, 1.0)
    seeds = [e["seed"] for e in outcome.episodes]
    result = {
        "task": prepared.bridge.task.name,
        "transport": config["transport"],
        "episodes": n,
        "successes": good,
        "low": low,
        "high": high,
        "simulated": _simulated(prepared, seeds),
        "ended": outcome.ended,
        "why": outcome.why,
        "joints": prepared.config["joints"],
        "loop": {k: outcome.status.get(k) for k in ("pacer", "verdicts", "refused", "read_faults")},
    }
    path = report.write(
        folder,
        outcome,
        robot=str(prepared.config["driver"]["_target_"]),
        transport=str(config["transport"]),
        instruction=prepared.bridge.task.instruction,
        envelope=told,
        result=result,
    )
    folder.finish(result)
    if finished is not None:
        finished(result)
    print(f"{good} of {n} episodes succeeded{report.beside(result)}; {outcome.ended} {outcome.why}")
    print(json.dumps(result))
    print(f"report:  {path}")
    wanted = "lost" if config["pull_cable_in"] is not None else "parked"
    return 0 if outcome.ended == wanted else 1
