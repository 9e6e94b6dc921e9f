"""Headless pictures of recorded states: EGL where it works, else OSMesa; no display is needed.

Nothing of OpenGL is loaded before the first `Renderer` is made. Shadows, reflections and multisampling are
off by
default: on a software renderer they cost eight to eleven times the rest. `MUJOCO_GL=egl|osmesa|glfw`
overrides the choice. A `Renderer` belongs to the thread that made it.
"""

from __future__ import annotations

import atexit
import copy
import functools
import importlib
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mujoco
import numpy as np

from embodied.core.errors import ConfigError, RenderingError, UnknownNameError
from embodied.sim.engine import initial_state
from embodied.sim.task import Task

GOAL_BODY, GOAL_PARAMETER = "goal", "goal.position"
_GOAL_RADIUS_M, _GOAL_RGBA = 0.02, (0.1, 0.8, 0.2, 0.35)
_PREFERRED_CAMERAS = ("watch", "overview", "track", "front", "side")
_BACKENDS = ("egl", "osmesa")
_REMEDY = (
    "On Debian or Ubuntu: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6; then unset"
    " MUJOCO_GL, or set it to 'egl' or 'osmesa'"
)
_PROBE = "import mujoco; c = mujoco.GLContext(8, 8); c.make_current(); c.free()"


