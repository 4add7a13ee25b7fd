"""Redis: commands, values of all sizes, publish and subscribe, both families, its benchmark."""

import csv
import hashlib
import io
import random

from harness.lab import CLIENT_V4, HOST_V4, HOST_V6
from harness.process import Failure, require
from harness.registry import test
from harness.servers import REDIS_PORT, start_redis

# What redis-benchmark 7.0 runs when it is not told what to run.
BENCHMARK_LIST = ("PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP",
                  "RPOP", "SADD", "HSET", "SPOP", "ZADD", "ZPOPMIN",
                  "LPUSH (needed to benchmark LRANGE)", "LRANGE_100 (first 100 elements)",
                  "LRANGE_300 (first 300 elements)", "LRANGE_500 (first 500 elements)",
                  "LRANGE_600 (first 600 elements)", "MSET (10 keys)")
# Where others keep the processors busy, a turn of three processes takes some ms, and there are 30,000.
BENCHMARK_TIMEOUT_S = 300
VALUE_SIZES = (3, 1024, 100 * 1024, 10 * 1024 * 1024)


def random_bytes(size, seed):
    return random.Random(seed).randbytes(size)


@test()
def redis_ping(context):
    """The thin path, by redis-cli and by hand."""
    lab = context.up()
    redis = start_redis(lab)
    answer = lab.run_client(["redis-cli", "-h", HOST_V4, "PING"], timeout_s=10).stdout
    require(answer == b"PONG\n", f"redis-cli PING answered {answer!r}")
    with redis.client() as client:
        for word in (b"x", b"", b"\r\n\0\xff", b"y" * 5000):
            require(client.command("ECHO", word) == word, f"ECHO of {len(word)} bytes differs")
        require(client.command("QUIT") == b"OK", "QUIT not answered")
        require(client.connection.recv(1) == b"", "no end of stream after QUIT")
    redis.program.stop()
    lab.assert_nothing_left()


@test()
def redis_ipv6(context):
    lab = context.up()
    redis = start_redis(lab)
    answer = lab.run_client(["redis-cli", "-h", HOST_V6, "PING"], timeout_s=10).stdout
    require(answer == b"PONG\n", f"redis-cli PING over IPv6 answered {answer!r}")
    with redis.client(HOST_V6) as client:
        for size in VALUE_SIZES:
            value = random_bytes(size, size)
            client.command("SET", f"v{size}", value)
            require(client.command("GET", f"v{size}") == value, f"{size} bytes differ over IPv6")
        name = client.command("CLIENT", "LIST").decode()
        require("addr=[fd77::2]:" in name, f"redis sees another peer: {name[:120]}")


@test()
def redis_local_clients(context):
    """A wildcard listener serves lo and the wire at once."""
    lab = context.up()
    redis = start_redis(lab)
    with redis.client() as client:
        for turn in range(20):
            client.command("SET", "k", f"wire{turn}")
            for address in ("127.0.0.1", "::1"):
                answer = lab.run_host(["redis-cli", "-h", address, "GET", "k"], offload=False,
                                      timeout_s=10).stdout
                require(answer == f"wire{turn}\n".encode(), f"over {address}: {answer!r}")


@test(timeout_s=90)
def redis_values(context):
    """Values of 3 B to 10 MB, read back over another connection and compared."""
    lab = context.up()
    redis = start_redis(lab)
    compare_values(redis)
    digest = hashlib.sha256()
    with redis.client(timeout=30) as client:
        digest.update(client.command("GET", f"v{VALUE_SIZES[-1]}"))
    done = lab.run_client(["redis-cli", "-h", HOST_V4, "GET", f"v{VALUE_SIZES[-1]}"], timeout_s=30)
    require(hashlib.sha256(done.stdout[:-1]).hexdigest() == digest.hexdigest(),
            "redis-cli got other bytes")


