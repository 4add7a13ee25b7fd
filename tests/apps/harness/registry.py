"""The list of tests; a test is a function of one argument, the Context that it runs in."""

from . import aftermath
from . import lab as labs
from .process import Skip

TESTS = []


class Context:
    """What a test gets: one lab, made when it asks for it, and the folder for its files."""

    def __init__(self, name, folder, shared_folder, options):
        self.name = name
        self.folder = folder
        self.shared_folder = shared_folder
        self.stack = options.stack
        self.all = options.shortfalls
        self._options = options
        self.lab = None
        self._capture = False
        self._watch = None

    def up(self, port=None, pnod_options=()):
        """Make the lab. The runner removes it, whatever happens. Port and options: PnO only."""
        self.lab = labs.make(self.stack, self.name, self.folder, self._options.build,
                             port or self._options.port)
        self.lab.up(pnod_options)
        self._watch = aftermath.Watch(self.lab, self.folder, self._capture)
        return self.lab

    def run(self, function, capture):
        """The test, and then what it must not have left behind."""
        self._capture = capture
        function(self)
        if self._watch:
            self._watch.check()


class Test:
    def __init__(self, function, timeout_s, pno_only, extra, capture, shortfall):
        self.name = function.__name__
        self.function = function
        self.timeout_s = timeout_s
        self.pno_only = pno_only
        self.extra = extra
        self.capture = capture
        self.shortfall = shortfall

    def run(self, context):
        if self.pno_only and context.stack != "pno":
            raise Skip("about the engine, which this stack lacks")
        if self.shortfall and context.stack == "pno" and not context.all:
            raise Skip(f"known not to work: {self.shortfall}")
        context.run(self.function, self.capture)


def test(timeout_s=60, pno_only=False, extra=False, capture=True, shortfall=None):
    """Register a test. `extra`: for `make check-apps`; `capture`: the wire is captured and judged;
    `shortfall`: why PnO is known not to pass it (docs/programs.md), run only by --shortfalls."""
    def register(function):
        TESTS.append(Test(function, timeout_s, pno_only, extra, capture, shortfall))
        return function
    return register
