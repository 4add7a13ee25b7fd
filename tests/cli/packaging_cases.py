"""PnO as it is installed, and in a container: what is where, and what a program needs to see of it."""

import json
import os
import re
import subprocess

from cli_harness import TIMEOUT_S, require, test

REPOSITORY = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))

@test
def manual_pages_name_every_option(cli):
    for page, helps in (("pno.1", [(cli.pno, command, "--help") for command in
                                   ("run", "lab", "ss", "stats", "top", "capture")]),
                        ("pnod.8", [(os.path.join(cli.pno, "../../engine/pnod"), "--help")])):
        with open(os.path.join(REPOSITORY, "docs/man", page), encoding="utf-8") as text:
            named = set(re.findall(r"--[a-z0-9-]+", text.read().replace("\\-", "-")))
        for argv in helps:
            said = subprocess.run((os.path.realpath(argv[0]), *argv[1:]), stdout=subprocess.PIPE,
                                  text=True, timeout=TIMEOUT_S, check=True).stdout
            options = set(re.findall(r"^ +(?:-\S, )?(--[a-z0-9-]+)", said, re.MULTILINE)) - {"--usage"}
            require(len(options) > 1 and options <= named,
                    f"{page} lacks {sorted(options - named)} of {' '.join(argv[1:])}")


SERVER = """
import os, socket
assert os.listdir('/run') == [], 'more than the socket is to be seen'
listener = socket.create_server(('0.0.0.0', 7001))
connection = listener.accept()[0]
connection.sendall(b'contained')
connection.close()
"""

# Its own mounts and network; of /run nothing, of pnod its socket alone.
CONTAINER = """
set -e
touch "$1"/pnod.sock
mount --bind "$2" "$1"/pnod.sock
mount -t tmpfs none /run
exec "$3" run --socket "$1"/pnod.sock -- /usr/bin/python3 -c "$4"
"""


@test
def a_container_needs_the_control_socket_alone(cli):
    name = cli.up()
    program = subprocess.Popen(["unshare", "-m", "-n", "sh", "-c", CONTAINER, "sh", cli.folder,
                                f"/run/pno/{name}.sock", cli.pno, SERVER], stderr=subprocess.PIPE,
                               text=True)
    client = ("import socket, time\n"
              "for _ in range(100):\n"
              "    try: s = socket.create_connection(('10.77.0.1', 7001), 5); break\n"
              "    except ConnectionRefusedError: time.sleep(0.1)\n"
              "print(s.recv(100).decode())\n")
    try:
        done = cli.lab(name, "exec", "client", "--", "/usr/bin/python3", "-c", client)
        require(done.stdout == "contained\n", f"the client got {done.stdout!r}: {done.stderr[-200:]}")
        _, said = program.communicate(timeout=TIMEOUT_S)
        require(program.returncode == 0, f"status {program.returncode}: {said[-300:]}")
    finally:
        program.kill()
        program.communicate()
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def an_installed_tree_is_whole(cli):
    build = os.path.realpath(os.path.join(os.path.dirname(cli.pno), "../.."))
    root = os.path.join(cli.folder, "root")
    subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", root],
                   check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S)
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            found.setdefault(name, os.path.join(folder, name))
    for name in ("pno", "pnod", "libpno.so", "pno-wire", "pno.1", "pnod.8"):
        require(name in found or name + ".gz" in found, f"{name} is not installed")
    done = subprocess.run([found["pno"], "run", "--socket", "/nowhere/x.sock", "--", "env"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          timeout=TIMEOUT_S)
    require(f"LD_PRELOAD={found['libpno.so']}\n" in done.stdout,
            f"the installed pno does not find its library: {done.stderr}")


@test
def the_package_installs_what_its_unit_starts(_cli):
    packaging = os.path.join(REPOSITORY, "packaging")
    with open(os.path.join(packaging, "pnod.json"), encoding="ascii") as file:
        require("port" in json.load(file), "the configuration names no port")
    with open(os.path.join(packaging, "pnod.service"), encoding="ascii") as file:
        start = [line for line in file if line.startswith("ExecStart=")]
    require(start == ["ExecStart=/usr/local/sbin/pnod --config /etc/pno/pnod.json\n"], f"{start}")
    done = subprocess.run(["dpkg-parsechangelog", "-l", os.path.join(packaging, "debian/changelog"),
                           "-S", "Version"], stdout=subprocess.PIPE, text=True, check=True)
    with open(os.path.join(REPOSITORY, "meson.build"), encoding="ascii") as file:
        require(f"version: '{done.stdout.strip()}'" in file.read(), "versions differ")
