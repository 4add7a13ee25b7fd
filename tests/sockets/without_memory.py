#!/usr/bin/python3
"""Refuse libpno.so each of its requests for memory in turn, in one run of a program each.

    without_memory.py PROGRAM ENGINE LIBPNO FAILING

Exit status 0: each run ended as it should.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time

RUN_S = 20


def wait_for(path):
    """Until the engine listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        while probe.connect_ex(path) != 0:
            time.sleep(0.02)


def run(program, libraries, path, number):
    """Whether it ended well, and how often the library asked."""
    ours, theirs = os.pipe()
    environment = {**os.environ, "LD_PRELOAD": libraries, "PNO_SOCKET": path, "PNO_LOOPBACK": "1",
                   "PNO_LOG": "error", "FAILING_REQUEST": str(number), "FAILING_COUNT_FD": str(theirs)}
    try:
        well = subprocess.run([program], env=environment, pass_fds=[theirs], timeout=RUN_S,
                              check=False).returncode == 0
    except subprocess.TimeoutExpired:
        well = False
    os.close(theirs)
    with os.fdopen(ours) as counts:
        return well, int(counts.read() or 0)


def main():
    program, engine, libpno, failing = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "engine.sock")
        with subprocess.Popen([engine, path]) as child:
            try:
                wait_for(path)
                libraries = f"{failing} {libpno}"
                well, requests = run(program, libraries, path, 0)
                wrong = [] if well and requests > 0 else [0]
                wrong += [number for number in range(1, requests + 1)
                          if not run(program, libraries, path, number)[0]]
            finally:
                child.terminate()
    print(f"{requests} requests; wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
