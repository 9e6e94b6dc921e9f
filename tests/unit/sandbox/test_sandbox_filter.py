"""The seccomp filter as a function: its BPF program is run here, instruction by instruction, on every system call.

What the kernel refuses for other reasons (another user, no terminal) cannot hide a hole here.
"""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.sandbox.seccomp import build_filter

X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
PID = 4321
ALLOW, KILL, DENY = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
# Written down once more, by number, so that a slip in the allow-list shows: processes, program images, sockets,
# signals, other processes' memory, links and special files, ownership and modes, limits, users, mounts, keys, clocks.
FORBIDDEN = {
    "pipe": 22, "shmget": 29, "shmat": 30, "alarm": 37, "setitimer": 38, "socket": 41, "connect": 42,
    "accept": 43, "sendto": 44, "sendmsg": 46, "recvmsg": 47, "bind": 49, "listen": 50, "socketpair": 53, "fork": 57,
    "vfork": 58, "execve": 59, "wait4": 61, "kill": 62, "truncate": 76, "chdir": 80, "fchdir": 81, "creat": 85,
    "link": 86, "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "ptrace": 101,
    "setuid": 105, "setgid": 106, "setpgid": 109, "setsid": 112, "setgroups": 116, "setresuid": 117, "capset": 126,
    "rt_sigqueueinfo": 129, "utime": 132, "mknod": 133, "personality": 135, "setpriority": 141,
    "sched_setscheduler": 144, "mlock": 149, "modify_ldt": 154, "pivot_root": 155, "setrlimit": 160, "chroot": 161,
    "mount": 165, "umount2": 166, "init_module": 175, "setxattr": 188, "tkill": 200, "sched_setaffinity": 203,
    "io_setup": 206, "clock_settime": 227, "utimes": 235, "mq_open": 240, "waitid": 247, "add_key": 248,
    "keyctl": 250, "inotify_init": 253, "mknodat": 259, "fchownat": 260, "linkat": 265, "symlinkat": 266,
    "fchmodat": 268, "unshare": 272, "splice": 275, "vmsplice": 278, "utimensat": 280, "signalfd": 282,
    "timerfd_create": 283, "eventfd": 284, "accept4": 288, "pipe2": 293, "rt_tgsigqueueinfo": 297,
    "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "sched_setattr": 314, "seccomp": 317, "memfd_create": 319, "bpf": 321,
    "execveat": 322, "userfaultfd": 323, "pkey_mprotect": 329, "pidfd_send_signal": 424, "io_uring_setup": 425,
    "pidfd_open": 434, "openat2": 437, "pidfd_getfd": 438, "memfd_secret": 447,
}  # fmt: skip
RENAMES = {82, 83, 84, 87, 258, 263, 264, 316}
MMAP, MPROTECT, CLONE, TGKILL, PRLIMIT, PRCTL, IOCTL, FCNTL = 9, 10, 56, 234, 302, 157, 16, 72


def verdict(number: int, *arguments: int, arch: int = X86_64, writes: bool = True, jit: bool = False) -> int:
    """What the filter answers to one system call."""
    given_arguments = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, arch, 0, *given_arguments)
    code = [struct.unpack("=HBBI", op) for op in _chunks(build_filter(writes=writes, jit=jit, pid=PID))]
    at = accumulator = 0
    for _ in range(len(code)):  # BPF jumps forward only
        operation, if_true, if_false, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x06:
                return value
            case _:
                raise AssertionError(f"operation {operation:#x}")
    raise AssertionError("the program does not end")


def _chunks(program: bytes):
    return (program[i : i + 8] for i in range(0, len(program), 8))


@pytest.mark.parametrize("writes", [False, True])
def test_what_is_dangerous_is_refused_whatever_its_arguments(writes):
    assert [n for n, number in FORBIDDEN.items() if verdict(number, writes=writes) not in (DENY, KILL)] == []
    for number in RENAMES:
        assert verdict(number, writes=writes) == (ALLOW if writes else DENY)


def test_what_no_list_names_is_refused():
    """Numbers that no kernel had when this was written."""
    assert {verdict(number) for number in range(480, 1000, 7)} == {DENY}


@given(st.integers(0, 480))
def test_calls_of_another_architecture_end_the_process(number):
    assert verdict(number, arch=I386) == verdict(number, arch=AARCH64) == KILL
    assert verdict(0x40000000 | number) == KILL  # the x32 form of the same call


@given(st.integers(0, 7), st.sampled_from([MMAP, MPROTECT]))
def test_memory_is_never_executable_without_a_compiler(protection, number):
    wanted = DENY if protection & 4 else ALLOW
    assert verdict(number, 0, 4096, protection) == wanted
    assert verdict(number, 0, 4096, protection, jit=True) == ALLOW


@given(st.integers(0, 2**32 - 1))
def test_only_threads_are_made(flags):
    thread = 0x100 | 0x800 | 0x10000
    new_namespace = 0x7E020080
    wanted = ALLOW if flags & thread == thread and not flags & new_namespace else DENY
    assert verdict(CLONE, flags) == wanted
    assert verdict(CLONE, flags | thread) == (DENY if flags & new_namespace else ALLOW)
    assert verdict(435) == 0x00050000 | errno.ENOSYS  # clone3: flags behind a pointer


@given(st.integers(0, 2**31 - 1).filter(lambda pid: pid != PID))
def test_signals_go_to_its_own_threads_alone(pid):
    assert verdict(TGKILL, PID, 1, 9) == ALLOW
    assert verdict(TGKILL, pid, pid, 0) == DENY


@given(st.integers(1, 2**64 - 1))
def test_limits_are_read_and_never_set(pointer):
    assert verdict(PRLIMIT, 0, 7, 0, pointer) == ALLOW
    assert verdict(PRLIMIT, 0, 7, pointer, 0) == DENY


def test_terminals_owners_and_process_settings_are_not_touched():
    injected, controlling = 0x5412, 0x540E
    assert {verdict(IOCTL, 0, request) for request in (injected, controlling, 0x8901, 0x8902)} == {DENY}
    owner, by_signal, lease = 8, 10, 1024
    assert {verdict(FCNTL, 0, command) for command in (owner, by_signal, lease)} == {DENY}
    death, dumpable, seccomp, privileges, memory = 1, 4, 22, 38, 35
    assert {verdict(PRCTL, option) for option in (death, dumpable, seccomp, privileges, memory)} == {DENY}
