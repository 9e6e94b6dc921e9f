"""Pictures without a display, films that players accept, and clear words where there is no OpenGL."""

from __future__ import annotations

import ctypes.util
import io
import os
import subprocess
import sys

import av
import numpy as np
import pytest
import yaml

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ConfigError, RenderingError, UnknownNameError
from embodied.sim.batch_env import BatchEnv
from embodied.sim.gym_env import TaskEnv
from embodied.sim.render import Renderer, choose_backend, encode_mp4, render_episode


def made(name: str):
    return build(yaml.safe_load((conf_dir() / "task" / f"{name}.yaml").read_text()))


@pytest.fixture(scope="module")
def hopper():
    return made("hopper")


@pytest.fixture(scope="module")
def reach():
    return made("reach")


def test_a_picture_shows_the_robot_where_the_state_has_it(hopper):
    home, tilted = hopper.home_state(), hopper.home_state()
    tilted[3] = 1.0
    with Renderer(hopper, width=96, height=64) as renderer:
        upright, lying = renderer.render(home), renderer.render(tilted)
        assert upright.shape == (64, 96, 3)
        assert upright.dtype == np.uint8
        assert np.array_equal(upright, renderer.render(home))
        assert (np.abs(upright.astype(int) - lying).max(axis=-1) > 30).sum() > 50
    # The sky is above the floor, and not the other way round.
    assert upright[:10].std() < upright[-10:].std()


def test_shadows_and_sky_are_drawn_where_asked_and_only_there(hopper):
    pictures = {}
    for shadows in (False, True):
        for skybox in (False, True):
            with Renderer(hopper, width=96, height=64, shadows=shadows, skybox=skybox) as renderer:
                pictures[shadows, skybox] = renderer.render(hopper.home_state()).astype(int)
    with Renderer(hopper, width=96, height=64) as renderer:
        assert np.array_equal(renderer.render(hopper.home_state()), pictures[False, True])  # quick, with a sky
    for other in (False, True):
        darker = pictures[False, other] - pictures[True, other]
        assert (darker.max(axis=-1) > 20).sum() > 20, "no shadow"
        assert not pictures[other, False][:4].any(), "a sky that was switched off"
        assert pictures[other, True][:4].any(), "no sky"


def test_rendering_leaves_the_tasks_model_alone(hopper):
    before = (hopper.model.vis.quality.offsamples, hopper.model.vis.global_.offwidth)
    with Renderer(hopper, width=800, height=8):
        pass
    assert (hopper.model.vis.quality.offsamples, hopper.model.vis.global_.offwidth) == before


def test_the_goal_marker_is_where_the_goal_is(reach):
    state = reach.home_state()
    with Renderer(reach, camera="top", width=160, height=120) as renderer:
        pictures = {x: renderer.render(state, {"goal.position": np.array([x, 0.15, 0.1])}) for x in (0.18, 0.3)}
    difference = np.abs(pictures[0.18].astype(int) - pictures[0.3]).max(axis=-1) > 20
    assert 10 < difference.sum() < 2000
    assert np.ptp(np.argwhere(difference), axis=0).max() > 10  # two places, not one


def test_a_model_without_a_goal_body_gets_a_sphere(hopper):
    state = hopper.home_state()
    with Renderer(hopper, width=96, height=64) as renderer:
        without = renderer.render(state)
        with_goal = renderer.render(state, {"goal.position": np.array([0.3, -0.3, 1.2])})
        assert not np.array_equal(without, with_goal)
        assert np.array_equal(without, renderer.render(state))  # the sphere does not stay


def test_an_environments_own_model_is_drawn(reach):
    env = BatchEnv(reach, n_envs=2, seed=0)
    env.reset()
    state = env.engine.states[0]
    env.engine.edit(1, "cam_pos", slice(None), reach.model.cam_pos + 0.05)
    with Renderer(reach, width=96, height=64) as renderer:
        own, moved = (renderer.render(state, None, env.engine.model_of(i)) for i in (0, 1))
    assert not np.array_equal(own, moved)


def test_props_are_drawn_where_the_controls_put_them():
    """The same joint state with the props of two episodes: mocap bodies, whose poses are among the controls."""
    task = made("open_drawer")
    env = BatchEnv(task, n_envs=2, seed=0)
    env.reset()
    starts = [env.start_of(row) for row in (0, 1)]
    state = starts[0].states[0]
    with Renderer(task, width=96, height=64) as renderer:
        one, other = (renderer.render(state, control=start.control[0]) for start in starts)
        assert (np.abs(one.astype(int) - other).max(axis=-1) > 30).sum() > 20
        assert np.array_equal(one, renderer.render(state, control=starts[0].control[0]))
        assert np.array_equal(renderer.render(state), renderer.render(state))
    film = render_episode(task, [state, state], controls=[s.control[0] for s in starts], width=96, height=64)
    assert np.array_equal(film[0], one)
    assert np.array_equal(film[1], other)