def compare_values(redis):
    with redis.client(timeout=30) as writer, redis.client(timeout=30) as reader:
        for size in VALUE_SIZES:
            for turn in range(3):
                value = random_bytes(size, size + turn)
                require(writer.command("SET", f"v{size}", value) == b"OK", f"SET of {size} bytes")
                back = reader.command("GET", f"v{size}")
                if back != value:
                    raise Failure(describe_difference(size, value, back))


def describe_difference(size, wanted, got):
    if got is None or len(got) != len(wanted):
        return f"{size} bytes: {None if got is None else len(got)} came back"
    at = next(i for i, (a, b) in enumerate(zip(wanted, got)) if a != b)
    return f"{size} bytes: differ first at byte {at}"


@test(timeout_s=60)
def redis_pipeline(context):
    """Deep pipelines both ways: thousands of commands written before the first reply is read."""
    lab = context.up()
    redis = start_redis(lab)
    with redis.client(timeout=20) as client:
        for size, count in ((8, 20000), (1500, 4000), (65536, 100)):
            values = [random_bytes(size, i) for i in range(count)]
            batch = b"".join(client.encode("SET", f"p{i}", v) for i, v in enumerate(values))
            client.connection.sendall(batch)
            require(all(client.reply() == b"OK" for _ in values), "a pipelined SET failed")
            client.connection.sendall(b"".join(client.encode("GET", f"p{i}")
                                               for i in range(count)))
            for i, value in enumerate(values):
                require(client.reply() == value, f"pipelined GET {i} of {size} bytes differs")


@test(timeout_s=60)
def redis_slow_reader(context):
    """A client that does not read closes its window; all arrives once it does."""
    lab = context.up()
    redis = start_redis(lab)
    value = random_bytes(1 << 20, 7)
    with redis.client(timeout=20) as slow, redis.client() as other:
        other.command("SET", "big", value)
        for _ in range(32):
            slow.send("GET", "big")
        for turn in range(2000):
            require(other.command("ECHO", str(turn)) == str(turn).encode(), "another client stalls")
        for turn in range(32):
            require(slow.reply() == value, f"reply {turn} after the window reopened differs")


@test(timeout_s=60)
def redis_pubsub(context):
    """Every subscriber gets every message, whole and in order."""
    subscribers_count, messages = 20, 2000
    lab = context.up()
    redis = start_redis(lab)
    subscribers = [redis.client() for _ in range(subscribers_count)]
    for subscriber in subscribers:
        require(subscriber.command("SUBSCRIBE", "news")[:2] == [b"subscribe", b"news"], "SUBSCRIBE")
    with redis.client() as publisher:
        for start in range(0, messages, 100):
            publisher.connection.sendall(b"".join(
                publisher.encode("PUBLISH", "news", message(i)) for i in range(start, start + 100)))
            for _ in range(100):
                require(publisher.reply() == subscribers_count, "PUBLISH reached too few")
            for subscriber in subscribers:
                for i in range(start, start + 100):
                    got = subscriber.reply()
                    require(got == [b"message", b"news", message(i)], f"message {i} differs")
    for subscriber in subscribers:
        subscriber.close()


def message(number):
    return b"%d:" % number + b"m" * (number % 700)


def run_benchmark(context, connections, depth, requests):
    """The whole default list; every test must be in the result, with a rate."""
    lab = context.up()
    redis = start_redis(lab)
    words = ["redis-benchmark", "-h", HOST_V4, "-p", str(REDIS_PORT), "-c", str(connections), "-P",
             str(depth), "-n", str(requests), "--csv"]
    done = lab.run_client(words, timeout_s=BENCHMARK_TIMEOUT_S)
    rates = {row["test"]: float(row["rps"])
             for row in csv.DictReader(io.StringIO(done.stdout.decode()))}
    for name in BENCHMARK_LIST:
        # redis-benchmark names the list with its parameters in parentheses; compare what precedes.
        found = [rate for test_name, rate in rates.items()
                 if test_name.startswith(name.split(" (")[0])]
        require(found and min(found) > 0, f"{name} did not run: {sorted(rates)}")
    with redis.client() as client:
        require(client.command("PING") == b"PONG", "no PONG afterwards")
        errors = int(client.info("stats")["total_error_replies"])
        require(errors == 0, f"redis gave {errors} error replies")
    redis.program.stop()
    lab.assert_nothing_left()


