"""The console script: `embodied <command> [arguments]`.

Nothing heavy is imported here: a command's module is imported when it runs, and its help is read from its
source without importing it. A new command is one module in this folder with `HELP` and `run(arguments) ->
exit code`, and one row in `COMMANDS`.

Exit codes: 0 done, 1 a bug (with its traceback) or a check that failed, 2 an error that the user can remedy
(one line on stderr), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import os
import signal
import sys

COMMANDS: dict[str, tuple[str, str]] = {
    "train": (
        "embodied.commands.train",
        "from a sentence to a trained policy: write a reward, check it, learn, report",
    ),
    "reward": ("embodied.commands.reward", "write, check and screen a reward without training"),
    "plan": ("embodied.commands.plan", "let a reward program drive the robot by sampling MPC, without training"),
    "talk": ("embodied.commands.talk", "sentences in, motion out, at once: a planner follows what a model writes"),
    "record": ("embodied.commands.record", "an expert's demonstrations become a dataset (LeRobot v3 layout)"),
    "data": ("embodied.commands.data", "check, summarise and show a dataset"),
    "fit": ("embodied.commands.fit", "a vision-language-action policy from a dataset"),
    "serve": ("embodied.commands.serve", "a fitted policy over a websocket, for robots elsewhere"),
    "deploy": ("embodied.commands.deploy", "a trained policy drives a robot, or its digital twin, through the gate"),
    "twin": ("embodied.commands.twin", "a digital twin on a serial line that any driver of the robot accepts"),
    "robot": ("embodied.commands.robot", "check, calibrate, home or park a robot"),
    "evaluate": (
        "embodied.commands.evaluate",
        "measure a trained policy's success, with a confidence interval",
    ),
    "watch": ("embodied.commands.watch", "film a policy or a task's expert"),
    "list": (
        "embodied.commands.listing",
        "what there is: tasks, rewards, language models, trainers, records",
    ),
    "runs": ("embodied.commands.runs", "list, compare and clean run folders"),
    "new": ("embodied.commands.new", "write the working skeleton of a new task or robot"),
    "doctor": ("embodied.commands.doctor", "what this machine can do, and the remedy for what it cannot"),
    "completion": ("embodied.commands.completion", "print a tab-completion script for bash, zsh or fish"),
}

_USAGE = """embodied: from a sentence to motion.

usage: embodied <command> [key=value ...]
       embodied <command> --help

commands:
{commands}

first steps:
  embodied doctor                      is this machine ready?
  embodied list tasks                  what can be trained
  embodied train task=open_drawer      a language model writes the reward, a policy learns from it
"""


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code (see the module's text)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        return _dispatch(arguments)
    except Terminated:
        print("embodied: terminated", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("embodied: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader left, as in `embodied list tasks | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _report(error)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: everything winds up as after Ctrl-C, so a training writes a snapshot first."""


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"embodied {version('embodied-control')}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        from embodied.core.errors import UnknownNameError

        raise UnknownNameError("command", command, COMMANDS)
    if any(word in ("-h", "--help") for word in rest):
        print(command_help(command), end="")
        return 0
    import importlib

    return importlib.import_module(COMMANDS[command][0]).run(rest)


def usage() -> str:
    """What `embodied --help` prints."""
    rows = "\n".join(f"  {name:<11} {line}" for name, (_, line) in COMMANDS.items())
    return _USAGE.format(commands=rows)


def command_help(command: str) -> str:
    """The `HELP` text of a command's module, else its docstring, read without importing the module."""
    import ast
    from pathlib import Path

    name, line = COMMANDS[command]
    source = Path(__file__).with_name(name.rpartition(".")[2] + ".py")
    if not source.is_file():
        return f"embodied {command}: {line}\n"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "HELP" for t in node.targets):
            return str(ast.literal_eval(node.value)).strip() + "\n"
    return (ast.get_docstring(tree) or f"embodied {command}: {line}") + "\n"


def _report(error: Exception) -> int:
    """Prints an error as it deserves; returns the exit code."""
    from embodied.core.errors import EmbodiedError

    if isinstance(error, EmbodiedError):
        return _fail(str(error))
    full = _disk_full(error)
    if full:
        return _fail(full)
    import traceback

    text = "".join(traceback.format_exception(error))
    print(_without_secrets(text), file=sys.stderr, end="")
    print(
        "embodied: this is a bug in embodied, not in what you typed; please report it with the text above.",
        file=sys.stderr,
    )
    return 1


def _disk_full(error: Exception) -> str | None:
    """One line for a full or read-only disk; some writers raise types of their own, so the text is looked at too."""
    import errno

    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    if number in (errno.EFBIG, errno.EROFS, errno.EIO):
        what = f"cannot write {getattr(error, 'filename', None) or 'a file of the run'}: {os.strerror(number)}"
        return f"{what}. Complete files are kept; mend it, then go on with resume=<run folder>"
    if number not in (errno.ENOSPC, errno.EDQUOT) and "No space left on device" not in str(error):
        return None
    where = getattr(error, "filename", None)
    return (
        f"disk full: no space left to write {where or 'a file of the run'}. Complete files are kept."
        " Free some space (embodied runs clean --keep 5), or write elsewhere with runs_dir=<folder>, then"
        " go on with resume=<run folder>"
    )


def _fail(message: str) -> int:
    line = " ".join(_without_secrets(message).split())
    clean = "".join(c if c.isprintable() else " " for c in line)
    print(f"embodied: error: {clean}", file=sys.stderr)
    return 2


def _without_secrets(text: str) -> str:
    from embodied.llm import redact

    return redact.everything(text)


if __name__ == "__main__":
    sys.exit(main())
