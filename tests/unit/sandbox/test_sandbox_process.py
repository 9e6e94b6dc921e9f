"""The lock and the process around it, each layer tried from inside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("the lock needs Linux", allow_module_level=True)

from embodied.core.errors import SandboxError, UnknownNameError
from embodied.sandbox.channel import ChannelClosed
from embodied.sandbox.lock import ENVIRONMENT, MANDATORY, Limits
from embodied.sandbox.process import End, LockedProcess

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def locked(name: str, request: dict | None = None, **options) -> LockedProcess:
    options = {"packages": ["sandbox_entries"], "import_paths": [HERE], "deadline_s": 30.0, **options}
    return LockedProcess(f"sandbox_entries:{name}", request or {}, **options)


def run(name: str, request: dict | None = None, **options) -> End:
    with locked(name, request, **options) as process:
        list(process.messages())
        assert process.end is not None
        return process.end


def test_report_names_every_layer_and_is_verified():
    with locked("Plain", {"a": 1}) as process:
        report = process.report
        assert report is not None
        assert set(report["layers"]) == set(MANDATORY)
        assert report["missing"] == {}
        assert {"list /", "socket", "fork", "executable memory"} <= set(report["verified"])
        message = process.receive(10)
        assert message is not None
        assert message["request"] == {"a": 1}
        assert message["threads"] == 1
        assert process.wait(10).result == {"done": True}


# What Landlock answers for; everything else that is forbidden does not even become a system call.
FILES = {
    "read", "read_environ", "read_mem", "list", "write", "append", "rename", "unlink", "write_library",
    "write_package",
}  # fmt: skip


def test_everything_forbidden_fails(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "victim").write_text("untouched")
    before = (outside / "victim").stat()
    for lock, folder in (("light", None), ("trainer", inside)):
        end = run("Attempts", {"outside": str(outside), "fds": []}, lock=lock, run_folder=folder)
        assert end.ok, end
        assert [name for name, outcome in end.result.items() if outcome == "done" and name != "dir_fds"] == []
        odd = {n: o for n, o in end.result.items() if o not in ("Operation not permitted", "Permission denied")}
        assert set(odd) <= {"clone3", "dir_fds", "rename"}, odd
        assert {name for name, outcome in end.result.items() if outcome == "Permission denied"} <= FILES
    assert (outside / "victim").read_text() == "untouched"
    after = (outside / "victim").stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert sorted(p.name for p in outside.iterdir()) == ["victim"]
    assert list(inside.iterdir()) == []


def test_threads_are_allowed_and_bounded_environment_is_empty_descriptors_are_closed(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    result = run("Facts").result
    assert result["threads"] == 4
    assert "hunter2" not in str(result["environment"])
    assert set(result["environment"]) <= {
        "PATH", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MUJOCO_GL", "LC_CTYPE",
    }  # fmt: skip
    assert result["leaked"] is False
    assert result["stdin"] == ""
    assert result["memory"] == "refused"
    assert result["bomb"] < 4999
    assert list(result["core"]) == [0, 0]


def test_only_the_run_folder_can_be_written(tmp_path):
    limits = Limits(file_bytes=1 << 20)
    end = run("Writer", {"large": 2 << 20}, lock="trainer", run_folder=tmp_path, limits=limits)
    assert end.ok, end
    assert end.result["files"] == ["b.npy", "large", "sub"]
    assert end.result["large"] == "File too large"
    assert end.result["up"] == "Permission denied"
    assert np.load(tmp_path / "b.npy", allow_pickle=False).tolist() == [0.0, 1.0, 2.0]


def test_a_waiting_process_serves_jobs_with_arrays_and_stops():
    with locked("Echo") as process:
        assert process.request({"n": 1}, deadline_s=10) == {"echo": {"n": 1}}
        big = np.arange(300_000, dtype=np.float64).reshape(-1, 3)
        answer = process.request({"n": 2}, {"x": big, "flag": np.array(3, np.int32)}, deadline_s=10)
        assert isinstance(answer, dict)
        np.testing.assert_array_equal(answer["arrays"]["x"], big * 2)
        assert answer["arrays"]["flag"].shape == ()
        assert process.stop(5).result == {"stopped": True}
    with pytest.raises(ChannelClosed):
        process.send({})


def test_a_waiting_process_is_alive_to_the_watch():
    with locked("Echo", heartbeat_s=1.0) as process:
        time.sleep(1.6)
        assert process.end is None
        assert process.request({}, deadline_s=5) == {"echo": {}}


def test_a_job_without_answer_ends_the_process():
    with locked("Echo", heartbeat_s=None) as process:
        end = process.request({"sleep": 60}, deadline_s=0.5)
        assert isinstance(end, End)
        assert end.kind == "killed"
        assert "deadline of its job" in end.detail


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([object()]), np.array([1j])])
def test_only_plain_numbers_are_sent(value):
    with locked("Echo") as process, pytest.raises(ValueError, match="plain numbers"):
        process.send_arrays({}, {"x": value})


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ("raises", "error", "ValueError: in run  [2J"),
        ("exits", "exit", "code 7"),
        ("dies_after_its_last_word", "exit", "code 7"),
        ("execve", "signal", "SIGSYS"),
        ("segfault", "signal", "SIGSEGV"),
        ("silent", "killed", "silent for 1 s"),
        ("beats", "killed", "deadline of 2 s"),
        ("floods", "killed", "bytes of output"),
        ("garbles", "killed", "garbled"),
        ("long_line", "killed", "garbled"),
        ("closes_pipes", "killed", "silent"),
        ("result", "error", "cannot be sent"),
    ],
)
def test_every_end_has_its_name(fault, kind, text):
    began = time.monotonic()
    end = run("Misbehaving", {"fault": fault}, heartbeat_s=1.0, deadline_s=2.0, max_output_bytes=1 << 20)
    assert end.kind == kind, end
    assert text in end.detail
    assert time.monotonic() - began < 15
    assert len(end.stdout) <= 16 * 1024


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("prepare_raises", "no such model"),
        ("prepare_exits", "before it was ready"),
        ("prepare_hangs", "not ready after"),
        ("prepare_threads", "2 threads"),
    ],
)
def test_what_fails_before_the_lock_is_an_infrastructure_error(fault, text):
    process = locked("Misbehaving", {"fault": fault}, startup_s=3.0 if fault == "prepare_hangs" else 60.0)
    with pytest.raises(SandboxError, match=text), process:
        pass
    assert process.end is not None
    assert process.end.kind == "infrastructure"


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("os:path", "outside the trusted packages"),
        ("embodied.sandbox.nothing", "cannot be loaded"),
        ("embodied.core.errors:Nothing", "cannot be loaded"),
        ("embodied.sandbox.lock:os", "no function 'prepare'"),
        ("sandbox_entries:NOTHING", "not a trusted package|no function 'prepare'"),
    ],
)
def test_entries_outside_the_trusted_packages_are_refused(entry, text):
    process = LockedProcess(entry, {}, packages=["sandbox_entries"], import_paths=[HERE])
    with pytest.raises(SandboxError, match=text), process:
        pass


def test_only_the_main_thread_starts_processes():
    caught = []

    def work():
        try:
            locked("Plain").start()
        except SandboxError as error:
            caught.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "main thread" in caught[0]


def test_the_child_dies_with_its_parent():
    """Even one that never looks at its pipe again."""
    code = textwrap.dedent(
        f"""
        import os, sys
        sys.path.insert(0, {str(ROOT)!r})
        from embodied.sandbox.process import LockedProcess
        where = {{"packages": ["sandbox_entries"], "import_paths": [{str(HERE)!r}]}}
        p = LockedProcess("sandbox_entries:Misbehaving", {{"fault": "silent"}}, heartbeat_s=None, **where)
        p.wait_ready()
        print(p.pid, flush=True)
        sys.stdin.read()
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.02)
    survived = _alive(child)
    if survived:
        os.kill(child, signal.SIGKILL)
    assert not survived