@test(timeout_s=BENCHMARK_TIMEOUT_S + 30)
def redis_benchmark_50(context):
    run_benchmark(context, 50, 1, 10000)


@test(timeout_s=BENCHMARK_TIMEOUT_S + 30)
def redis_benchmark_50_pipelined(context):
    run_benchmark(context, 50, 16, 20000)


@test(timeout_s=BENCHMARK_TIMEOUT_S + 30)
def redis_benchmark_1(context):
    run_benchmark(context, 1, 1, 1500)


@test(timeout_s=BENCHMARK_TIMEOUT_S + 30)
def redis_benchmark_1_pipelined(context):
    run_benchmark(context, 1, 16, 8000)


@test(timeout_s=BENCHMARK_TIMEOUT_S + 30)
def redis_benchmark_1000(context):
    run_benchmark(context, 1000, 1, 4000)


@test(timeout_s=BENCHMARK_TIMEOUT_S + 30)
def redis_benchmark_1000_pipelined(context):
    run_benchmark(context, 1000, 16, 8000)


@test(timeout_s=90)
def redis_clients_offloaded(context):
    """The other way round: redis-benchmark and redis-cli are offloaded, redis is on kernel TCP."""
    lab = context.up()
    redis = start_redis(lab, port=7000, at_client=True)
    for connections, depth, requests in ((1, 1, 2000), (50, 1, 20000), (50, 16, 50000),
                                         (500, 1, 10000)):
        done = lab.run_host(["redis-benchmark", "-h", CLIENT_V4, "-p", "7000", "-t", "set,get",
                             "-d", "1024", "-c", str(connections), "-P", str(depth), "-n",
                             str(requests), "--csv"], timeout_s=40)
        rates = [float(row["rps"]) for row in csv.DictReader(io.StringIO(done.stdout.decode()))]
        require(len(rates) == 2 and min(rates) > 0, f"{connections} connections: {done.stdout!r}")
    value = random_bytes(3 << 20, 9)
    cli = ["redis-cli", "-h", CLIENT_V4, "-p", "7000"]
    require(lab.run_host([*cli, "-x", "SET", "big"], stdin=value, timeout_s=20).stdout == b"OK\n",
            "SET of 3 MB by an offloaded redis-cli")
    require(lab.run_host([*cli, "GET", "big"], timeout_s=20).stdout == value + b"\n",
            "GET of 3 MB by an offloaded redis-cli differs")
    lab.assert_nothing_left()


def check_port(context, **how):
    """Values and a short benchmark with the engine set up in some other way."""
    lab = context.up(**how)
    redis = start_redis(lab)
    compare_values(redis)
    lab.run_client(["redis-benchmark", "-h", HOST_V4, "-t", "set,get", "-c", "200", "-n", "20000",
                    "--csv"], timeout_s=40)
    redis.program.stop()
    lab.assert_nothing_left()


@test(timeout_s=90, pno_only=True)
def redis_over_af_packet(context):
    check_port(context, port="af_packet")


@test(timeout_s=90, pno_only=True)
def redis_over_af_xdp(context):
    check_port(context, port="af_xdp")


@test(timeout_s=90, pno_only=True)
def redis_over_tap(context):
    check_port(context, port="tap")


@test(timeout_s=90, pno_only=True)
def redis_two_engine_cores(context):
    """Connections are spread over two engine cores, from one port queue."""
    check_port(context, pnod_options=("--cores", "0,1"))
