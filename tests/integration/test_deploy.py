"""Deployment end to end: policy, daemon and supervisor as processes, the vendor's SDK, bytes on a line, a twin."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import mujoco
import numpy as np
import pytest
import yaml
from reaching import reaching_policy

from embodied.commands.compose import compose_config, load_run_config
from embodied.commands.main import main
from embodied.core.files import read_json
from embodied.core.runs import RunFolder, find_runs
from embodied.deploy.opening import prepare, start_twin
from embodied.deploy.policy_server import PolicyServer
from embodied.deploy.scenes import TaskScene
from embodied.deploy.supervisor import Supervisor
from embodied.deploy.twin_cameras import TwinCameras
from embodied.rl.writing import make_task


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder as `embodied train task=reach` leaves it, with a quickly made policy."""
    composed = compose_config("train", ["task=reach"])
    folder = RunFolder.create(tmp_path_factory.mktemp("runs"), "reach")
    folder.start(composed.yaml, composed.overrides, {})
    reaching_policy(make_task("reach")).save(folder / "policy")
    return folder.path


@pytest.fixture
def deployment(run, tmp_path):
    """`(prepared, twin)` with the twin running in real time."""
    config = compose_config("deploy", [f"policy={run}"]).config
    prepared = prepare(config, load_run_config(run)["task"])
    prepared.config["connection"], twin = start_twin(config["robot"], tmp_path, manual=False, priority=45)
    with twin:
        yield prepared, twin


def noted(outcome):
    return " | ".join(text for _, text in outcome.notes)


def deploy(deployment, episodes=1, then=None):
    """Runs a deployment; `then(supervisor)` is called from a thread once the first episode is moving."""
    prepared, _ = deployment
    supervisor = Supervisor(prepared.config)
    if then is not None:

        def wait():
            while supervisor.outcome.status.get("verdicts", {}).get("passed", 0) < 150:
                time.sleep(0.02)
            then(supervisor)

        threading.Thread(target=wait, daemon=True).start()
    return supervisor.run(list(range(episodes)), prepared.bridge.start_pose)


def test_episodes_are_played_and_the_arm_ends_parked_without_torque(deployment):
    outcome = deploy(deployment)
    assert outcome.ended == "parked", outcome.why
    assert len(outcome.episodes) == 1
    state = deployment[1].state()
    assert not any(state["torque_on"])
    park = deployment[0].config["motion"]["park_rad"]
    assert state["position_rad"] == pytest.approx(park, abs=0.1)
    assert len(outcome.rows) > 300


def test_a_killed_daemon_is_replaced_by_the_supervisor_which_holds_and_parks(deployment):
    outcome = deploy(deployment, 3, lambda s: os.kill(s.daemon.pid, signal.SIGKILL))
    assert outcome.ended == "rescued"
    assert "driver daemon has died" in outcome.why
    assert "holding again" in noted(outcome)
    state = deployment[1].state()
    assert not any(state["torque_on"])
    assert state["position_rad"] == pytest.approx(deployment[0].config["motion"]["park_rad"], abs=0.1)


def test_a_killed_policy_is_a_fault_that_holds_and_parks(deployment):
    outcome = deploy(deployment, 3, lambda s: os.kill(s.policy.pid, signal.SIGKILL))
    assert outcome.ended == "fault"
    assert "policy process has ended" in outcome.why
    sent = np.array([row[3] for row in outcome.rows])
    assert np.abs(np.diff(sent, axis=0)).max() * 100.0 <= 3.0 + 0.2, "no limit is broken on the way"
    assert deployment[1].state()["position_rad"] == pytest.approx(deployment[0].config["motion"]["park_rad"], abs=0.1)


def test_a_pulled_cable_ends_the_deployment_while_the_arm_holds(deployment):
    twin, seen = deployment[1], {}

    def pull(supervisor):
        seen["before"] = twin.tell(cut=True)["position_rad"]

    outcome = deploy(deployment, 3, pull)
    assert outcome.ended == "lost"
    assert "gone" in outcome.why
    time.sleep(0.5)
    state = twin.state()
    assert all(state["torque_on"]), "without a master the servos hold"
    assert np.abs(state["velocity_radps"]).max() < 0.05


