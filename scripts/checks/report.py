"""Counting tests, and running commands with a time limit and a log."""

import os
import re
import signal
import subprocess
import time

OUTPUT_INTERVAL_S = 0.2

_children = []


def stop_children():
    """End what run() and start() began, with all that they began themselves."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in _children:
            if child.poll() is None:
                try:
                    os.killpg(child.pid, number)
                    child.wait(10)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass


class Outcome:
    """How a command ended."""

    def __init__(self, status, log, seconds, timed_out):
        self.status = status
        self.log = log
        self.seconds = seconds
        self.timed_out = timed_out

    @property
    def ok(self):
        return self.status == 0 and not self.timed_out

    def text(self):
        """The whole output, without colours."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return re.sub(r"\x1b\[[0-9;]*m", "", log.read())

    def why(self, pattern=None):
        """One line: the first that matches, else the last that says something, and the log."""
        if self.timed_out:
            return f"still running after {self.seconds:.0f} s ({self.log})"
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        found = [line for line in lines if pattern and re.search(pattern, line)]
        line = (found or lines[-1:] or ["no output"])[0]
        return f"{line[:300]} (exit status {self.status}, {self.log})"


class Command:
    """A command that runs; wait() gives its outcome."""

    def __init__(self, argv, log, timeout_s, environment):
        self._log = log
        self._deadline = time.monotonic() + timeout_s
        self._start = time.monotonic()
        self._partial = ""
        with open(log, "wb") as stream:
            self._child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stream,
                                           stderr=subprocess.STDOUT, start_new_session=True,
                                           env={**os.environ, **(environment or {})})
        _children.append(self._child)

    def wait(self, on_line=None):
        """Until it ends, or its time is up. `on_line` gets each line of its output as it comes."""
        timed_out = False
        with open(self._log, encoding="utf-8", errors="replace") as output:
            while self._child.poll() is None and not timed_out:
                timed_out = time.monotonic() > self._deadline
                try:
                    self._child.wait(OUTPUT_INTERVAL_S)
                except subprocess.TimeoutExpired:
                    pass
                self._pass_on(output, on_line, False)
            if timed_out:
                self._stop()
            self._pass_on(output, on_line, True)
        _children.remove(self._child)
        return Outcome(self._child.returncode, self._log, time.monotonic() - self._start, timed_out)

    def _pass_on(self, output, on_line, ended):
        if on_line is None:
            return
        self._partial += output.read()
        *whole, self._partial = self._partial.split("\n")
        if ended and self._partial:
            whole.append(self._partial)
        for line in whole:
            on_line(line)

    def _stop(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._child.pid, number)
                self._child.wait(15)
                return
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                return


class Report:
    """The tests' results; each is printed as it comes, and added to the journal if there is one."""

    def __init__(self, folder, journal=None):
        self.folder = folder
        self.journal = journal
        self.passed = self.failed = self.skipped = 0
        self.notes = []
        os.makedirs(folder, exist_ok=True)

    def say(self, line):
        print(line, flush=True)
        if self.journal:
            with open(self.journal, "a", encoding="utf-8") as journal:
                journal.write(f"{time.strftime('%F %T')}  {line}\n")

    def start(self, name, argv, timeout_s, environment=None):
        log = os.path.join(self.folder, re.sub(r"[^A-Za-z0-9_.-]+", "_", name) + ".log")
        return Command(argv, log, timeout_s, environment)

    def run(self, name, argv, timeout_s, environment=None):
        return self.start(name, argv, timeout_s, environment).wait()

    def ok(self, name, seconds):
        self.passed += 1
        self.say(f"ok      {seconds:6.1f} s  {name}")

    def fail(self, name, why, seconds):
        self.failed += 1
        self.say(f"FAILED  {seconds:6.1f} s  {name}: {why}")

    def skip(self, name, why):
        self.skipped += 1
        self.say(f"skipped           {name}: {why}")

    def note(self, text):
        """Something that counts as no failure and that a reader must see at the end."""
        self.notes.append(text)

    def check(self, name, outcome, pattern=None):
        """Count a command's outcome as a test; returns whether it passed."""
        if outcome.ok:
            self.ok(name, outcome.seconds)
        else:
            self.fail(name, outcome.why(pattern), outcome.seconds)
        return outcome.ok

    def verdict(self, name, problems, seconds=0.0):
        """Count a list of problems as a test that passes when it is empty."""
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            self.fail(name, problems[0] + more, seconds)
        else:
            self.ok(name, seconds)

    def end(self):
        """Say the notes, and as the last line the counts."""
        for text in self.notes:
            self.say(f"note    {text}")
        self.say(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
