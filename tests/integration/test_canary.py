"""A key in the environment leaves the process in one place only: the header of the request to its server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import llm_server as servers
import psutil
from scripted import fenced
from tiny import WORDS, events, only_run, start, until

CANARY = "sk-canary-5f1e0c3a9b7d4e6f8a1b2c3d4e5f6071"
SOURCE = '''def reward(world, action):
    # {note}
    distance = np.linalg.norm(world.goal.position - world.gripper.position, axis=-1)
    return {{"close": 1.0 - np.tanh(4.0 * distance), "effort": -0.01 * np.sum(action**2, axis=-1)}}
'''


def _echo(handler, body):
    """A server that writes the key it was given into its answer."""
    handler._answer(body, content=fenced(SOURCE.format(note=f"you are {handler.headers.get('Authorization')}")))


def proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def test_the_key_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(servers._Handler, "_echo_key_in_code", _echo, raising=False)
    seen: dict[str, bytes] = {}
    with servers.llm_server("401", "echo_key_in_code") as server:
        words = [
            "train", *WORDS, "trainer.total_steps=40000", f"runs_dir={tmp_path / 'runs'}", "reward=text2reward",
            "llm=openai", f"llm.base_url={server.base_url}", "llm.model=m", "llm.api_key_env=A_SECRET_KEY",
        ]  # fmt: skip
        # First the server refuses the key and repeats it in its error; then it answers.
        refused = start(*words, env={"A_SECRET_KEY": CANARY})
        outputs = list(refused.communicate(timeout=60))
        assert refused.returncode == 2
        process = start(*words, env={"A_SECRET_KEY": CANARY})
        try:
            until(lambda: events(tmp_path / "runs", "training_checkpoint"), "the training")
            (worker,) = psutil.Process(process.pid).children(recursive=True)
            seen = {name: proc(worker.pid, name) for name in ("environ", "cmdline")}
            os.killpg(process.pid, signal.SIGINT)
            outputs += process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        assert process.returncode == 130, outputs
        # The key was there and was used: the test would see it.
        assert all(s.headers["Authorization"] == f"Bearer {CANARY}" for s in server.seen)
        assert len(server.seen) == 2
    assert seen["cmdline"]
    assert b"OMP_NUM_THREADS" in seen["environ"]
    found = only_run(tmp_path / "runs")
    files = [p for p in found.path.rglob("*") if p.is_file()]
    assert len(files) > 10
    for needle in (CANARY, CANARY[3:], CANARY[-20:]):
        for name, data in seen.items():
            assert needle.encode() not in data, name
        for text in outputs:
            assert needle not in text
        for path in files:
            assert needle.encode() not in path.read_bytes(), path
    assert "A_SECRET_KEY" not in seen["environ"].decode()
