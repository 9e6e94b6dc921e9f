"""The lock: after `apply_lock` this process can compute, and hardly anything else, until it ends.

Two kinds. The *trainer lock* holds environment, reward and learner in one worker and may write inside one
run folder. The *light lock* holds numpy and MuJoCo, and writes nowhere unless a folder is given. Both need
every layer of `MANDATORY`. Own namespaces are taken where the system allows them.

Order. Everything that maps code or starts programs is imported before; one thread only, because Landlock
and the filter are inherited by threads made later and (below Landlock 8) do not reach those made earlier;
namespaces before Landlock, whose rules would hide `/proc/self/uid_map`; Landlock before seccomp; thread
pools last.

What remains: see the package. In short, code in here can forge what this process reports, never more.
"""

from __future__ import annotations

import errno
import mmap
import os
import platform
import resource
import socket
import sys
import sysconfig
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from embodied.core import trust
from embodied.core.errors import SandboxError, UnknownNameError
from embodied.sandbox import kernel, landlock, seccomp

MANDATORY = ("seccomp", "landlock", "rlimits", "environment", "descriptors", "death_with_parent")
KINDS = ("trainer", "light")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MUJOCO_GL": "disable",
}
GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """What a locked process may use.

    Attributes:
        address_space_bytes: virtual memory, thread stacks included.
        file_bytes: size of any one file that it writes.
        open_files: descriptors.
        threads: threads; enforced where own user namespaces are allowed and the user is not root.
            Elsewhere the address space bounds them.
        cpu_s: processor seconds of all threads together, or None.
    """

    address_space_bytes: int = 4 * GIB
    file_bytes: int = GIB
    open_files: int = 64
    threads: int = 64
    cpu_s: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and (not isinstance(value, int) or value <= 0):
                raise SandboxError(f"limit '{name}' is {value!r}; it must be a positive whole number")

    @staticmethod
    def of(kind: str) -> Limits:
        """The default limits of a kind of lock."""
        _check_kind(kind)
        return Limits(address_space_bytes=16 * GIB, open_files=256) if kind == "trainer" else Limits()


class _Missing(Exception):
    """A layer cannot be set here; the text says why."""


def apply_lock(
    kind: str,
    *,
    parent_pid: int,
    writable: Path | None = None,
    readable: Sequence[Path] = (),
    limits: Limits | None = None,
    keep_fds: Collection[int] = (),
    allow_missing: Collection[str] = (),
    jit: bool = False,
) -> dict:
    """Locks this process for good and records it (`embodied.core.trust`).

    Args:
        kind: `trainer` or `light`.
        parent_pid: the process that made this one; this one dies with the thread that made it.
        writable: the only folder that may be written. The trainer lock needs one.
        readable: files and folders that may be read, besides the libraries of this interpreter.
        limits: resource limits; the kind's own when None.
        keep_fds: descriptors to keep, besides standard input (made empty), output and error.
        allow_missing: mandatory layers that may be absent. Each that is absent is named in the report.
        jit: executable memory may be mapped (compilers, convolutions of oneDNN); weaker, and in the report.

    Returns:
        The report: plain JSON values that name kind, layers, limits and what was verified.

    Raises:
        SandboxError: a mandatory layer is missing, or a probe of the finished lock got through.
    """
    layers = _Layers(allow_missing)
    folder = None if writable is None else Path(writable).resolve()
    _require(kind, folder)
    limits = limits or Limits.of(kind)
    abi = layers.probe("landlock", _landlock_abi)
    layers.probe("seccomp", _seccomp_available)
    refused = kernel.enter_namespaces()
    kernel.drop_capabilities()
    layers.set("death_with_parent", lambda: _death(parent_pid))
    layers.set("environment", _environment)
    layers.set("descriptors", lambda: _descriptors({0, 1, 2, *keep_fds}))
    layers.set("rlimits", lambda: _rlimits(limits, own_user_namespace=refused is None))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    paths = [*library_paths(), *(Path(p).resolve() for p in readable)]
    layers.set("landlock", lambda: _landlock(paths, folder, abi))
    layers.set("seccomp", lambda: _seccomp(folder is not None, jit))
    report = {
        "kind": kind,
        "layers": layers.done,
        "missing": layers.missing,
        "namespaces": "user, net, ipc, uts" if refused is None else f"refused by the system ({refused})",
        "writable": None if folder is None else str(folder),
        "jit": jit,
        "limits": asdict(limits),
        "kernel": platform.release(),
        "verified": _verify(folder, layers.missing, jit=jit),
    }
    trust.mark_locked(report)
    return report


