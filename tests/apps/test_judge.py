"""The judge of captures judges: a clean conversation passes, and each fault that it looks for is found."""

import os
import socket
import struct

from harness import judge
from harness.lab import CLIENT_V4, HOST_V4
from harness.process import Failure, need_program, require
from harness.registry import test

SYN, ACK = 0x02, 0x10
CLIENT_PORT, HOST_PORT = 40000, 80
CLIENT_ISS, HOST_ISS = 1000, 5000
WINDOW = 4096


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(from_host, seq, ack, flags, length=0, options=b"", spoil=0, left_to_port=False):
    """An Ethernet frame of the conversation; `spoil` is added to the TCP checksum, which is the
    pseudo-header's alone if it is left to the port."""
    source, target = (HOST_V4, CLIENT_V4) if from_host else (CLIENT_V4, HOST_V4)
    ports = (HOST_PORT, CLIENT_PORT) if from_host else (CLIENT_PORT, HOST_PORT)
    payload = b"x" * length
    header = struct.pack(">HHIIBBHHH", *ports, seq, ack, (20 + len(options)) // 4 << 4, flags, WINDOW,
                         0, 0) + options
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    segment = header + payload
    pseudo_header = addresses + struct.pack(">BBH", 0, 6, len(segment))
    total = ~checksum(pseudo_header) if left_to_port else checksum(pseudo_header + segment)
    segment = header[:16] + struct.pack(">H", (total + spoil) & 0xFFFF) + header[18:] + payload
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, 6, 0) + addresses
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return b"\2\0\0\0\0\1" + b"\2\0\0\0\0\2" + b"\x08\0" + ip + segment


def opening(options=b""):
    return [frame(False, CLIENT_ISS, 0, SYN),
            frame(True, HOST_ISS, CLIENT_ISS + 1, SYN | ACK, options=options),
            frame(False, CLIENT_ISS + 1, HOST_ISS + 1, ACK),
            frame(False, CLIENT_ISS + 1, HOST_ISS + 1, ACK, 10),
            frame(True, HOST_ISS + 1, CLIENT_ISS + 11, ACK, 100),
            frame(False, CLIENT_ISS + 11, HOST_ISS + 101, ACK)]


def sent_twice(ticks):
    """Acknowledged between two transmissions that the sender made `ticks` apart."""
    first, again = (b"\1\1" + struct.pack(">BBII", 8, 10, 7000 + made, 1) for made in (0, ticks))
    at = HOST_ISS + 101
    return opening() + [frame(True, at, CLIENT_ISS + 11, ACK, 100, options=first),
                        frame(False, CLIENT_ISS + 11, at + 100, ACK),
                        frame(True, at + 100, CLIENT_ISS + 11, ACK),
                        frame(True, at, CLIENT_ISS + 11, ACK, 100, options=again)]


def write_capture(path, frames):
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, data in enumerate(frames):
            file.write(struct.pack("<IIII", 1, number * 100, len(data), len(data)) + data)


FAULTS = {
    "bad checksum": lambda: opening() + [frame(True, HOST_ISS + 101, CLIENT_ISS + 11, ACK, 5, spoil=1)],
    "1 bytes beyond the window": lambda: opening() + [
        frame(True, HOST_ISS + 101, CLIENT_ISS + 11, ACK, WINDOW // 4),
        frame(True, HOST_ISS + 101 + WINDOW - 99, CLIENT_ISS + 11, ACK, 100)],
    "acknowledges what was never sent": lambda: opening() + [
        frame(True, HOST_ISS + 101, CLIENT_ISS + 12, ACK)],
    "retransmits 0.20 ms later what was acknowledged": lambda: opening() + [
        frame(True, HOST_ISS + 1, CLIENT_ISS + 11, ACK, 100)],
    "retransmits 0.30 ms later what was acknowledged": lambda: sent_twice(1),
    "malformed header or option": lambda: opening(options=b"\2\5\5\xb4"),
}


@test()
def judge_finds_faults(context):
    need_program("tshark")
    path = os.path.join(context.folder, "crafted.pcap")
    write_capture(path, opening())
    looked_at = judge.judge(path, (HOST_V4,), 0)
    require(looked_at == 2, f"{looked_at} frames of the host's were judged instead of 2")
    write_capture(path, sent_twice(5))
    require(judge.judge(path, (HOST_V4,), 0) == 5, "what the wire's end had held up was blamed")
    unfinished = opening() + [frame(True, HOST_ISS + 101, CLIENT_ISS + 11, ACK, 5, left_to_port=True)]
    write_capture(path, unfinished)
    require(judge.judge(path, (HOST_V4,), 0, offloads=True) == 3, "a checksum left to the port")
    expect_fault(path, "bad checksum")
    for wanted, frames in FAULTS.items():
        write_capture(path, frames())
        expect_fault(path, wanted)
    write_capture(path, FAULTS["bad checksum"]())
    expect_fault(path, "bad checksum", offloads=True)


def expect_fault(path, wanted, **how):
    try:
        judge.judge(path, (HOST_V4,), 0, **how)
    except Failure as failure:
        require(wanted in str(failure), f"'{wanted}' was taken for: {failure}")
    else:
        raise Failure(f"'{wanted}' was not noticed")
