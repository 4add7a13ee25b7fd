#!/usr/bin/env python3
"""Malformed scripts: whatever they say, pno-packetdrill answers each with one line and dies of none.

usage: mutate.py RUNNER FOLDER [COUNT [SEED]]
"""
import pathlib
import random
import re
import subprocess
import sys
import tempfile

PIECES = ["(", ")", "[", "]", "{", "}", "<", ">", "...", "-1", "99999999999999999999", '"', "`", "%{", "}%", "|", "=",
          "\0", "0x", "~", "+", "*", "4294967295", "65536", "-2147483648", "1e30"]
NUMBERS = ["0", "1", "-1", "255", "65535", "2147483648", "4294967296", "9223372036854775808"]


def mutate(text, chance):
    """A few accidents: pieces put in or taken out, numbers changed, lines swapped."""
    for _ in range(chance.randint(1, 6)):
        kind = chance.random()
        at = chance.randrange(len(text)) if text else 0
        if kind < 0.3:
            text = text[:at] + chance.choice(PIECES) + text[at:]
        elif kind < 0.5:
            text = text[:at] + text[at + chance.randint(1, 12):]
        elif kind < 0.8:
            numbers = list(re.finditer(r"\d+", text))
            if numbers:
                number = chance.choice(numbers)
                text = text[:number.start()] + chance.choice(NUMBERS) + text[number.end():]
        else:
            lines = text.split("\n")
            first, second = chance.randrange(len(lines)), chance.randrange(len(lines))
            lines[first], lines[second] = lines[second], lines[first]
            text = "\n".join(lines)
    return text


def main():
    runner, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    chance = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    sources = [path.read_text() for path in sorted(folder.glob("*/*.pkt"))]
    with tempfile.TemporaryDirectory() as work:
        files = []
        for number in range(count):
            path = pathlib.Path(work) / f"{number}.pkt"
            path.write_text(mutate(chance.choice(sources), chance))
            files.append(str(path))
        said = subprocess.run([runner, *files], capture_output=True, text=True, errors="replace", check=False).stdout
        lines = [line for line in said.split("\n") if line]
        bad = [line for line in lines if "trapped" in line or "hangs" in line]
        answered = sum(line.startswith(("ok ", "not ok ")) for line in lines)
        for line in bad:
            name = line.split()[2].rstrip(":")
            print(line, pathlib.Path(name).read_text(errors="replace"), sep="\n")
    print(f"{count} scripts, {answered} answers, {len(bad)} deaths")
    return 0 if answered == count and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
