"""Direct system calls through ctypes, and the checks that a kernel is one we know."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys

from embodied.core.errors import SandboxError

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SIGKILL = 9
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS = 0x10000000, 0x40000000, 0x08000000, 0x04000000
_CAPABILITY_VERSION_3 = 0x20080522
_NR_CAPSET, _NR_UNSHARE = 126, 272

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def require_supported() -> None:
    """Raises `SandboxError` unless this is 64-bit x86 Linux."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.maxsize < 2**32:
        raise SandboxError(
            f"the lock knows 64-bit x86 Linux only, this is {sys.platform} on {platform.machine()}."
            " Run the command in a Linux container or virtual machine of that kind"
        )


def syscall(number: int, *arguments: int | ctypes._Pointer | ctypes.Array | None) -> int:
    """One system call; raises `OSError` when it fails."""
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(number), *converted)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def prctl(option: int, value: int) -> None:
    """`prctl` with one argument; raises `OSError` when it fails."""
    if _libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def die_with_parent(parent_pid: int) -> None:
    """This process is killed when the thread that created it ends. A change of credentials undoes it."""
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def thread_count() -> int:
    """Threads of this process, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


def drop_capabilities() -> None:
    """Gives up every capability of this process."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    syscall(_NR_CAPSET, header, data)


def enter_namespaces() -> str | None:
    """Own user, network, IPC and UTS namespaces. Returns None, or why the system does not allow them."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        syscall(_NR_UNSHARE, CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError as error:
            raise SandboxError(f"own user namespace made, but /proc/self/{name} refused: {error}") from None
    return None


def threads_of_user(uid: int) -> int:
    """Threads that a user has on this machine, as RLIMIT_NPROC counts them."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count