def test_one_renderer_serves_all_cameras(reach):
    with Renderer(reach, width=48, height=32) as renderer:
        assert len(renderer.camera_names) >= 2
        views = [renderer.render(reach.home_state(), camera=name) for name in renderer.camera_names]
        assert len({view.tobytes() for view in views}) == len(views)
        with pytest.raises(UnknownNameError, match="unknown camera"):
            renderer.render(reach.home_state(), camera="fron")
    with pytest.raises(UnknownNameError, match="Did you mean"):
        Renderer(reach, camera=f"{renderer.camera_names[0]}x")


def test_a_closed_renderer_says_so(hopper):
    renderer = Renderer(hopper, width=16, height=16)
    renderer.close()
    renderer.close()
    with pytest.raises(RenderingError, match="closed"):
        renderer.render(hopper.home_state())
    with pytest.raises(ConfigError, match="cannot be drawn"):
        Renderer(hopper, width=0)


def test_an_episode_becomes_a_film(hopper):
    states = np.tile(hopper.home_state(), (9, 1))
    states[:, 2] += np.linspace(0, 0.3, 9)
    frames = render_episode(hopper, states, width=65, height=49, every=2)
    assert len(frames) == 5
    data = encode_mp4(frames, 12.5)
    assert data[4:8] == b"ftyp"
    assert data.find(b"moov") < data.find(b"mdat")  # a browser can begin before the end
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(12.5)
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(shown) == 5
    assert shown[0].shape == (50, 66, 3)
    error = np.abs(shown[0][:49, :65].astype(int) - frames[0]).mean()
    assert error < 12


def test_bad_films_are_refused():
    frame = np.zeros((4, 4, 3), np.uint8)
    for frames, fps in (([], 10), ([frame, frame[:2]], 10), ([frame.astype(float)], 10), ([frame[..., 0]], 10)):
        with pytest.raises(ConfigError):
            encode_mp4(frames, fps)
    with pytest.raises(ConfigError):
        encode_mp4([frame], 0)


@pytest.mark.parametrize("value", ["invalid", "off", "0"])
def test_where_no_opengl_is_allowed_the_error_names_the_remedy(hopper, monkeypatch, value):
    monkeypatch.setenv("MUJOCO_GL", value)
    with pytest.raises(RenderingError, match=r"MUJOCO_GL='.*apt-get install libegl1"):
        Renderer(hopper, width=16, height=16)


def test_where_no_backend_works_all_are_named(hopper, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("embodied.sim.render._PROBE", "raise SystemExit('no driver here')")
    choose_backend.cache_clear()
    try:
        with pytest.raises(RenderingError, match=r"egl: no driver here; osmesa: no driver here\). On Debian"):
            Renderer(hopper, width=16, height=16)
    finally:
        choose_backend.cache_clear()


SCRIPT = """
import os, sys, yaml
from embodied.core.assets import conf_dir
from embodied.core.build import build
task = build(yaml.safe_load((conf_dir() / "task" / "hopper.yaml").read_text()))
import embodied.sim.gym_env
# With MUJOCO_GL set, MuJoCo itself loads OpenGL at once.
early = {"av"} if "MUJOCO_GL" in os.environ else {"av", "OpenGL"}
assert not early & {name.split(".")[0] for name in sys.modules}, "loaded too early"
from embodied.sim.render import Renderer
print(Renderer(task, width=32, height=32).render(task.home_state()).std() > 2)
"""


@pytest.mark.parametrize("backend", [None, "egl", "osmesa"])
def test_each_backend_draws_and_nothing_of_opengl_is_loaded_before(backend, tmp_path):
    if backend == "osmesa" and ctypes.util.find_library("OSMesa") is None:
        pytest.skip("this machine has no libOSMesa, and may not install it: make gl")
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY")}
    if backend:
        environment["MUJOCO_GL"] = backend
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")  # also no noise from destructors at the exit


def test_the_gymnasium_environment_draws_and_restarts_by_seed(reach):
    env = TaskEnv(reach, render_mode="rgb_array", width=40, height=30)
    with pytest.raises(ConfigError, match="reset"):
        env.step(np.zeros(6, np.float32))
    first, _ = env.reset(seed=3)
    picture = env.render()
    assert picture.shape == (30, 40, 3)
    second, _ = env.reset()
    assert not np.array_equal(first, second)
    again, info = env.reset(seed=3)
    np.testing.assert_array_equal(first, again)
    assert info == {"success": False}
    np.testing.assert_array_equal(picture, env.render())
    for _ in range(reach.episode_steps):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert isinstance(reward, float)
        assert reward == pytest.approx(sum(info["reward_terms"].values()))
    assert (terminated, truncated) == (False, True)
    with pytest.raises(ConfigError, match="ended"):
        env.step(env.action_space.sample())
    env.close()
    with pytest.raises(ConfigError, match="render_mode"):
        TaskEnv(reach, render_mode="human")