def _alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


_WITHOUT = """
import os, sys
sys.path.insert(0, {root!r})
import embodied.sandbox.{module} as module
from embodied.core import trust
from embodied.core.errors import SandboxError
from embodied.sandbox.lock import apply_lock
{patch}
try:
    report = apply_lock("light", parent_pid=os.getppid(), allow_missing={allow!r})
    print("locked", sorted(report["missing"]), trust.lock_report() == report, flush=True)
except SandboxError as error:
    print("refused", trust.lock_report(), error, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("layer", "module", "patch"),
    [
        ("landlock", "landlock", "module.abi_version = lambda: 0"),
        ("seccomp", "seccomp", "module.available = lambda: False"),
        ("seccomp", "seccomp", "def fail(_): raise OSError(22, 'invalid')\nmodule.install = fail"),
        ("environment", "lock", ""),
    ],
)
def test_a_missing_layer_is_refused_by_name_or_recorded(layer, module, patch):
    env = {**ENVIRONMENT, **({"API_KEY": "x"} if layer == "environment" else {})}
    for allow in ([], [layer]):
        code = _WITHOUT.format(root=str(ROOT), module=module, patch=patch, allow=allow)
        done = subprocess.run(
            [sys.executable, "-I", "-c", code],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        if allow:
            assert done.stdout == f"locked ['{layer}'] True\n", done
        else:
            assert done.stdout.startswith("refused None"), done
            assert f"'{layer}'" in done.stdout
            assert f"allow_missing=['{layer}']" in done.stdout


def test_a_lock_that_does_not_hold_is_not_believed():
    patch = "module.install = lambda program: 'nothing'"
    code = _WITHOUT.format(root=str(ROOT), module="seccomp", patch=patch, allow=[])
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "refused None the lock does not hold" in done.stdout, done


def test_wrong_orders_are_refused_at_once():
    with pytest.raises(SandboxError, match="run_folder"):
        locked("Plain", lock="trainer")
    with pytest.raises(SandboxError, match="positive"):
        Limits(open_files=0)
    with pytest.raises(UnknownNameError, match="Did you mean 'trainer'"):
        locked("Plain", lock="trainr")
    with pytest.raises(UnknownNameError, match="Did you mean 'seccomp'"):
        locked("Plain", allow_missing=["seccmp"])


def test_this_process_stays_open():
    from embodied.core.trust import lock_report

    assert lock_report() is None
    assert os.access("/", os.R_OK)