@functools.cache
def choose_backend(asked: str) -> str:
    """The OpenGL backend for a wish as in `MUJOCO_GL`; an empty wish tries EGL, then OSMesa.

    Each try is a short process of its own: an OpenGL library that was once loaded cannot be exchanged, and a
    broken driver may end the process.

    Raises:
        RenderingError: unknown wish, or none works.
    """
    asked = asked.lower().strip()
    if sys.platform != "linux":
        return "native"
    if asked in (*_BACKENDS, "glfw"):
        return asked
    if asked not in ("", "enable", "enabled", "on", "true", "1", "glx"):
        raise RenderingError(f"MUJOCO_GL={asked!r} allows no rendering. {_REMEDY}")
    found = []
    for name in _BACKENDS:
        environment = {**os.environ, "MUJOCO_GL": name}
        try:
            probe = subprocess.run(
                [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            found.append(f"{name}: {error}")
            continue
        if probe.returncode == 0:
            return name
        found.append(f"{name}: {(probe.stderr.strip().splitlines() or ['ended by a signal'])[-1]}")
    raise RenderingError(f"no OpenGL context can be made without a display ({'; '.join(found)}). {_REMEDY}")


def _make_context(width: int, height: int) -> Any:
    """A current OpenGL context of the chosen backend."""
    backend = choose_backend(os.environ.get("MUJOCO_GL", ""))
    try:
        module = "mujoco.gl_context" if backend == "native" else f"mujoco.{backend}"
        context = importlib.import_module(module).GLContext(width, height)
        context.make_current()
        atexit.unregister(_close_all)
        atexit.register(_close_all)  # registered after OpenGL's own exit handler, hence run before it
    except Exception as error:  # PyOpenGL raises what it likes: ImportError, AttributeError, its own kinds
        raise RenderingError(
            f"no OpenGL context with '{backend}': {type(error).__name__}: {error}. {_REMEDY}"
        ) from None
    return context


_open: weakref.WeakSet[ModelRenderer] = weakref.WeakSet()


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()


class ModelRenderer:
    """Draws what a MuJoCo model's data hold. Use it as a context manager, or call `close`.

    Args:
        model: the model; it is copied.
        camera: name of a camera of the model; None takes `watch`, `overview`, `track`, `front`, `side` or the
            first one, and a free view of the whole where the model has none.
        width: picture width [pixels].
        height: picture height [pixels].
        shadows: draw shadows and reflections, with multisampling (slow without a graphics card).
        skybox: draw the background.
        markers: draw sites; a camera of the real scene sees none.
        owner: whose model it is, for errors.

    Raises:
        RenderingError: no OpenGL context can be made here; says what to install.
        UnknownNameError: no such camera.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        camera: str | None = None,
        width: int = 320,
        height: int = 240,
        *,
        shadows: bool = False,
        skybox: bool = True,
        markers: bool = True,
        owner: str = "the model",
    ) -> None:
        if width < 1 or height < 1:
            raise ConfigError(f"a picture of {width} x {height} pixels cannot be drawn")
        self.width, self.height, self._owner = width, height, owner
        model = copy.copy(model)
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        if not shadows:
            model.vis.quality.offsamples = 0
        self._model = model
        self._camera = self._find(self.camera_names[0] if camera is None and self.camera_names else camera)
        self._gl: Any = _make_context(width, height)
        self._context: Any = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 1000)
        self._option, self._markers = mujoco.MjvOption(), markers
        if not markers:
            self._option.sitegroup[:] = 0
        for flag, on in (
            (mujoco.mjtRndFlag.mjRND_SHADOW, shadows),
            (mujoco.mjtRndFlag.mjRND_REFLECTION, shadows),
            (mujoco.mjtRndFlag.mjRND_SKYBOX, skybox),
        ):
            self._scene.flags[flag] = on
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        _open.add(self)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the model's cameras, the best for watching first."""
        names = [name for i in range(self._model.ncam) if (name := self._model.camera(i).name)]
        return tuple(sorted(names, key=lambda n: _PREFERRED_CAMERAS.index(n) if n in _PREFERRED_CAMERAS else 99))

    def look(self, data: mujoco.MjData, camera: str | None = None, model: mujoco.MjModel | None = None) -> np.ndarray:
        """A picture `(H, W, 3)` uint8 of what stands in `data` (forward kinematics done).

        Args:
            data: of the model.
            camera: another camera than the constructor's, for this picture.
            model: another of the same build, where things were moved.
        """
        self._see(data, camera, model)
        return self._draw()

    def close(self) -> None:
        """Frees the OpenGL context."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _see(self, data: mujoco.MjData, camera: str | None, model: mujoco.MjModel | None) -> None:
        if self._context is None:
            raise RenderingError("this renderer was closed")
        view = self._camera if camera is None else self._find(camera)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model or self._model, data, self._option, None, view, everything, self._scene)

    def _draw(self) -> np.ndarray:
        picture = np.empty((self.height, self.width, 3), dtype=np.uint8)
        self._gl.make_current()
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(picture, None, self._rectangle, self._context)
        return picture[::-1].copy()  # OpenGL's first row is the lowest

    def _find(self, name: str | None) -> mujoco.MjvCamera:
        camera = mujoco.MjvCamera()
        if name is None and self._model.ncam == 0:
            mujoco.mjv_defaultFreeCamera(self._model, camera)
            return camera
        found = 0 if name is None else mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, name)
        if found < 0:
            raise UnknownNameError("camera", name, self.camera_names, self._owner)
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, found
        return camera


class Renderer(ModelRenderer):
    """Draws states of one task.

    Args:
        task: the task; its model is the picture's, unless `render` is given another of the same build.
        camera: as in `ModelRenderer`.
        width: picture width [pixels].
        height: picture height [pixels].
        look: `shadows`, `skybox` and `markers` of `ModelRenderer`; the goal that is no body of the model is a marker.
    """

    def __init__(
        self, task: Task, camera: str | None = None, width: int = 320, height: int = 240, **look: bool
    ) -> None:
        self.task = task
        super().__init__(task.model, camera, width, height, owner=f"task {task.name}", **look)
        self._data = mujoco.MjData(self._model)
        self._goal_mocap = _mocap_id(self._model, GOAL_BODY)
        self._has_goal_body = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_BODY, GOAL_BODY) >= 0

    def render(
        self,
        state: np.ndarray,
        parameters: Mapping[str, np.ndarray] | None = None,
        model: mujoco.MjModel | None = None,
        camera: str | None = None,
        control: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draws one state.

        Args:
            state: full physics state `(n_state,)`.
            parameters: the episode's parameters by name, each of one environment; `goal.position (3,)` places
                the goal marker [m, world].
            model: the environment's own model (`BatchEngine.model_of`), where props or cameras were moved.
            camera: another camera than the constructor's, for this picture.
            control: the controls that act `(n_control,)`; poses of mocap bodies are among them. None takes the
                model's own.

        Returns:
            `(H, W, 3)` uint8.
        """
        model = self._model if model is None else model
        data = self._data
        mujoco.mj_setState(model, data, np.ravel(state).astype(np.float64), mujoco.mjtState.mjSTATE_FULLPHYSICS)
        spec = self.task.control_spec
        held = initial_state(model, spec) if control is None else np.ravel(control).astype(np.float64)
        mujoco.mj_setState(model, data, held, spec)
        goal = None if parameters is None else parameters.get(GOAL_PARAMETER)
        if self._goal_mocap >= 0:
            body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, GOAL_BODY)
            data.mocap_pos[self._goal_mocap] = model.body_pos[body] if goal is None else np.ravel(goal)
        for compute in (
            mujoco.mj_kinematics,
            mujoco.mj_comPos,
            mujoco.mj_camlight,
            mujoco.mj_flex,
            mujoco.mj_tendon,
        ):
            compute(model, data)
        self._see(data, camera, model)
        if goal is not None and self._markers and not self._has_goal_body:
            _add_sphere(self._scene, np.ravel(goal))
        return self._draw()


def _mocap_id(model: mujoco.MjModel, body: str) -> int:
    found = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, body)
    return int(model.body_mocapid[found]) if found >= 0 else -1


