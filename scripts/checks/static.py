"""What can be said without running anything: style, lint, and the design's dependency rules."""

import glob
import os
import re
import subprocess
import time

from . import build, libc_calls, rfc_table

TIDY_TIMEOUT_S = 2700

# What a compiler or linker may call for on its own.
CORE_ALLOWED_SYMBOLS = {"memcpy", "memmove", "memset", "memcmp", "__stack_chk_fail",
                        "_GLOBAL_OFFSET_TABLE_"}

# Which folders of src/ a folder's files may include from (docs/architecture.md).
MAY_INCLUDE = {
    "base": {"base"},
    "core": {"base", "core"},
    "hostlink": {"base", "hostlink"},
    "engine": {"base", "core", "hostlink", "engine"},
    "hostlib": {"base", "hostlink", "hostlib"},
    "wire": {"base", "wire"},
    "cli": {"base", "hostlink", "wire", "cli"},
}
ALIEN_HEADER = re.compile(r"^(rte_|jansson|ncurses|bpf/|xdp/)")
ALIENS_ALLOWED = {"engine", "cli"}
LIBPNO_MAY_NEED = {"libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def _output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True,
                          text=True).stdout


def _sources(root, *folders):
    found = []
    for folder in folders:
        for pattern in ("**/*.c", "**/*.h"):
            found += glob.glob(os.path.join(root, folder, pattern), recursive=True)
    return sorted(found)


def _formatting(options, report):
    files = _sources(options.root, "src", "include", "modules", "tests")
    outcome = report.run("clang-format", ["clang-format", "--dry-run", "-Werror", *files], 120)
    report.check("static: clang-format", outcome, r"error:|warning:")


def _tidy(options, report):
    # By the clang build's commands: gcc's have options that clang-tidy does not know.
    outcome = report.run("clang-tidy", ["run-clang-tidy", "-quiet", "-j", str(os.cpu_count()),
                                        "-p", build.clang_folder(options), "^.*/src/.*"],
                         TIDY_TIMEOUT_S)
    if outcome.ok and "clang-tidy" not in outcome.text():
        report.fail("static: clang-tidy", f"it looked at no file ({outcome.log})", outcome.seconds)
        return
    report.check("static: clang-tidy", outcome, r"(error|warning):")


def core_problems(archive):
    """Symbols that the pure core needs from elsewhere and may not."""
    if not os.path.exists(archive):
        return [f"{archive} is missing"]
    undefined = set(_output("nm", "--undefined-only", "--format=just-symbols", archive).split("\n"))
    defined = set(_output("nm", "--defined-only", "--format=just-symbols", archive).split("\n"))
    needed = {s for s in undefined if s and not s.endswith(":")} - defined
    if not defined - {""}:
        return [f"{archive} defines nothing"]
    return [f"the core needs '{symbol}'" for symbol in sorted(needed - CORE_ALLOWED_SYMBOLS)]


def export_problems(library, table):
    """Differences between what libpno.so exports and the table of intercepted calls."""
    if not os.path.exists(library):
        return [f"{library} is missing"]
    with open(table, encoding="utf-8") as text:
        listed = set(re.findall(r"^INTERPOSED\w*\([^,]+,\s*(\w+)", text.read(), re.M))
    lines = _output("nm", "--dynamic", "--defined-only", library).splitlines()
    exported = {line.split()[2].split("@")[0] for line in lines if line.split()[1] != "A"}
    needed = set(re.findall(r"NEEDED\)?\s+.*\[(.*)\]", _output("readelf", "-d", library)))
    return ([f"libpno.so exports '{name}', which it does not intercept"
             for name in sorted(exported - listed)]
            + [f"libpno.so lacks '{name}' of its table" for name in sorted(listed - exported)]
            + [f"libpno.so needs {name}" for name in sorted(needed - LIBPNO_MAY_NEED)])


def include_problems(root):
    """Includes against the direction that the architecture allows."""
    problems = []
    for path in _sources(root, "src"):
        shown = os.path.relpath(path, root)
        folder = shown.split(os.sep)[1]
        with open(path, encoding="utf-8") as text:
            headers = re.findall(r'^\s*#\s*include\s+[<"]([^">]+)[">]', text.read(), re.M)
        for header in headers:
            top = header.split("/")[0]
            if top in MAY_INCLUDE and "/" in header and top not in MAY_INCLUDE[folder]:
                problems.append(f"{shown} includes {header}")
            if ALIEN_HEADER.match(header) and folder not in ALIENS_ALLOWED:
                problems.append(f"{shown} includes {header}")
    return problems


def run(options, report):
    _formatting(options, report)
    start = time.monotonic()
    built = os.path.join(options.build, "src")
    report.verdict("static: the core is pure",
                   core_problems(os.path.join(built, "core", "libpno-core.a")))
    report.verdict("static: libpno.so exports what it intercepts and needs libc alone",
                   export_problems(os.path.join(built, "hostlib", "libpno.so"),
                                   os.path.join(options.root, "src/hostlib/interposed.def")))
    report.verdict("static: every call of libc with a descriptor is taken over or left for a reason",
                   libc_calls.problems(options.root))
    report.verdict("static: docs/rfc_compliance.md names tests that exist, and every requirement",
                   rfc_table.problems(options.root))
    report.verdict("static: includes follow the architecture", include_problems(options.root),
                   time.monotonic() - start)
    _tidy(options, report)
