"""Writes working skeletons: a task from a MuJoCo model or a Gymnasium environment, or a robot's driver."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embodied.core.assets import conf_dir, data_file
from embodied.core.errors import ConfigError, UnknownNameError
from embodied.core.files import write_text

if TYPE_CHECKING:
    import mujoco

HELP = """usage: embodied new task <name> [--from mjcf <file> | --from gymnasium <EnvId>] [--folder <folder>]
       embodied new robot <name> [--folder <folder>]

Writes one module and one yaml that work as they are: <folder>/<name>.py and <folder>/task/<name>.yaml (or
robot/). Nothing is overwritten.

examples:
  embodied new task push_mug
  embodied new task lift --from mjcf scenes/lift.xml --folder my_tasks
  embodied new task arm --from gymnasium Reacher-v5
  embodied new robot my_arm
"""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Origin:
    """The model that a new task is made from, and the Python expressions with which its module finds it."""

    model: mujoco.MjModel
    spec: str
    constant: str
    imports: str
    n_substeps: int
    episode_steps: int
    extra_files: Mapping[str, str]


def run(arguments: list[str]) -> int:
    """Writes the files and says how to use them."""
    kind, name, source, folder = _parse(arguments)
    if kind == "robot":
        values = {"name": name, "class": _class_name(name)}
        files = {f"{name}.py": _fill("robot.py", values), f"robot/{name}.yaml": _fill("robot.yaml", values)}
    else:
        files = task_files(name, source, folder)
    _write(folder, files)
    print("\n".join(f"wrote {folder / path}" for path in files))
    print(_usage(kind, name, folder))
    return 0


def task_files(name: str, source: Sequence[str], folder: Path) -> dict[str, str]:
    """Texts of a new task's files by path.

    Args:
        name: the task's and its module's name.
        source: `()`, `("mjcf", file)` or `("gymnasium", id)`.
        folder: where the files will be; paths of models are written relative to it.
    """
    import mujoco

    mujoco.set_mju_user_warning(lambda message: None)  # else it writes MUJOCO_LOG.TXT into the user's folder
    try:
        origin = _origin(name, source, folder)
        _refuse_unusable(origin.model)
    finally:
        mujoco.set_mju_user_warning(None)
    values = _values(name, origin, folder)
    files = {f"{name}.py": _fill("task.py", values), f"task/{name}.yaml": _fill("task.yaml", values)}
    return {**files, **origin.extra_files}


def _origin(name: str, source: Sequence[str], folder: Path) -> Origin:
    if not source:
        return _own_model(name)
    return _from_mjcf(Path(source[1]), folder) if source[0] == "mjcf" else _from_gymnasium(source[1], folder)


def _parse(arguments: Sequence[str]) -> tuple[str, str, tuple[str, ...], Path]:
    words, source, folder = list(arguments), (), Path()
    names: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--from" and len(words) >= 2:
            source = (words.pop(0), words.pop(0))
        elif word == "--folder" and words:
            folder = Path(words.pop(0))
        elif word.startswith("-"):
            raise ConfigError(f"cannot read '{word}'. See: embodied new --help")
        else:
            names.append(word)
    if len(names) != 2:
        raise ConfigError("say what and its name: embodied new task push_mug, or embodied new robot my_arm")
    kind, name = names
    if kind not in ("task", "robot"):
        raise UnknownNameError("kind", kind, ("task", "robot"), "'embodied new'")
    if source and (kind != "task" or source[0] not in ("mjcf", "gymnasium")):
        raise ConfigError(f"--from {source[0]}: a task is made --from mjcf <file> or --from gymnasium <EnvId>")
    _check_name(kind, name, folder)
    return kind, name, source, folder


def _check_name(kind: str, name: str, folder: Path) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name '{name}': use small letters, digits and _, such as 'push_mug'")
    if (conf_dir() / kind / f"{name}.yaml").is_file():
        raise ConfigError(f"there is a shipped {kind} '{name}' already: choose another name")
    found = importlib.util.find_spec(name)
    if found is not None and Path(found.origin or "/").resolve() != (folder / f"{name}.py").resolve():
        raise ConfigError(f"there is a Python module '{name}' already ({found.origin}): choose another name")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for path in files:
        if (folder / path).exists():
            raise ConfigError(f"{folder / path} exists and is not overwritten: choose another name or --folder")
    for path, text in files.items():
        write_text(folder / path, text)


def _usage(kind: str, name: str, folder: Path) -> str:
    where = f"searchpath=[{folder}] trusted_packages=[{name}]"
    if kind == "task":
        return (
            f"try it:\n  embodied train task={name} reward=expert {where}\n"
            f"with a reward that a language model writes:\n  embodied train task={name} llm=openai"
            f" llm.model=<model> {where}"
        )
    return (
        f"try it (with {folder} on PYTHONPATH):\n"
        f"  python -c \"from {name} import {_class_name(name)}; robot = {_class_name(name)}(joints=['a',"
        " 'b']);"
        ' robot.connect(); print(robot.observe(), robot.send([0.1, -0.1]))"'
    )


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _fill(template: str, values: Mapping[str, Any]) -> str:
    text = data_file("commands", "templates", f"{template}.txt").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: str(values[match.group(1)]), text)


def _own_model(name: str) -> Origin:
    import mujoco

    xml = _fill("model.xml", {"name": name})
    return Origin(
        mujoco.MjModel.from_xml_string(xml),
        "mujoco.MjSpec.from_file(str(MODEL))",
        f'\nMODEL = Path(__file__).with_name("{name}.xml")\n',
        "from pathlib import Path\n",
        4,
        100,
        {f"{name}.xml": xml},
    )


def _from_mjcf(file: Path, folder: Path) -> Origin:
    import mujoco

    if not file.is_file():
        raise ConfigError(f"--from mjcf: there is no file '{file}'")
    try:
        model = mujoco.MjModel.from_xml_path(str(file))
    except ValueError as error:
        raise ConfigError(f"--from mjcf: MuJoCo does not read {file}: {error}") from None
    n_substeps = max(1, round(0.02 / model.opt.timestep))
    return Origin(model, *_located(file, folder), n_substeps, 100, {})


def _located(file: Path, folder: Path) -> tuple[str, str, str]:
    """Expressions that find a model file from the module: relative to it, so that the folder can be moved."""
    relative = os.path.relpath(file.resolve(), folder.resolve())
    constant = f'\nMODEL = Path(__file__).resolve().parent / "{relative}"\n'
    return "mujoco.MjSpec.from_file(str(MODEL))", constant, "from pathlib import Path\n"


def _from_gymnasium(env_id: str, folder: Path) -> Origin:
    import gymnasium

    try:
        env = gymnasium.make(env_id).unwrapped
    except (gymnasium.error.Error, ImportError) as error:
        raise ConfigError(f"--from gymnasium: cannot make '{env_id}': {' '.join(str(error).split())}") from None
    model, file = getattr(env, "model", None), getattr(env, "fullpath", None)
    if model is None or file is None:
        raise ConfigError(f"--from gymnasium: '{env_id}' is not a MuJoCo environment (it has no model and fullpath)")
    steps = (gymnasium.spec(env_id).max_episode_steps if env.spec is None else env.spec.max_episode_steps) or 1000
    package = Path(gymnasium.__file__).resolve().parent
    located = _located(Path(file), folder)
    if Path(file).resolve().is_relative_to(package):
        inside = Path(file).resolve().relative_to(package)
        constant = f'\nMODEL = Path(gymnasium.__file__).parent / "{inside}"\n'
        located = (located[0], constant, "from pathlib import Path\n\nimport gymnasium")
    env.close()
    return Origin(model, *located, int(env.frame_skip), int(steps), {})


def _refuse_unusable(model: mujoco.MjModel) -> None:
    if model.nu == 0:
        raise ConfigError("the model has no actuator: a task needs something to act with (<actuator> in the MJCF)")
    open_ended = [model.actuator(i).name or str(i) for i in range(model.nu) if not model.actuator_ctrllimited[i]]
    if open_ended:
        raise ConfigError(
            f"actuators without ctrlrange: {', '.join(open_ended)}. Actions in [-1, 1] are mapped onto the"
            " control"
            " range: give each one in the MJCF"
        )
    _refuse_unstable(model)


def _refuse_unstable(model: mujoco.MjModel) -> None:
    import mujoco

    data = mujoco.MjData(model)
    if model.nkey:
        mujoco.mj_resetDataKeyframe(model, data, max(0, mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_KEY, "home")))
    for _ in range(5):
        mujoco.mj_step(model, data)
    kinds = ("BADQPOS", "BADQVEL", "BADQACC")
    bad = [kind for kind in kinds if data.warning[int(getattr(mujoco.mjtWarning, f"mjWARN_{kind}"))].number]
    if bad:
        raise ConfigError(
            f"the model is unstable at its start (MuJoCo warns {', '.join(bad)}): look for joints of one body that"
            " work against each other, overlapping parts, or a timestep that is too long"
        )


def _values(name: str, origin: Origin, folder: Path) -> dict[str, Any]:
    """What the templates are filled with: quantities and names that this model really has."""
    model = origin.model
    kind, object_name = _hand(model)
    hand = _identifier(object_name)
    if hand in ("goal", "joints", "time", "previous", "world"):
        hand = f"{hand}_frame"
    rows, observation = _joint_quantities(model)
    rows.append(
        f'        Quantity("{hand}.position", (3,), "m", "world", "position of {kind} {object_name}"):'
        f'\n            Frame("{kind}", "{object_name}"),'
    )
    reads = ["Computed", "Frame", "Parameter", "StateSlice"]
    if any("JointPosition" in row for row in rows):
        reads += ["JointPosition", "JointVelocity"]
    return {
        "name": name,
        "class": _class_name(name),
        "hand": hand,
        "hand_words": f"the {kind} '{object_name}'",
        "hand_kind": kind,
        "hand_object": object_name,
        "instruction": f"Move the {object_name.replace('_', ' ')} to the goal position and hold it there.",
        "quantities": "\n".join(rows),
        "observation": ", ".join(f'"{path}"' for path in observation),
        "reads": ", ".join(sorted(reads)),
        "control_dt_s": round(origin.n_substeps * model.opt.timestep, 9),
        "episode_steps": origin.episode_steps,
        "spec": origin.spec,
        "model_constant": origin.constant,
        "imports": origin.imports,
        "train": f"embodied train task={name} reward=expert searchpath=[{folder}] trusted_packages=[{name}]",
    }


def _joint_quantities(model: mujoco.MjModel) -> tuple[list[str], list[str]]:
    """Source lines of the quantities of all joints, and the paths to observe."""
    import mujoco

    simple = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
    names = [model.joint(i).name for i in range(model.njnt) if model.jnt_type[i] in simple]
    rows = []
    for joint in (n for n in names if n and len(names) <= 12):
        path = f"joint_{_identifier(joint)}"
        rows += [
            f'        Quantity("{path}.position", (), "rad or m", "joint", "position of joint {joint}"):'
            f'\n            JointPosition("{joint}"),',
            f'        Quantity("{path}.velocity", (), "rad/s or m/s", "joint", "velocity of joint {joint}"):'
            f'\n            JointVelocity("{joint}"),',
        ]
    rows += [
        f'        Quantity("joints.coordinates", ({model.nq},), "rad or m", "joint", "all coordinates"):'
        ' StateSlice("qpos"),',
        f'        Quantity("joints.velocities", ({model.nv},), "rad/s or m/s", "joint", "all velocities"):'
        ' StateSlice("qvel"),',
    ]
    return rows, ["joints.coordinates", "joints.velocities"]


def _hand(model: mujoco.MjModel) -> tuple[str, str]:
    """The first named site on a moving body, else the last named body that actuators move."""
    moving = [b for b in range(1, model.nbody) if model.body_weldid[b] != 0]
    for site in range(model.nsite):
        if model.site_bodyid[site] in moving and model.site(site).name:
            return "site", model.site(site).name
    driven = {
        int(model.jnt_bodyid[model.actuator_trnid[a, 0]]) for a in range(model.nu) if model.actuator_trntype[a] == 0
    }
    below = [b for b in moving if model.body(b).name and driven & set(_ancestors(model, b))]
    if not below:
        raise ConfigError("no named site or body is moved by an actuator: name one in the MJCF (<site name=...>)")
    return "body", model.body(below[-1]).name


def _ancestors(model: mujoco.MjModel, body: int) -> list[int]:
    found = [body]
    while found[-1]:
        found.append(int(model.body_parentid[found[-1]]))
    return found


def _identifier(name: str) -> str:
    import keyword

    clean = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "part"
    return f"p_{clean}" if clean[0].isdigit() or keyword.iskeyword(clean) else clean