def _require(kind: str, folder: Path | None) -> None:
    """What must hold before anything is changed. Ends with the warm-up and the count of threads."""
    _check_kind(kind)
    if kind == "trainer" and folder is None:
        raise SandboxError("the trainer lock needs the run folder that it may write")
    if folder is not None and (not folder.is_dir() or folder == Path("/")):
        raise SandboxError(f"the run folder {folder} is not an existing folder of its own")
    kernel.require_supported()
    warm_up()
    sys.dont_write_bytecode = True
    if (threads := kernel.thread_count()) != 1:
        raise SandboxError(
            f"the process has {threads} threads; it may have one before the lock. Make thread pools"
            " afterwards, and import libraries with OMP_NUM_THREADS=1"
        )


def library_paths() -> list[Path]:
    """Folders of this interpreter's libraries and of this package, which may be read."""
    paths = sysconfig.get_paths()
    names = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    own = Path(__file__).resolve().parents[1]
    return [*sorted({Path(name).resolve() for name in names} | {own}), Path("/dev/urandom")]


def warm_up() -> None:
    """Loads what Python and numpy load late: afterwards no code can be mapped."""
    import linecache
    import tokenize
    import traceback
    import unicodedata

    import numpy as np
    import numpy.random  # loaded on first use otherwise

    unicodedata.normalize("NFKC", "ａ")
    compile("ａ = 1", "<warm-up>", "exec")
    square = np.eye(3) + np.arange(9.0).reshape(3, 3) ** 2
    for work in (np.linalg.inv, np.linalg.det, np.linalg.norm, np.linalg.eigvalsh, np.median, np.unique):
        work(square)
    np.einsum("ij,jk->ik", square, square)
    np.linalg.solve(square, square)
    str(square), repr(square), np.percentile(square, 50), np.all(square, axis=-1)
    np.ma  # noqa: B018 - an attribute that numpy loads on first use
    traceback.format_exc(), linecache.getlines("<none>"), tokenize.__name__


class _Layers:
    """Sets layers and keeps account of those that are set and those that are missing."""

    def __init__(self, allow_missing: Collection[str]) -> None:
        check_layer_names(allow_missing)
        self.allowed = set(allow_missing)
        self.done: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def probe(self, name: str, available: Callable[[], int]) -> int:
        """Asks whether a layer can be set, before anything is changed."""
        try:
            return available()
        except _Missing as error:
            self._miss(name, str(error))
            return 0

    def set(self, name: str, work: Callable[[], str]) -> None:
        """Sets one layer."""
        if name in self.missing:
            return
        try:
            self.done[name] = work()
        except (_Missing, OSError, ValueError) as error:
            self._miss(name, str(error))

    def _miss(self, name: str, reason: str) -> None:
        if name not in self.allowed:
            raise SandboxError(
                f"the mandatory layer '{name}' of the lock is missing: {reason}. Run on Linux 5.13 or newer"
                " with Landlock and seccomp (for instance in a container on such a host), or accept its"
                f" absence with allow_missing=['{name}'], which is written in the record"
            )
        self.missing[name] = reason


def check_layer_names(names: Collection[str]) -> None:
    """Raises `UnknownNameError` for what is not a mandatory layer."""
    for name in names:
        if name not in MANDATORY:
            raise UnknownNameError("layer", name, MANDATORY, "allow_missing")


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownNameError("lock", kind, KINDS)