def test_a_frozen_robot_is_seen_and_nothing_moves_when_it_thaws(deployment):
    twin, seen = deployment[1], {}

    def freeze(supervisor):
        seen["before"] = twin.state()["position_rad"]
        twin.freeze()
        time.sleep(1.0)
        seen["mode"] = supervisor.outcome.status.get("mode")
        twin.thaw()

    outcome = deploy(deployment, 3, freeze)
    assert outcome.ended == "fault"
    assert "no believable reading" in outcome.why
    assert seen["mode"] in ("hold", "parking")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stopped_command_parks_before_it_ends(run, tmp_path, number):
    words = [sys.executable, "-m", "embodied.commands.main", "deploy", f"policy={run}", f"runs_dir={tmp_path}"]
    process = subprocess.Popen([*words, "episodes=20"], stdout=subprocess.PIPE, text=True, start_new_session=True)
    for line in process.stdout:
        if "episode 1" in line:
            break
    os.killpg(process.pid, number)  # as a terminal does: every process of the command gets it
    rest = process.communicate(timeout=60)[0]
    assert "parking" in rest
    assert "parked; torque off" in rest


def test_the_command_steps_a_twin_and_writes_a_report(run, tmp_path, capsys):
    assert main(["deploy", f"policy={run}", "headless=true", "episodes=2", f"runs_dir={tmp_path}"]) == 0
    text = capsys.readouterr().out
    result = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    assert result["episodes"] == 2
    assert result["ended"] == "parked"
    (folder,) = find_runs(tmp_path)
    assert read_json(folder / "result.json")["successes"] == result["successes"]
    page = (folder / "report.html").read_text()
    for words in ("Sent and measured", "shoulder_pan", "parked", "ISO 10218"):
        assert words in page
    motion = np.load(folder / "motion.npz")
    assert motion["measured_rad"].shape == motion["sent_rad"].shape
    assert (folder / "wire.jsonl").stat().st_size > 10_000


class Stiff:
    """Sees a picture, thinks for a while, and wants the joints to stay; says how often it was asked, and for what."""

    features = {"observation.images.front": (48, 64, 3), "observation.state": (17,)}
    prefixes: list = []

    def reset(self, instruction):
        self.words = instruction

    def act(self, observation, prefix=None):
        assert observation["observation.images.front"].std() > 5.0
        assert self.words == make_task("reach").instruction
        self.prefixes.append(0 if prefix is None else len(prefix))
        time.sleep(0.12)  # between two and three steps
        return np.zeros((8, 6), np.float32)


@pytest.mark.parametrize("mode", ["headless=true", "headless=false"])
def test_a_policy_that_is_served_elsewhere_is_deployed(tmp_path, capsys, mode):
    """Asked every fourth step while time stands still; in real time earlier, with what is committed until then."""
    Stiff.prefixes = []
    about = {"action_size": 6, "n_action_steps": 4, "fps": 20}
    server = PolicyServer(Stiff, about).start()
    words = [f"policy=ws://127.0.0.1:{server.port}", "task=reach", mode, "episodes=1", f"runs_dir={tmp_path}"]
    try:
        assert main(["deploy", *words]) == 0
    finally:
        server.close()
    assert "1 episodes" in capsys.readouterr().out
    if mode == "headless=true":
        assert Stiff.prefixes == [0] * 15
    else:
        assert Stiff.prefixes[0] == 0
        assert set(Stiff.prefixes[2:]) == {3}, "asked for three steps early, once it was seen to take that long"


