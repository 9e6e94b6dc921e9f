"""`embodied robot teleop` and `embodied record robot=`: a pseudo terminal as keyboard, a FIFO as gamepad, twins."""

import threading
import time

import numpy as np
import pytest
from pads import Pad, Terminal

from embodied.commands.main import main
from embodied.data import doctor
from embodied.data.dataset import Dataset

pytest.importorskip("mink")
TWIN = ["so101", "transport=twin"]


@pytest.fixture
def typing():
    """A function that types a text over and over until the test ends; `q` at last."""
    terminal, over = Terminal(), threading.Event()

    def repeat():
        while not over.is_set():
            terminal.type("r")
            over.wait(0.03)

    threading.Thread(target=repeat, daemon=True).start()
    yield terminal
    over.set()
    time.sleep(0.1)
    terminal.hang_up()


def test_a_key_held_in_a_terminal_becomes_a_motion_and_an_episode(typing, tmp_path, capsys):
    words = ["robot=so101", "transport=twin", "teleop=keyboard", f"device={typing.device}", "seconds=1.5"]
    words += [f"dataset={tmp_path / 'd'}", "instruction=Lift the hand.", f"to={tmp_path / 'motion.npz'}"]
    assert main(["record", *words]) == 0
    told = capsys.readouterr().out
    assert "w: x+" in told
    assert "episode 0 of dataset" in told
    assert "parked; torque off" in told
    assert not [f for f in doctor.examine(tmp_path / "d") if f.level == "error"]
    dataset = Dataset(tmp_path / "d")
    assert dataset.tasks == ["Lift the hand."]
    motion = np.load(tmp_path / "motion.npz")
    assert len(dataset.column("action")) == len(motion["sent_rad"]) == 150
    assert np.ptp(motion["sent_rad"], axis=0).max() > 0.1


def test_what_the_cameras_saw_is_in_the_episode(typing, tmp_path, capsys):
    words = ["robot=so101", "transport=twin", "teleop=keyboard", f"device={typing.device}", "seconds=1.2"]
    words += ["cameras=[front]", "fps=20", "height=48", "width=64"]
    words += [f"dataset={tmp_path / 'd'}", "instruction=Lift the hand.", f"to={tmp_path / 'motion.npz'}"]
    assert main(["record", *words]) == 0
    assert "episode 0 of dataset" in capsys.readouterr().out
    assert not [f for f in doctor.examine(tmp_path / "d") if f.level == "error"]
    dataset = Dataset(tmp_path / "d")
    motion = np.load(tmp_path / "motion.npz")
    assert len(dataset.column("action")) == 24
    assert np.allclose(dataset.column("action")[:-1], motion["sent_rad"][4:-1:5], atol=1e-6)
    pictures = dataset.pictures("observation.images.front", 0)
    assert pictures.shape == (24, 48, 64, 3)
    assert pictures[0].std() > 10
    assert np.abs(pictures[-1].astype(float) - pictures[0]).max() > 20  # the arm has moved


def test_a_pad_that_is_pulled_out_ends_the_motion_and_the_arm_parks(tmp_path, capsys):
    pad = Pad(tmp_path)
    threading.Timer(8.0, pad.unplug).start()
    words = ["with=gamepad", f"device={pad.device}", "seconds=120", f"to={tmp_path / 'motion.npz'}"]
    assert main(["robot", "teleop", *TWIN, *words]) == 0
    told = capsys.readouterr().out
    assert "ended: the gamepad" in told
    assert "parked; torque off" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["with=mouse"], "gamepad, keyboard, leader"),
        (["with=gamepad", "device=/nowhere/js0"], "/nowhere/js0"),
        (["with=keyboard"], "no terminal"),
        (["with=keyboard", "dataset=d"], 'instruction="..."'),
        (["with=leader"], "leader_port="),
        (["transport=air"], "real, twin"),
    ],
)
def test_what_cannot_be_is_said_before_anything_moves(words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["robot", "teleop", *TWIN, *words]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "ISO 10218" not in told.out
