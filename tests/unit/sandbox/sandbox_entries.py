"""Entries for the tests of the lock: what a locked worker may and may not do."""

# ruff: noqa: SIM115, C901 - attempts that must fail, faults by name
from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import resource
import socket
import subprocess
import sys
import threading
import time

import numpy as np


class Plain:
    """Says what it was given, twice, and comes to an end."""

    @staticmethod
    def prepare(request):
        return {"request": request, "pid": os.getpid(), "threads": len(os.listdir("/proc/self/task"))}

    @staticmethod
    def run(context, channel):
        channel.send(context)
        return {"done": True}


class Attempts:
    """Tries everything that must fail; tells the error of each attempt, or `done`."""

    @staticmethod
    def prepare(request):
        return request

    @staticmethod
    def run(context, channel):
        libc = ctypes.CDLL(None, use_errno=True)

        def raw(number, *arguments):
            if libc.syscall(number, *arguments) < 0:
                raise OSError(ctypes.get_errno(), "raw")

        outside = context["outside"]
        attempts = {
            "read": lambda: open("/etc/passwd").read(),
            "read_environ": lambda: open("/proc/self/environ").read(),
            "read_mem": lambda: open("/proc/self/mem", "rb"),
            "list": lambda: os.listdir("/"),
            "write": lambda: open(os.path.join(outside, "new"), "w"),
            "append": lambda: open(os.path.join(outside, "victim"), "a"),
            "inject_terminal": lambda: fcntl.ioctl(1, 0x5412, b"x"),
            "write_library": lambda: os.open(os.__file__, os.O_WRONLY),
            "write_package": lambda: os.open(np.__file__, os.O_WRONLY),
            "truncate": lambda: os.truncate(os.path.join(outside, "victim"), 0),
            "unlink": lambda: os.unlink(os.path.join(outside, "victim")),
            "rename": lambda: os.rename(os.path.join(outside, "victim"), "stolen"),
            "link": lambda: os.link(os.path.join(outside, "victim"), "link"),
            "symlink": lambda: os.symlink("/etc/passwd", "symlink"),
            "chmod": lambda: os.chmod(os.path.join(outside, "victim"), 0o777),
            "utime": lambda: os.utime(os.path.join(outside, "victim"), (0, 0)),
            "fifo": lambda: os.mkfifo("fifo"),
            "socket_inet": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
            "socket_unix": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
            "socket_netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
            "fork": os.fork,
            "vfork": lambda: subprocess.run(["/bin/true"]),
            "posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
            "pipe": os.pipe,
            "kill_parent": lambda: os.kill(os.getppid(), 0),
            "kill_all": lambda: os.kill(-1, 0),
            "tgkill_parent": lambda: raw(234, os.getppid(), os.getppid(), 0),
            "map_executable": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
            "memfd": lambda: os.memfd_create("x"),
            "raise_limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
            "set_affinity": lambda: os.sched_setaffinity(0, {0}),
            "alarm": lambda: raw(37, 1),
            "prctl_death": lambda: raw(157, 1, 0, 0, 0, 0),
            "set_user": lambda: raw(105, 0),
            "clone3": lambda: raw(435, 0, 0),
            "clone_process": lambda: raw(56, 17, 0, 0, 0, 0),
            "chdir": lambda: os.chdir("/"),
            "dir_fds": lambda: [os.fstat(fd) for fd in range(3, 12) if fd not in context["fds"]],
        }
        return {name: _outcome(work) for name, work in attempts.items()}


def _outcome(work):
    try:
        work()
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    except ValueError as error:  # how the resource module tells EPERM
        return "Operation not permitted" if "not allowed" in str(error) else str(error)
    return "done"


class Facts:
    """What a locked worker can do, and what it finds."""

    @staticmethod
    def prepare(request):
        leaked = os.open("/etc/hostname", os.O_RDONLY) if os.path.exists("/etc/hostname") else -1
        return {"leaked": leaked}

    @staticmethod
    def run(context, channel):
        results = []
        threads = [threading.Thread(target=lambda i=i: results.append(i)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        try:
            leaked = os.fstat(context["leaked"]) is not None
        except OSError:
            leaked = False
        try:
            np.zeros(1 << 40)
            memory = "given"
        except MemoryError:
            memory = "refused"
        bomb = 0
        try:
            for bomb in range(5000):  # noqa: B007
                threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        except RuntimeError:
            pass
        return {
            "threads": len(results),
            "environment": dict(os.environ),
            "leaked": leaked,
            "stdin": sys.stdin.read() if sys.stdin else "",
            "memory": memory,
            "bomb": bomb,
            "core": resource.getrlimit(resource.RLIMIT_CORE),
        }


class Writer:
    """Writes into its run folder and nowhere else."""

    @staticmethod
    def prepare(request):
        return request

    @staticmethod
    def run(context, channel):
        np.save("a.npy", np.arange(3.0))
        os.rename("a.npy", "b.npy")
        os.mkdir("sub")
        try:
            with open("large", "wb") as file:
                file.write(b"x" * context["large"])
            large = "written"
        except OSError as error:
            large = os.strerror(error.errno)
        return {"files": sorted(os.listdir(".")), "large": large, "up": _outcome(lambda: os.listdir(".."))}


class Echo:
    """A waiting process that serves jobs."""

    @staticmethod
    def prepare(request):
        return request

    @staticmethod
    def run(context, channel):
        while (job := channel.receive()) is not None:
            if "sleep" in job:
                time.sleep(job["sleep"])
            arrays = job.pop("arrays", None)
            if arrays is None:
                channel.send({"echo": job})
            else:
                channel.send_arrays({"echo": job}, {name: value * 2 for name, value in arrays.items()})
        return {"stopped": channel.stop_requested}


class Misbehaving:
    """Faults by name, after the lock."""

    @staticmethod
    def prepare(request):
        if request["fault"] == "prepare_raises":
            raise ValueError("no such model")
        if request["fault"] == "prepare_exits":
            os._exit(0)
        if request["fault"] == "prepare_hangs":
            time.sleep(60)
        if request["fault"] == "prepare_threads":
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        return request["fault"]

    @staticmethod
    def run(fault, channel):
        match fault:
            case "raises":
                raise ValueError("in run \x1b[2J")
            case "exits":
                os._exit(7)
            case "dies_after_its_last_word":
                channel.emit("end", {"result": {"done": True}})
                os._exit(7)
            case "execve":
                os.execv("/bin/true", ["true"])
            case "segfault":
                ctypes.string_at(0)
            case "silent":
                while True:
                    pass
            case "beats":
                while True:
                    channel.beat()
                    time.sleep(0.01)
            case "floods":
                while True:
                    print("x" * 65536)
            case "garbles":
                os.write(channel._out, b"{not json}\n")
                time.sleep(60)
            case "long_line":
                while True:
                    os.write(channel._out, b"x" * 65536)
            case "closes_pipes":
                for fd in (1, 2, channel._out):
                    os.close(fd)
                time.sleep(60)
            case "result":
                return {"f": object()}
        return None


NOTHING = object()