def test_a_camera_that_stands_still_ends_it_with_the_arm_parked(tmp_path):
    Stiff.prefixes = []
    server = PolicyServer(Stiff, {"action_size": 6, "n_action_steps": 4, "fps": 20}).start()
    config = compose_config("deploy", [f"policy=ws://127.0.0.1:{server.port}", "task=reach"]).config
    prepared = prepare(config, config["task"])
    scene = partial(TaskScene, prepared.config["task"], prepared.config["joints"], ("front",), 48, 64)
    prepared.config["connection"], twin = start_twin(config["robot"], tmp_path, manual=False, priority=45)
    try:
        with twin, TwinCameras(twin, scene, ("front",)) as cameras:
            prepared.config["cameras"]["front"]["source"] = cameras.sources["front"]
            outcome = Supervisor(prepared.config).run([0], prepared.bridge.start_pose, lambda _: cameras.freeze())
            state = twin.state()
    finally:
        server.close()
    assert outcome.ended == "fault"
    assert "newest picture is" in outcome.why
    assert not any(state["torque_on"])
    assert state["position_rad"] == pytest.approx(prepared.config["motion"]["park_rad"], abs=0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["policy=ws://127.0.0.1:9", "task=reach"], "no policy server at ws://127.0.0.1:9"),
        (["policy=ws://127.0.0.1:9"], "say which task"),
        (["transport=real"], "port=<device>"),
        (["transport=air"], "real, twin"),
        (["transport=real", "headless=true"], "time by hand"),
        (["robot=quadruped"], "simulated only"),
        (["robot.rate_hz=33"], "multiple of the policy's 20 Hz"),
    ],
)
def test_what_cannot_be_deployed_leaves_no_run_folder(run, tmp_path, capsys, words, message):
    assert main(["deploy", f"policy={run}", f"runs_dir={tmp_path}", *words]) == 2
    assert message in capsys.readouterr().err
    assert not find_runs(tmp_path)


def test_the_metal_needs_a_person(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    words = ["transport=real", "port=/dev/nothing", "calibration=none.json", f"runs_dir={tmp_path}"]
    assert main(["deploy", f"policy={run}", *words]) == 2
    told = capsys.readouterr()
    assert "ISO 10218" in told.out
    assert "needs a person" in told.err


@pytest.fixture
def running_twin(tmp_path):
    """`embodied twin so101` as a user starts it: `(port, calibration)`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "embodied.commands.main", "twin", "so101", f"folder={tmp_path / 'twin'}", "seconds=120"],
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline().split(":", 1)[1].strip() for _ in range(3)]
    yield lines[0], lines[1]
    process.terminate()
    process.wait(timeout=10)


def test_check_home_and_park_by_command(running_twin, capsys):
    port, calibration = running_twin
    where = [f"port={port}", f"calibration={calibration}"]
    assert main(["robot", "check", "so101", *where]) == 0
    assert "6 joints answer" in capsys.readouterr().out
    assert main(["robot", "home", "so101", *where]) == 2
    assert "needs a person" in capsys.readouterr().err
    assert main(["robot", "home", "so101", *where, "confirmed_by=tests"]) == 0
    assert "the torque is on" in capsys.readouterr().out
    assert main(["robot", "park", "so101", *where, "confirmed_by=tests"]) == 0
    assert "parked; torque off" in capsys.readouterr().out
    assert main(["robot", "dance", "so101", *where]) == 2
    assert "check" in capsys.readouterr().err


def test_where_a_camera_is_by_command_through_the_gate_the_wire_and_the_stream(tmp_path, capsys):
    """The wrist's camera of the twin, over a board on its table: pictures, poses and the place all by the real path."""
    path = tmp_path / "wrist.yaml"
    board = "board={square_m: 0.02, marker_m: 0.015}"
    words = ["so101", "transport=twin", "mount=tool", "camera=wrist", "views=8", board, f"to={path}"]
    assert main(["robot", "calibrate-camera", *words, "confirmed_by=tests"]) == 0
    assert "parked; torque off" in capsys.readouterr().out
    model = make_task("reach").model
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    tool, eye = data.site("tool"), data.cam("wrist")
    truth = tool.xmat.reshape(3, 3).T @ (eye.xpos - tool.xpos)
    found = np.array(yaml.safe_load(path.read_text())["T_mount_camera"])
    assert found[:3, 3] == pytest.approx(truth, abs=0.004)


def test_check_shows_what_its_cameras_give(running_twin, capsys):
    port, calibration = running_twin
    words = ["so101", f"port={port}", f"calibration={calibration}", "cameras={front: /dev/video77}"]
    assert main(["robot", "check", *words]) == 2
    told = capsys.readouterr()
    assert "6 joints answer" in told.out
    assert "camera /dev/video77 does not open" in told.err
    assert main(["robot", "board", "so101", f"to={port}/no/board.png"]) == 2
