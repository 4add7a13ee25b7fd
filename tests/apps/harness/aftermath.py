"""What a test must not leave behind, checked after every test that passed.

All programs that it started end on SIGTERM; then no process remains in the lab's namespaces, the
engine has no socket, tenant or buffer in use, and holds the descriptors it held at the beginning.
That the namespaces and files go too is checked where the lab is taken down (lab.destroy()).
"""

import contextlib
import os

from . import judge, netns
from .process import Failure, require, wait_until

STOP_TIMEOUT_S = 15.0
GONE_TIMEOUT_S = 10.0


class Watch:
    """Made when the lab is up: what there was then, and a capture of the wire."""

    def __init__(self, lab, folder, capture):
        self.lab = lab
        self.engine = lab.engine_descriptors()
        self.capture = judge.start(lab, folder) if capture else None

    def check(self):
        """Raise Failure for the first thing that is left, or that the capture shows."""
        for program in self.lab.programs:
            if program.name != "pnod":
                program.stop(STOP_TIMEOUT_S)
        lost = self.capture.stop() if self.capture else 0
        self._check_processes()
        if not self.lab.engine_killed:
            self.lab.assert_nothing_left()
            self._check_engine()
        if self.capture:
            judge.judge(self.capture.path, self.lab.host_addresses, lost,
                        kernel=self.lab.stack == "kernel", offloads=self.lab.leaves_checksums)

    def _check_processes(self):
        left = []

        def none_left():
            left[:] = [f"{pid} ({command(pid)})" for end in (self.lab.host, self.lab.client)
                       for pid in netns.processes(end) if pid != os.getpid()]
            return not left
        with contextlib.suppress(Failure):
            wait_until(none_left, "no process left", GONE_TIMEOUT_S, 0.1)
        require(not left, f"processes are left: {', '.join(left[:3])} ({len(left)} in all)")

    def _check_engine(self):
        if self.engine is None:
            return
        pid, before = self.engine
        if self.lab.pnod_pid() != pid:
            return  # the test has put another in its place
        now = []

        def as_before():
            now[:] = [self.lab.engine_descriptors()[1]]
            return now[0] <= before
        with contextlib.suppress(Failure):
            wait_until(as_before, "descriptors", GONE_TIMEOUT_S, 0.1)
        require(now[0] <= before, f"pnod had {before} descriptors and has {now[0]}")


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()[:60]
    except OSError:
        return "gone"
