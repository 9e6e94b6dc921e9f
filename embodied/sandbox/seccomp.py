"""Seccomp: which system calls this process may make. An allow-list as hand-assembled BPF, x86-64.

What is not listed fails with EPERM. What no honest program does (a new program image, another process's
memory, mounts, namespaces, kernel interfaces with a history) kills the process at once. Threads may be
made, processes may not. Memory can be mapped, but never executable, unless the lock was asked for a
compiler (`jit`).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import struct

from embodied.sandbox.kernel import syscall

_NR_SECCOMP, _SET_MODE_FILTER, _TSYNC = 317, 1, 1
_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LD, _JEQ, _JGE, _JSET, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_OFF_NR, _OFF_ARCH, _OFF_ARGS = 0, 4, 16

ALLOWED = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7,
    "lseek": 8, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
    "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "select": 23,
    "sched_yield": 24, "mremap": 25, "mincore": 27, "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35,
    "getpid": 39, "sendfile": 40, "exit": 60, "uname": 63, "flock": 73, "fsync": 74, "fdatasync": 75,
    "ftruncate": 77, "getdents": 78, "getcwd": 79, "readlink": 89, "umask": 95, "gettimeofday": 96,
    "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107,
    "getegid": 108, "getppid": 110, "getpgrp": 111, "getresuid": 118, "getresgid": 120,
    "sigaltstack": 131, "fstatfs": 138, "getpriority": 140, "sched_getparam": 143,
    "sched_getscheduler": 145, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204,
    "getdents64": 217, "set_tid_address": 218, "restart_syscall": 219, "fadvise64": 221,
    "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "get_mempolicy": 239, "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269,
    "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "get_robust_list": 274, "fallocate": 285,
    "dup3": 292, "preadv": 295, "pwritev": 296, "getcpu": 309, "getrandom": 318, "membarrier": 324,
    "copy_file_range": 326, "statx": 332, "rseq": 334, "close_range": 436, "faccessat2": 439,
    "futex_waitv": 449,
}  # fmt: skip

WRITING = {
    "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87, "mkdirat": 258, "unlinkat": 263,
    "renameat": 264, "renameat2": 316,
}  # fmt: skip

KILLED = {
    "execve": 59, "ptrace": 101, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166,
    "swapon": 167, "swapoff": 168, "reboot": 169, "iopl": 172, "ioperm": 173, "create_module": 174,
    "init_module": 175, "delete_module": 176, "kexec_load": 246, "add_key": 248, "request_key": 249,
    "keyctl": 250, "unshare": 272, "perf_event_open": 298, "fanotify_init": 300, "open_by_handle_at": 304,
    "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313,
    "kexec_file_load": 320, "bpf": 321, "execveat": 322, "userfaultfd": 323, "io_uring_setup": 425,
    "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsmount": 432, "mount_setattr": 442,
}  # fmt: skip

_MMAP, _MPROTECT, _CLONE, _CLONE3, _IOCTL, _FCNTL, _PRCTL, _PRLIMIT, _GETRLIMIT, _TGKILL = (
    9, 10, 56, 435, 16, 72, 157, 302, 97, 234,
)  # fmt: skip
_PROT_EXEC = 4
_CLONE_THREAD_FLAGS = 0x00000100 | 0x00000800 | 0x00010000  # VM, SIGHAND, THREAD
_CLONE_NEW_FLAGS = 0x7E020080  # every CLONE_NEW*, but not CLONE_IO
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5451, 0x5450)  # TCGETS, TIOCGWINSZ, FIONREAD, FIOCLEX, FIONCLEX
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)  # dup, flags, locks; no owner and no signal
_PRCTLS = (15, 16, 0x53564D41)  # a thread's name, a memory area's name


def build_filter(*, writes: bool, jit: bool, pid: int) -> bytes:
    """The BPF program.

    Args:
        writes: folders and names may be made, renamed and removed (Landlock says where).
        jit: executable memory may be mapped.
        pid: the process's own id, the only one that may be sent signals (between its threads).
    """
    code = [
        _op(_LD, _OFF_ARCH), _op(_JEQ, _AUDIT_ARCH_X86_64, 1, 0), _op(_RET, _KILL),
        _op(_LD, _OFF_NR), _op(_JGE, _X32_BIT, 0, 1), _op(_RET, _KILL),
    ]  # fmt: skip
    allowed = {**ALLOWED, **(WRITING if writes else {})}
    if jit:
        allowed |= {"mmap": _MMAP, "mprotect": _MPROTECT}
    else:
        for number in (_MMAP, _MPROTECT):
            code += _when(number, [*_argument(2), _op(_JSET, _PROT_EXEC, 0, 1), _fail(), _op(_RET, _ALLOW)])
    code += _when(_CLONE3, [_fail(errno.ENOSYS)])  # its flags are behind a pointer; libc then uses clone
    code += _when(_CLONE, [
        *_argument(0), _op(_JSET, _CLONE_NEW_FLAGS, 0, 1), _fail(),
        _op(_AND, _CLONE_THREAD_FLAGS), _op(_JEQ, _CLONE_THREAD_FLAGS, 1, 0), _fail(), _op(_RET, _ALLOW),
    ])  # fmt: skip
    for number, values in ((_IOCTL, _IOCTLS), (_FCNTL, _FCNTLS)):
        code += _when(number, _one_of(1, values))
    code += _when(_PRCTL, _one_of(0, _PRCTLS))
    code += _when(_TGKILL, _one_of(0, (pid,)))
    code += _when(_PRLIMIT, [  # a new limit is a pointer: both halves must be null
        *_argument(2), _op(_JEQ, 0, 1, 0), _fail(),
        _op(_LD, _OFF_ARGS + 2 * 8 + 4), _op(_JEQ, 0, 1, 0), _fail(), _op(_RET, _ALLOW),
    ])  # fmt: skip
    for number in sorted([*allowed.values(), _GETRLIMIT]):
        code += _when(number, [_op(_RET, _ALLOW)])
    for number in sorted(KILLED.values()):
        code += _when(number, [_op(_RET, _KILL)])
    code.append(_fail())
    return b"".join(code)


def install(program: bytes) -> str:
    """Installs a filter for good; `no_new_privs` must be set. Returns the first 16 digits of its SHA-256."""

    class _Fprog(ctypes.Structure):
        _fields_ = (("count", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = _Fprog(len(program) // 8, ctypes.addressof(buffer))
    result = syscall(_NR_SECCOMP, _SET_MODE_FILTER, _TSYNC, ctypes.byref(fprog))
    if result != 0:
        raise OSError(errno.EBUSY, f"thread {result} could not take the filter")
    return hashlib.sha256(program).hexdigest()[:16]


def available() -> bool:
    """Whether the kernel takes filters with the actions that ours uses."""
    try:
        with open("/proc/sys/kernel/seccomp/actions_avail") as file:
            return {"kill_process", "errno", "allow"} <= set(file.read().split())
    except OSError:
        return False


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFFFFFF)


def _fail(code: int = errno.EPERM) -> bytes:
    return _op(_RET, _ERRNO | code)


def _argument(index: int) -> list[bytes]:
    """Loads the low half of an argument (calls take these arguments as 32 bits, or check the high half)."""
    return [_op(_LD, _OFF_ARGS + 8 * index)]


def _when(number: int, body: list[bytes]) -> list[bytes]:
    """Runs `body`, which must end in a return, for one system call."""
    return [_op(_LD, _OFF_NR), _op(_JEQ, number, 0, len(body)), *body]


def _one_of(index: int, values: tuple[int, ...]) -> list[bytes]:
    """Allows a call whose argument is one of `values`."""
    tests = [_op(_JEQ, value, len(values) - i, 0) for i, value in enumerate(values)]
    return [*_argument(index), *tests, _fail(), _op(_RET, _ALLOW)]
