"""docs/rfc_compliance.md held to what it says: every test it names exists, and each numbered requirement of
RFC 9293 (appendix B) has a row."""

import glob
import os
import re

TABLE = "docs/rfc_compliance.md"
MUSTS, SHOULDS, MAYS = range(1, 70), range(1, 32), range(1, 19)
NO_TEST_NEEDED = ("no", "n/a")
UNIT_TEST = re.compile(r"^ +(?:TEST|ATTACK)\w*\((\w+)|cmocka_unit_test\w*\((\w+)", re.MULTILINE)
SCENARIO = re.compile(r'^ +\{"(\w+)", "', re.MULTILINE)


def _names(root, pattern, expression):
    """What the expression finds in the files of a pattern, by the file's name without suffix."""
    found = {}
    for path in glob.glob(os.path.join(root, pattern)):
        with open(path, encoding="utf-8") as file:
            names = {next(filter(None, m.groups())) for m in expression.finditer(file.read())}
        found.setdefault(os.path.splitext(os.path.basename(path))[0], set()).update(names)
    return found


def _tests(root):
    """Every name that the table may use."""
    known = {"simulation", "goodput"}
    for name, tests in _names(root, "tests/unit/core/tcp/test_*.c", UNIT_TEST).items():
        known |= {f"{name.removeprefix('test_')}/{test}" for test in tests}
    for name, tests in _names(root, "tests/unit/core/test_ip_*.c", UNIT_TEST).items():
        known |= {f"{name.removeprefix('test_')}/{test}" for test in tests}
    for tests in _names(root, "tests/attack/test_*.c", UNIT_TEST).values():
        known |= {f"attack/{test}" for test in tests}
    for scenarios in _names(root, "tests/simulation/*.c", SCENARIO).values():
        known |= {f"simulation/{scenario}" for scenario in scenarios}
    for path in glob.glob(os.path.join(root, "tests/packet_scripts/*/*.pkt")):
        known.add("/".join(path.split(os.sep)[-2:]))
    return known


def _exists(root, name, known):
    if name.startswith("tests/"):
        return os.path.exists(os.path.join(root, name))
    if name.endswith("/*.pkt"):
        return any(test.startswith(name[:-5]) and test.endswith(".pkt") for test in known)
    if "…" in name:
        pattern = re.compile(re.escape(name).replace("…", r"\w*") + r"\Z")
        return any(pattern.match(test) for test in known)
    return name in known


def _rows(root):
    """(line, first cell, status, tests) of each row."""
    with open(os.path.join(root, TABLE), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if line.startswith("|") and len(cells) == 4 and cells[0] not in ("id", "section") \
                    and not cells[0].startswith("---"):
                yield number, cells[0], cells[2], re.findall(r"`([^`]+)`", cells[3])


def problems(root):
    known, found, wanted = _tests(root), [], {f"MUST-{n}" for n in MUSTS}
    wanted |= {f"SHLD-{n}" for n in SHOULDS} | {f"MAY-{n}" for n in MAYS}
    for line, first, status, tests in _rows(root):
        wanted -= set(re.findall(r"(?:MUST|SHLD|MAY)-\d+", first))
        found += [f"{TABLE}:{line}: no test '{name}'" for name in tests
                  if not _exists(root, name, known)]
        if not tests and not status.startswith(NO_TEST_NEEDED):
            found.append(f"{TABLE}:{line}: '{status}' without a test")
    return found + [f"{TABLE}: no row for {name}" for name in sorted(wanted)]


if __name__ == "__main__":
    import sys
    complaints = problems(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    print("\n".join(complaints))
    sys.exit(bool(complaints))
