"""`embodied talk`: sentences in, motion out, at once."""

from __future__ import annotations

import json
from pathlib import Path

HELP = """embodied talk [robot=<name>] [ui=web] [llm=<model>] [key=value ...]

A language model turns each sentence into the objective of a planner that is moving the robot meanwhile; corrections
build on what was said before. Programs are followed in locked processes that wait ready, so a sentence acts at once.

  robot=<name>           quadruped, manipulator, so101
  ui=terminal|web        type here, or into a page on this machine alone
  llm=<name>             replay (recorded answers, the default), openai, local, manual
  reward=<writer>        language_to_rewards, or text2reward, library, file ... with task=<one of the robot's>
  script=<file>          one sentence a line instead of a person; with headless=true step by step, with a report
  resume=<run folder>    goes on with an earlier talk, after a crash too

examples:
  embodied talk robot=quadruped
  embodied talk robot=quadruped ui=web
  embodied talk script=my_talk.txt headless=true
"""
RESUMABLE = ("ui", "port", "script", "seconds", "headless", "llm", "camera")


def run(arguments: list[str]) -> int:
    """Runs the command."""
    from embodied.commands.compose import run_composed

    return run_composed("talk", arguments, execute)


def execute(composed, finished=None) -> int:
    """Runs one composed configuration; `finished` is told the result row of a script."""
    from embodied.core.errors import ConfigError, EmbodiedError
    from embodied.core.runs import RunFolder

    config, resumed = dict(composed.config), bool(composed.config["resume"])
    if config["ui"] not in ("terminal", "web"):
        raise ConfigError(f"ui={config['ui']} is not terminal or web")
    if config["headless"] and not config["script"]:
        raise ConfigError("headless=true needs script=<file>: nobody could say anything")
    if resumed:
        from embodied.commands.compose import change_run_config, load_run_config

        folder = RunFolder.open(Path(config["resume"]))
        given = [o for o in composed.overrides if not o.startswith("resume=")]
        config = change_run_config(load_run_config(folder.path), given, RESUMABLE)
    else:
        from embodied.rl.writing import make_task

        make_task(config["task"] or config["robot"]["task"], composed.trusted_packages)
        folder = RunFolder.create(Path(config["runs_dir"]), config["name"] or "talk")
        folder.start(composed.yaml, composed.overrides, {"seed": config["seed"]})
    folder.lock()
    lines = _lines(config)
    try:
        return _talk(config, folder, composed, lines, finished)
    except EmbodiedError:
        if not resumed:
            folder.discard_unbegun()
        raise


def _lines(config: dict) -> list | None:
    from embodied.core.errors import ConfigError
    from embodied.sessions.talk.script import parse_script

    if not config["script"]:
        return None
    try:
        text = Path(config["script"]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"script={config['script']} cannot be read: {error}") from None
    return parse_script(text, float(config["seconds"]))


def _talk(config: dict, folder, composed, lines, finished) -> int:
    from embodied.sessions.talk.opening import open_talk

    opened = open_talk(
        config, folder, print, trusted_packages=composed.trusted_packages, import_paths=composed.searchpath
    )
    try:
        if config["headless"]:
            return _scripted(config, folder, opened, lines, finished)
        return _live(config, folder, opened, lines)
    finally:
        opened.pool.close()
        opened.stage.close()


def _scripted(config: dict, folder, opened, lines, finished) -> int:
    from embodied.sessions.talk import report
    from embodied.sessions.talk.script import LockstepBody, run_script

    body = LockstepBody(opened.stage, opened.pool, replan_every=int(config["robot"]["replan_every"]))
    try:
        opened.session.attach(body)
        rows = run_script(
            opened.session,
            body,
            lines,
            on_line=lambda index, line, outcome: print(f"{index + 1}. {line.text or line.kind}: {outcome}", flush=True),
        )
    finally:
        body.rest()
    said = [row for row in rows if row["kind"] == "say"]
    moved = sum(row["outcome"] == "moving" for row in said)
    result = {
        "sentences": len(said),
        "moved": moved,
        "simulated_s": opened.stage.t_s,
        "planner": config["robot"]["planner"],
    }
    path = report.write(opened.session, rows)
    folder.finish(result)
    if finished is not None:
        finished(result)
    print(json.dumps(result))
    print(f"report:  {path}")
    return 0 if moved == len(said) else 1


def _live(config: dict, folder, opened, lines) -> int:
    from embodied.sessions.talk.live import LiveBody
    from embodied.sessions.talk.live_talk import LiveTalk

    session = opened.session
    body = LiveBody(
        opened.stage,
        opened.pool,
        budget_s=float(config["robot"]["budget_s"]),
        note=session.note,
        failed=session.failed,
    ).start()
    talk = LiveTalk(session, body, opened.pool)
    face = _web(config, talk) if config["ui"] == "web" else _terminal(config, talk, lines)
    try:
        session.attach(body)
        if config["task"] and not session.state.turns:
            talk.post("say", opened.stage.task.instruction)
        talk.run()
    except KeyboardInterrupt:
        session.checkpoint()
    finally:
        face.close()
        talk.close()
    print(f"talk:    {folder.path} (go on with: embodied talk resume={folder.path})")
    return 0


def _terminal(config: dict, talk, lines):
    import sys
    import time

    from embodied.terminal.talk import TerminalTalk

    def typed():
        for line in lines:
            yield line.text or f"/{line.kind}"
            time.sleep(line.seconds)

    return TerminalTalk(talk, sys.stdin if lines is None else typed()).start()


def _web(config: dict, talk):
    from embodied.web.talk import serve_talk

    face = serve_talk(talk, port=int(config["port"]), camera=dict(config["camera"]))
    print(f"page:    {face.url}", flush=True)
    return face
