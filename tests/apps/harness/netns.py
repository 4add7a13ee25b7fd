"""Network namespaces: sockets inside them, and the processes that live in them.

Not a way to make labs (see lab.py). Needs root.
"""

import contextlib
import ctypes
import os
import signal
import socket
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_RUN = "/run/netns"


def path(name):
    return f"{_RUN}/{name}"


def exists(name):
    return os.path.exists(path(name))


def _setns(fd):
    if _LIBC.setns(fd, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "setns")


@contextlib.contextmanager
def inside(name):
    """Sockets that this thread makes within the block belong to the namespace `name`."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(own)
    finally:
        os.close(own)


def connect(name, address, port, timeout=10.0):
    """A TCP connection from the namespace `name`, with a time limit on every operation."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(name):
        connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect((address, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def processes(name):
    """Process ids of everything that lives in the namespace."""
    try:
        inode = os.stat(path(name))
    except FileNotFoundError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            theirs = os.stat(f"/proc/{entry}/ns/net")
        except OSError:
            continue
        if (theirs.st_dev, theirs.st_ino) == (inode.st_dev, inode.st_ino):
            found.append(int(entry))
    return found


def kill_all(name, wait_s=5.0):
    """SIGKILL everything in the namespace and wait until it is gone; True when it is."""
    deadline = time.monotonic() + wait_s
    while True:
        living = [pid for pid in processes(name) if pid != os.getpid()]
        if not living:
            return True
        for pid in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _reap():
    """Collect children that were just killed, so that they do not linger as zombies."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
