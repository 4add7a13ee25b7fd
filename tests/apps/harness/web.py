"""Web servers' tests: files to serve, clients that compare every byte, and load that goes on while
the server is reloaded or killed."""

import hashlib
import http.client
import os
import re
import ssl
import threading

from .lab import HOST_V4
from .process import Failure, require, short, wait_until

PORT = 8080
TLS_PORT = 8443
SIZES = (0, 1, 1024, 16384, 262144, 5_000_000)
REQUESTS_PER_CONNECTION = 5


class Site:
    """A folder of random files, readable by whichever user a server becomes."""

    def __init__(self, lab, sizes=SIZES):
        self.folder = os.path.join(lab.folder, "site")
        self.sums, self.sizes = {}, {}
        os.makedirs(self.folder)
        for size in sizes:
            self.add(f"f{size}", os.urandom(min(size, 1 << 20)), size)
        for path in (os.path.dirname(lab.folder), lab.folder, self.folder):
            os.chmod(path, 0o755)

    def add(self, name, block, size):
        """A file of `size` bytes, `block` after `block`, each numbered so that none can be confused."""
        digest = hashlib.sha256()
        with open(os.path.join(self.folder, name), "wb") as file:
            for start in range(0, size, max(1, len(block))):
                part = (b"%d:" % start + block)[:size - start] if start else block[:size]
                part = part[:len(block)]
                digest.update(part)
                file.write(part)
        self.expect(name, digest.hexdigest(), size)

    def expect(self, name, digest, size):
        """What comes when `name` is asked for, file or not."""
        self.sums[name], self.sizes[name] = digest, size

    def check(self, name, data, what=""):
        if hashlib.sha256(data).hexdigest() != self.sums[name]:
            raise Failure(f"{name}{what}: {self._difference(name, data)}")

    def _difference(self, name, data):
        if len(data) != self.sizes[name]:
            return f"{len(data)} bytes came instead of {self.sizes[name]}"
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            return "other bytes came"
        with open(path, "rb") as file:
            wanted = file.read()
        wrong = [at for at, (a, b) in enumerate(zip(wanted, data)) if a != b]
        source = wanted.find(data[wrong[0]:wrong[0] + 16])
        return (f"{len(wrong)} bytes differ, from {wrong[0]} to {wrong[-1]}; what came there is "
                f"{'nowhere in it' if source < 0 else f'at {source} of it'}: "
                f"{data[wrong[0]:wrong[0] + 16].hex()}")


def write_config(lab, name, text):
    path = os.path.join(lab.folder, name)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def curl(lab, urls, offload=None, options=(), timeout_s=60):
    """What curl prints: from the client's end, or from the host's (offloaded or not)."""
    argv = ["curl", "-sSf", "--max-time", str(timeout_s), *options, *urls]
    run = lab.run_client if offload is None else lambda a, **k: lab.run_host(a, offload, **k)
    return run(argv, timeout_s=timeout_s + 5).stdout


def fetch_all(lab, site, rounds=3, base=f"http://{HOST_V4}:{PORT}", options=()):
    """Every file, by connections of their own and several over one, by curl from the client's end."""
    for _ in range(rounds):
        for name in site.sums:
            site.check(name, curl(lab, [f"{base}/{name}"], options=options))
    out = os.path.join(lab.folder, "fetched")
    os.makedirs(out, exist_ok=True)
    words = []
    for name in site.sums:
        words += ["-o", os.path.join(out, name), f"{base}/{name}"]
    curl(lab, words, options=options)
    for name in site.sums:
        with open(os.path.join(out, name), "rb") as file:
            site.check(name, file.read(), " on a kept-alive connection")


def make_certificate(lab):
    """A self-signed certificate and its key: (certificate, key)."""
    certificate, key = (os.path.join(lab.folder, name) for name in ("cert.pem", "key.pem"))
    lab.run_client(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=pno.test", "-addext", f"subjectAltName=IP:{HOST_V4}", "-keyout", key, "-out",
                    certificate], timeout_s=30)
    for path in (certificate, key):
        os.chmod(path, 0o644)
    return certificate, key


