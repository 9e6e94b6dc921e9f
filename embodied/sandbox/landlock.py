"""Landlock: which files this process may touch. Pure ctypes; kernel 5.13 or newer."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from embodied.sandbox.kernel import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1

WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
MAKE_DIR, MAKE_REG, REFER, TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14
READ = READ_FILE | READ_DIR
# No links, sockets, pipes or devices: what a locked process leaves behind is plain files and folders.
WRITE = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
_OF_A_FILE = WRITE_FILE | READ_FILE | TRUNCATE
_NET_BIND_AND_CONNECT = 3
_SCOPE_SOCKET_AND_SIGNAL = 3


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("fd", ctypes.c_int32))


def abi_version() -> int:
    """Version of the kernel's Landlock interface; 0 when it has none or it is switched off."""
    try:
        return syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def handled_rights(abi: int) -> int:
    """All file rights that a kernel of this interface version can restrict."""
    count = 13 if abi < 2 else 14 if abi < 3 else 15 if abi < 5 else 16
    return (1 << count) - 1


def restrict(readable: Iterable[Path], writable: Iterable[Path], abi: int) -> None:
    """Restricts the calling thread, for good, to these paths and to no TCP; `no_new_privs` must be set.

    Args:
        readable: files and folders that may be read.
        writable: folders in which files may be read, written, made and removed.
        abi: what `abi_version` gave.
    """
    handled = handled_rights(abi)
    attributes = _RulesetAttr(
        handled, _NET_BIND_AND_CONNECT if abi >= 4 else 0, _SCOPE_SOCKET_AND_SIGNAL if abi >= 6 else 0
    )
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for path in readable:
            # What is absent, or closed to this user anyway, needs no rule.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                _allow(ruleset, path, READ & handled)
        for path in writable:
            _allow(ruleset, path, (READ | WRITE) & handled)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not path.is_dir():
            rights &= _OF_A_FILE
        syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(_PathBeneath(rights, fd)), 0)
    finally:
        os.close(fd)
