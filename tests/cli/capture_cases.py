"""What `pno capture` shows, filters and survives."""

import os
import pwd
import re
import signal
import struct
import time

from cli_harness import TIMEOUT_S, one_line, require, test


def blocks_of(path):
    """(type, body) of each pcapng block."""
    with open(path, "rb") as file:
        data = file.read()
    while data:
        kind, length = struct.unpack_from("<II", data)
        require(length >= 12 and data[length - 4:length] == data[4:8], "a block's lengths differ")
        yield kind, data[8:length - 4]
        data = data[length:]


def options_of(data):
    options = {}
    while len(data) >= 4:
        code, length = struct.unpack_from("<HH", data)
        options[code] = data[4:4 + length]
        data = data[4 + (length + 3) // 4 * 4:]
    return options


def sum_16(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data[:len(data) // 2 * 2]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total > 0xffff:
        total = (total & 0xffff) + (total >> 16)
    return total


def segment_of(frame):
    """(source port, destination port, payload) of a TCP segment over IPv4, its checksums right."""
    require(frame[12:14] == b"\x08\x00" and frame[23] == 6, "no TCP segment in spite of the filter")
    header = (frame[14] & 15) * 4
    total = struct.unpack_from(">H", frame, 16)[0]
    packet = frame[14:14 + total]
    segment = packet[header:]
    require(sum_16(packet[:header]) == 0xffff, "a wrong IP checksum")
    pseudo = packet[12:20] + struct.pack(">HH", 6, len(segment))
    require(sum_16(pseudo + segment) == 0xffff, "a wrong TCP checksum")
    source, destination = struct.unpack_from(">HH", segment)
    return source, destination, segment[(segment[12] >> 4) * 4:]


def captured(path):
    """[(direction, (source port, destination port, payload))], drops, of a capture file."""
    packets, drops, times = [], 0, []
    for kind, body in blocks_of(path):
        if kind == 6:
            _, high, low, length, _ = struct.unpack_from("<IIIII", body)
            options = options_of(body[20 + (length + 3) // 4 * 4:])
            packets.append((struct.unpack("<I", options[2])[0], segment_of(body[20:20 + length])))
            times.append(high << 32 | low)
        elif kind == 5:
            options = options_of(body[12:])
            drops += struct.unpack("<Q", options[5])[0] + struct.unpack("<Q", options[7])[0]
    require(all(abs(time.time() - ns / 1e9) < 600 for ns in times), "times are not wall-clock time")
    return packets, drops


def start_echo(cli, name, port):
    """An offloaded server that answers each 4 KiB with the same; ready when it is returned."""
    script = ("import socket\n"
              f"l = socket.create_server(('10.77.0.1', {port}))\n"
              "print('ready', flush=True)\n"
              "while True:\n"
              "    c, _ = l.accept()\n"
              "    while d := c.recv(4096): c.sendall(d)\n"
              "    c.close()\n")
    server = cli.start("lab", "--name", name, "exec", "host", "--", "pno", "run", "--",
                       "/usr/bin/python3", "-c", script)
    require(server.stdout.readline() == "ready\n", "the server does not start")
    return server


def ask_echo(cli, name, port):
    script = ("import socket\n"
              f"s = socket.create_connection(('10.77.0.1', {port}))\n"
              "s.sendall(bytes(range(256)) * 16)\n"
              "left = 4096\n"
              "while left: left -= len(s.recv(left))\n")
    done = cli.lab(name, "exec", "client", "--", "/usr/bin/python3", "-c", script)
    cli.expect(done, 0, "client")


def wait_for_bytes(path):
    deadline = time.monotonic() + 10
    while not os.path.exists(path) or os.path.getsize(path) == 0:
        require(time.monotonic() < deadline, "the capture does not begin")
        time.sleep(0.01)


@test
def capture_shows_both_directions_and_filters(cli):
    name = cli.up()
    servers = [start_echo(cli, name, port) for port in (7001, 7002)]
    path = os.path.join(cli.folder, "x.pcapng")
    try:
        capture = cli.start("capture", "--socket", f"/run/pno/{name}.sock", "-w", path,
                            "tcp port 7001")
        wait_for_bytes(path)
        for port in (7002, 7001):
            ask_echo(cli, name, port)
        capture.send_signal(signal.SIGINT)
        _, said = capture.communicate(timeout=TIMEOUT_S)
        require(capture.returncode == 0, f"capture: status {capture.returncode}: {said}")
        packets, drops = captured(path)
        require(drops == 0, f"{drops} frames dropped")
        content = bytes(range(256)) * 16
        received = b"".join(p for way, (_, to, p) in packets if way == 1 and to == 7001)
        sent = b"".join(p for way, (source, _, p) in packets if way == 2 and source == 7001)
        require(received == content and sent == content,
                f"{len(received)} bytes received, {len(sent)} sent, or not those asked")
        require(len([p for p in packets if 7001 not in p[1][:2]]) == 0, "the filter let others by")
        require(said == f"{len(packets)} frames captured, 0 dropped\n", f"says {said!r}")
    finally:
        for server in servers:
            server.kill()
            server.wait()
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def capture_readers_that_misbehave_disturb_nobody(cli):
    name = cli.up()
    server = start_echo(cli, name, 7001)
    socket_path = f"/run/pno/{name}.sock"
    try:
        done = cli.run("capture", "--socket", socket_path, "tcp prt 1")
        cli.expect(done, 1, "a wrong filter")
        require("filter" in one_line(done, "a wrong filter"), done.stderr)
        nobody = pwd.getpwnam("nobody")
        done = cli.run("capture", "--socket", socket_path, user=nobody.pw_uid,
                       group=nobody.pw_gid, extra_groups=[])
        cli.expect(done, 1, "capture as nobody")
        require("root" in one_line(done, "capture as nobody"), done.stderr)
        vanishing, stopped = (cli.start("capture", "--socket", socket_path, "-w", "/dev/null")
                              for _ in range(2))
        time.sleep(0.2)
        stopped.send_signal(signal.SIGSTOP)
        vanishing.kill()
        vanishing.communicate()
        for _ in range(3):
            ask_echo(cli, name, 7001)
        done = cli.run("stats", "--socket", socket_path)
        cli.expect(done, 0, "stats while a reader sleeps")
        stopped.kill()
        stopped.communicate()
        lines = cli.start("capture", "--socket", socket_path, "--print", "-c", "3", "tcp")
        time.sleep(0.2)
        ask_echo(cli, name, 7001)
        shown, _ = lines.communicate(timeout=TIMEOUT_S)
        require([re.search(r"Flags \[(\S+)\]", line).group(1) for line in shown.splitlines()]
                == ["S", "S.", "."], f"no handshake: {shown}")
    finally:
        server.kill()
        server.wait()
    cli.expect(cli.lab(name, "down"), 0, "down")


# Fragmented segments into connections of the kernel's, which then learns of bytes it never sent.
