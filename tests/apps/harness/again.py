"""Tests that fail are run once more: behaviour that is wrong is wrong again, while a program that got
no processor in time is not."""

import time

REPEATED_MOST = 3  # more failures than that are no accident of a busy machine
HELP = (f"run a test that fails once more, {REPEATED_MOST} at most: it counts as it ends then, and what "
        "failed once is told")


class Again:
    def __init__(self, wanted):
        self._left = REPEATED_MOST if wanted else 0

    def run(self, name, once, complaint):
        """once(attempt), attempt being 0 or 1, gives a verdict, and complaint(verdict) is what is wrong or
        None. Returns the last verdict, and how many seconds it took."""
        start = time.monotonic()
        verdict = once(0)
        first = complaint(verdict)
        if first is not None and self._left > 0:
            self._left -= 1
            start = time.monotonic()
            verdict = once(1)
            if complaint(verdict) is None:
                print(f"# {name} failed once of two times: {first}", flush=True)
        return verdict, time.monotonic() - start
