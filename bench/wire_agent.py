#!/usr/bin/python3
"""One end of a wire under test: serves, and does what it is told on standard input.

Commands are JSON lines, each answered by a JSON line:
    {"do": "bulk", "peer": ADDR, "congestion_control": NAME, "seconds": S}
        send for so long; the peer checks each byte -> {"bytes": N, "seconds": S}, as it received
    {"do": "rpc", "peer": ADDR, "congestion_control": NAME, "seconds": S, "connections": N}
        1 KB requests, 1 KB answers, one at a time on each connection -> {"us": [each one's time]}
A connection begins with one line of JSON that says what it is for. Not here: judging (bench_wire.py).
"""

import json
import random
import selectors
import socket
import struct
import sys
import threading
import time

PORT = 7777
RPC_BYTES = 1024
CHUNK = 256 * 1024
PATTERN = random.Random(1).randbytes(65521)
STREAM = memoryview(PATTERN * (CHUNK // len(PATTERN) + 2))
CONNECT_TIMEOUT_S = 15
PATIENCE_S = 30


def choose_congestion_control(connection, name):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    got = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    if got.rstrip(b"\0").decode() != name:
        raise OSError(f"congestion control is {got!r} after {name} was set")


def connect(order):
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_TIMEOUT_S)
    choose_congestion_control(connection, order["congestion_control"])
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect((order["peer"], PORT))
    connection.sendall(json.dumps(order).encode() + b"\n")
    return connection


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise OSError("the peer closed early")
        line += byte
    return json.loads(line)


# ---- The serving end ---------------------------------------------------------------------


def serve(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_one, args=(connection,), daemon=True).start()


def serve_one(connection):
    with connection:
        try:
            connection.settimeout(PATIENCE_S)
            order = read_line(connection)
            choose_congestion_control(connection, order["congestion_control"])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if order["do"] == "bulk":
                answer = take_stream(connection, order["seconds"])
                connection.sendall(json.dumps(answer).encode() + b"\n")
                while connection.recv(CHUNK):  # closing now would reset, and lose the answer
                    pass
            else:
                answer_requests(connection)
        except OSError:
            pass  # the peer is done, or says so itself


def take_stream(connection, seconds):
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    received = 0
    start = time.monotonic()
    while (left := start + seconds - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            got = connection.recv_into(buffer)
        except TimeoutError:
            break
        if got == 0:
            return {"error": "the stream ended early"}
        at = received % len(PATTERN)
        if view[:got] != STREAM[at:at + got]:
            return {"error": f"wrong bytes after {received}"}
        received += got
    elapsed = time.monotonic() - start
    connection.settimeout(PATIENCE_S)
    return {"bytes": received, "seconds": elapsed}


def answer_requests(connection):
    while True:
        request = b""
        while len(request) < RPC_BYTES:
            piece = connection.recv(RPC_BYTES - len(request))
            if not piece:
                return
            request += piece
        connection.sendall(request)


# ---- The end that is told ----------------------------------------------------------------


def do_bulk(order):
    """Send until the answer comes."""
    connection = connect(order)
    sent = 0
    deadline = time.monotonic() + order["seconds"] + PATIENCE_S
    with connection, selectors.DefaultSelector() as selector:
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while time.monotonic() < deadline:
            for _, events in selector.select(1):
                if events & selectors.EVENT_READ:
                    connection.settimeout(PATIENCE_S)
                    answer = read_line(connection)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                          struct.pack("ii", 1, 0))
                    return answer
                at = sent % len(PATTERN)
                sent += connection.send(STREAM[at:at + 65536])
    return {"error": "no answer from the peer"}


def do_rpc(order):
    times_us, begun, received = [], {}, {}
    request = PATTERN[:RPC_BYTES]
    deadline = time.monotonic() + order["seconds"]
    connections = [connect(order) for _ in range(order["connections"])]
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        deadline = time.monotonic() + order["seconds"]
        for connection in connections:
            begun[connection], received[connection] = time.monotonic(), b""
            connection.send(request)
        give_up = deadline + PATIENCE_S
        while begun and time.monotonic() < give_up:
            for key, _ in selector.select(1):
                connection = key.fileobj
                received[connection] += connection.recv(RPC_BYTES)
                if len(received[connection]) < RPC_BYTES:
                    continue
                now = time.monotonic()
                if received[connection] != request:
                    return {"error": "a wrong answer"}
                times_us.append((now - begun.pop(connection)) * 1e6)
                if now < deadline:
                    begun[connection], received[connection] = now, b""
                    connection.send(request)
        for connection in connections:
            connection.close()
    return {"error": "an answer never came"} if begun else {"us": times_us}


def main():
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", PORT))
    listener.listen(64)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = (do_bulk if order["do"] == "bulk" else do_rpc)(order)
        except OSError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
