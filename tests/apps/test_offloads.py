"""A port that segments what it sends and takes what was joined: bulk both ways, every byte compared."""

import hashlib
import os
import random
import threading

from harness import judge
from harness.lab import HOST_V4, HOST_V6
from harness.process import require, wait_until
from harness.registry import test

PORT = 7001
BYTES = 48 << 20

# Tells the digest of what came; sends what seed and length say. Writes of odd sizes.
SERVER = """
import hashlib, random, socket, sys
family, port, bytes_each_way = socket.AF_INET6, int(sys.argv[1]), int(sys.argv[2])
listener = socket.create_server(("::", port), family=family, dualstack_ipv6=True)
while True:
    connection, _ = listener.accept()
    digest, left = hashlib.sha256(), bytes_each_way
    while left:
        data = connection.recv(min(left, 300_000))
        if not data:
            break
        digest.update(data)
        left -= len(data)
    if left:
        connection.close()
        continue
    connection.sendall(digest.digest())
    payload, at, sizes = random.Random(bytes_each_way).randbytes(bytes_each_way), 0, random.Random(7)
    while at < bytes_each_way:
        size = sizes.choice((1, 100, 1448, 5000, 70_000, 1_000_000))
        connection.sendall(payload[at:at + size])
        at += size
    connection.close()
"""


def exchange(lab, address, payload):
    """Send all and learn its digest, then compare what the server sends."""
    with lab.connect(PORT, address, timeout=60) as connection:
        sender = threading.Thread(target=connection.sendall, args=(payload,))
        sender.start()
        received = bytearray()
        while chunk := connection.recv(1 << 20):
            received += chunk
        sender.join()
    require(bytes(received[:32]) == hashlib.sha256(payload).digest(),
            f"{address}: not what was sent arrived")
    require(received[32:] == random.Random(len(payload)).randbytes(len(payload)),
            f"{address}: not what was sent came back")


def engine_counters(lab):
    return lab.stats()["cores"][0]["counters"]


@test(timeout_s=120, pno_only=True)
def offloads_keep_every_byte(context):
    """Over both families, and in frames of many segments each way."""
    lab = context.up(port="af_packet")
    server = lab.start_host("server", ["python3", "-c", SERVER, str(PORT), str(BYTES)])
    lab.wait_listening(server, PORT)
    before = engine_counters(lab)
    payload = random.Random(1).randbytes(BYTES)
    for address in (HOST_V4, HOST_V6):
        exchange(lab, address, payload)
    after = engine_counters(lab)
    for way in ("in", "out"):
        segments, frames = (after[f"{what}_{way}"] - before[f"{what}_{way}"]
                            for what in ("segments", "frames"))
        # Half of the segments may be acknowledgements, alone in their frames.
        require(segments > 2 * frames, f"{way}: {segments} segments came in {frames} frames")


@test(timeout_s=120, pno_only=True)
def offloads_and_their_capture(context):
    """`pno capture` shows whole frames: no checksum is left to anybody."""
    lab = context.up(port="af_packet")
    path = os.path.join(context.folder, "engine.pcapng")
    capture = lab.start_host("capture", [lab.pno, "capture", "-w", path], offload=False)
    wait_until(lambda: os.path.exists(path) and os.path.getsize(path) > 0, "pno capture begins")
    server = lab.start_host("server", ["python3", "-c", SERVER, str(PORT), str(1 << 20)])
    lab.wait_listening(server, PORT)
    exchange(lab, HOST_V4, random.Random(1).randbytes(1 << 20))
    exchange(lab, HOST_V6, random.Random(2).randbytes(1 << 20))
    capture.stop()
    both = (*lab.host_addresses, "10.77.0.2", "fd77::2")
    require(judge.judge(path, both, lost=1) > 20, "the capture is nearly empty")