def _landlock_abi() -> int:
    abi = landlock.abi_version()
    if abi < 1:
        raise _Missing("this kernel has no Landlock, or it is not switched on (lsm=landlock,...)")
    return abi


def _seccomp_available() -> int:
    if not seccomp.available():
        raise _Missing("this kernel takes no seccomp filters")
    return 1


def _death(parent_pid: int) -> str:
    kernel.die_with_parent(parent_pid)
    return "SIGKILL"


def _environment() -> str:
    with open("/proc/self/environ", "rb") as file:
        given = {entry.partition(b"=")[0].decode("utf-8", "replace") for entry in file.read().split(b"\0") if entry}
    extra = sorted(given - set(ENVIRONMENT) - {"LC_CTYPE"})
    if extra:
        raise _Missing(f"the process was started with {', '.join(extra[:5])} in its environment")
    return f"{len(given)} harmless variables"


def _descriptors(keep: set[int]) -> str:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    closed = 0
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
                closed += 1
            except OSError:
                pass  # the listing's own descriptor
    return f"kept {len(keep)}, closed {closed}"


def _rlimits(limits: Limits, *, own_user_namespace: bool) -> str:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if used > 0.9 * limits.address_space_bytes:
        raise SandboxError(
            f"the process already uses {used / GIB:.1f} GiB of address space; the limit of"
            f" {limits.address_space_bytes / GIB:.1f} GiB leaves no room. Raise limits.address_space_bytes"
        )
    others = 0 if own_user_namespace else kernel.threads_of_user(os.getuid())
    values = {
        resource.RLIMIT_AS: limits.address_space_bytes,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: others + limits.threads,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if limits.cpu_s is not None:
        values[resource.RLIMIT_CPU] = limits.cpu_s
    for which, value in values.items():
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
    return f"{len(values)} limits"


def _landlock(readable: Sequence[Path], writable: Path | None, abi: int) -> str:
    landlock.restrict(readable, [] if writable is None else [writable], abi)
    return f"interface {abi}"


def _seccomp(writes: bool, jit: bool) -> str:
    return f"filter {seccomp.install(seccomp.build_filter(writes=writes, jit=jit, pid=os.getpid()))}"


def _verify(folder: Path | None, missing: Collection[str], *, jit: bool) -> list[str]:
    """Tries what must fail, and what must work. A lock that was never tried is not believed."""
    probes: list[tuple[str, str, Callable[[], object]]] = []
    if "landlock" not in missing:
        probes += [
            ("landlock", "list /", lambda: os.listdir("/")),
            ("landlock", "read /proc/self/environ", lambda: open("/proc/self/environ", "rb").close()),
            ("landlock", "write /", lambda: os.open("/.lock-probe", os.O_WRONLY | os.O_CREAT, 0o600)),
        ]
    if "seccomp" not in missing:
        probes += [
            ("seccomp", "socket", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)),
            ("seccomp", "fork", _fork),
            ("seccomp", "signal", lambda: os.kill(os.getppid(), 0)),
        ]
        if not jit:
            rwx = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
            probes.append(("seccomp", "executable memory", lambda: mmap.mmap(-1, 4096, prot=rwx)))
    for layer, what, work in probes:
        try:
            work()
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EROFS):
                raise SandboxError(f"probe '{what}' of layer '{layer}' failed oddly: {error}") from None
            continue
        raise SandboxError(f"the lock does not hold: '{what}' got through layer '{layer}'")
    if folder is not None:
        _verify_writable(folder)
    return [what for _, what, _ in probes]


def _verify_writable(folder: Path) -> None:
    path = folder / f".lock-probe-{os.getpid()}"
    try:
        path.write_bytes(b"")
        path.unlink()
    except OSError as error:
        raise SandboxError(
            f"the locked process cannot write its run folder {folder}: {error.strerror}. The folder must"
            f" belong to the user that starts it (uid {os.getuid()})"
        ) from None


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