class _Connection(http.client.HTTPConnection):
    """HTTP from the client's end of the wire."""

    def __init__(self, lab, port, tls, timeout):
        super().__init__(HOST_V4, port, timeout=timeout)
        self._lab, self._tls = lab, tls

    def connect(self):
        self.sock = self._lab.connect(self.port, timeout=self.timeout)
        if self._tls:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=HOST_V4)


class Load:
    """Clients that fetch and compare until told to stop; no request may fail.

    As any HTTP client they ask again when a connection that they had kept open is closed before the
    first byte of an answer (RFC 9112 §9.3.1); nothing else is forgiven.
    """

    def __init__(self, lab, site, clients=4, port=PORT, certificate=None, names=None, timeout=20.0):
        self._lab, self._site, self._port, self._timeout = lab, site, port, timeout
        self._tls = ssl.create_default_context(cafile=certificate) if certificate else None
        self._names = names or [n for n in site.sums if site.sizes[n] <= 1 << 20]
        self._stop = threading.Event()
        self.failures = []
        self.requests = [0] * clients
        self._threads = [threading.Thread(target=self._work, args=(i,), daemon=True)
                         for i in range(clients)]

    def _work(self, number):
        turn = number
        try:
            while not self._stop.is_set():
                turn = self._one_connection(number, turn)
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(f"client {number} after {self.requests[number]} requests: "
                                 f"{type(error).__name__}: {error}")

    def _one_connection(self, number, turn):
        connection = _Connection(self._lab, self._port, self._tls, self._timeout)
        try:
            for request in range(1 + turn % REQUESTS_PER_CONNECTION):
                name = self._names[turn % len(self._names)]
                try:
                    connection.request("GET", f"/{name}")
                    answer = connection.getresponse()
                except (http.client.RemoteDisconnected, ConnectionError):
                    if request == 0:
                        raise
                    return turn
                require(answer.status == 200, f"{name}: status {answer.status}")
                self._site.check(name, answer.read(), " under load")
                self.requests[number] += 1
                turn += 1
                if self._stop.is_set() or answer.will_close:
                    break
        finally:
            connection.close()
        return turn

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(self._timeout + 5)

    def wait_progress(self, requests=5, timeout_s=30.0):
        """Until every client has been served so many times more."""
        goal = [done + requests for done in self.requests]
        wait_until(lambda: self.failures or all(d >= g for d, g in zip(self.requests, goal)),
                   "progress under load", timeout_s)
        self.check()

    def check(self):
        require(not self.failures, "; ".join(self.failures[:2]))


WRK_TOTAL = re.compile(r"(\d+) requests in ")


def run_wrk(lab, url, offload=None, seconds=2, connections=50, threads=2):
    """wrk from the client's end or the host's: every answer 200, no socket error; how many requests."""
    argv = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", url]
    run = lab.run_client if offload is None else lambda a, **k: lab.run_host(a, offload, **k)
    text = run(argv, timeout_s=seconds + 60).stdout.decode()
    for complaint in ("Socket errors", "Non-2xx"):
        for line in text.splitlines():
            if complaint in line:
                raise Failure(f"{short(argv)}: {line.strip()}")
    total = WRK_TOTAL.search(text)
    require(total and int(total.group(1)) > 0, f"{short(argv)}: {text[-200:]!r}")
    return int(total.group(1))


def run_ab(lab, url, size, requests=2000, connections=20, keep_alive=True, offload=None):
    """ab likewise: all requests complete, none failed, and the bytes of the bodies add up."""
    argv = ["ab", "-q", "-n", str(requests), "-c", str(connections), *(["-k"] if keep_alive else []),
            url]
    run = lab.run_client if offload is None else lambda a, **k: lab.run_host(a, offload, **k)
    text = run(argv, timeout_s=90).stdout.decode()
    figures = dict(re.findall(r"^(Complete requests|Failed requests|HTML transferred):\s+(\d+)", text,
                              re.M))
    wanted = {"Complete requests": str(requests), "Failed requests": "0",
              "HTML transferred": str(requests * size)}
    require(figures == wanted, f"{short(argv)}: {figures} instead of {wanted}")
    require("Non-2xx" not in text, f"{short(argv)}: answers other than 200")