def _add_sphere(scene: mujoco.MjvScene, position: np.ndarray) -> None:
    """A translucent marker at `position (3,)` [m, world]."""
    if scene.ngeom >= scene.maxgeom:
        return
    mujoco.mjv_initGeom(
        scene.geoms[scene.ngeom],
        mujoco.mjtGeom.mjGEOM_SPHERE,
        np.full(3, _GOAL_RADIUS_M),
        position.astype(np.float64),
        np.eye(3).ravel(),
        np.array(_GOAL_RGBA, dtype=np.float32),
    )
    scene.ngeom += 1


def render_episode(
    task: Task,
    states: np.ndarray | Sequence[np.ndarray],
    *,
    parameters: Mapping[str, np.ndarray] | None = None,
    model: mujoco.MjModel | None = None,
    controls: np.ndarray | Sequence[np.ndarray] | None = None,
    camera: str | None = None,
    width: int = 320,
    height: int = 240,
    every: int = 1,
) -> list[np.ndarray]:
    """Draws a recorded episode of one environment.

    Args:
        task: the task.
        states: full physics states `(T, n_state)`.
        parameters: the episode's parameters, each of one environment.
        model: the environment's own model where it has one.
        controls: `(T, n_control)`, the controls that acted at these states, where they move mocap bodies.
        camera: as in `Renderer`.
        width: picture width [pixels].
        height: picture height [pixels].
        every: draw every so-many-th state.

    Returns:
        Pictures `(H, W, 3)` uint8.
    """
    with Renderer(task, camera, width, height) as renderer:
        held = [None] * len(states) if controls is None else controls
        return [
            renderer.render(state, parameters, model, control=control)
            for state, control in zip(states[::every], held[::every], strict=True)
        ]


def encode_mp4(frames: Iterable[np.ndarray], fps: float) -> bytes:
    """An H.264 film (yuv420p, index in front) that browsers play.

    Args:
        frames: pictures `(H, W, 3)` uint8, all of one size; an odd size is extended by one line.
        fps: pictures per second.

    Raises:
        ConfigError: no pictures, or not of one size and type.
    """
    import av  # loaded by those who make films alone

    pictures = [np.asarray(frame) for frame in frames]
    if not pictures or pictures[0].ndim != 3 or pictures[0].shape[2] != 3:
        raise ConfigError("a film needs at least one picture of shape (H, W, 3)")
    if any(p.shape != pictures[0].shape or p.dtype != np.uint8 for p in pictures) or not fps > 0:
        raise ConfigError(f"pictures must all be uint8 of shape {pictures[0].shape}, and fps={fps} positive")
    height, width = pictures[0].shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"  # the index can be moved to the front only in a real file
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt, stream.options = "yuv420p", {"crf": "23", "preset": "veryfast"}
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(np.pad(picture, padding, mode="edge"), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()
