"""make check-apps: a server in Java NIO, one in Erlang, and one on io_uring."""

import os

from harness import web
from harness.lab import HOST_V4
from harness.process import Skip, need_program, require, run
from harness.registry import test
from harness.web import PORT

# An echo on one selector: readiness for accept, read and write, partial writes, half-closing.
JAVA_SERVER = """
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.util.Iterator;

public class Echo {
    static final class Session { ByteBuffer buffer = ByteBuffer.allocateDirect(65536); boolean ended; }
    public static void main(String[] words) throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress(Integer.parseInt(words[0])), 64);
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select();
            for (Iterator<SelectionKey> keys = selector.selectedKeys().iterator(); keys.hasNext();) {
                SelectionKey key = keys.next();
                keys.remove();
                if (key.isAcceptable()) {
                    SocketChannel channel = listener.accept();
                    if (channel == null) continue;
                    channel.configureBlocking(false);
                    channel.register(selector, SelectionKey.OP_READ, new Session());
                    continue;
                }
                SocketChannel channel = (SocketChannel) key.channel();
                Session session = (Session) key.attachment();
                try {
                    if (key.isReadable() && channel.read(session.buffer) < 0) session.ended = true;
                    session.buffer.flip();
                    channel.write(session.buffer);
                    session.buffer.compact();
                } catch (java.io.IOException gone) { channel.close(); continue; }
                boolean left = session.buffer.position() > 0;
                if (session.ended && !left) { channel.close(); continue; }
                key.interestOps((session.ended || !session.buffer.hasRemaining() ? 0 : SelectionKey.OP_READ)
                                | (left ? SelectionKey.OP_WRITE : 0));
            }
        }
    }
}
"""

ERLANG_SERVER = """
-module(echo).
-export([main/1]).
main([Port]) ->
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port),
        [binary, {active, false}, {backlog, 64}, {reuseaddr, true}, {exit_on_close, false}]),
    accept(Listener).
accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Child = spawn(fun() -> receive go -> inet:setopts(Socket, [{active, once}]), echo(Socket) end end),
    gen_tcp:controlling_process(Socket, Child),
    Child ! go,
    accept(Listener).
echo(Socket) ->
    receive
        {tcp, Socket, Data} ->
            ok = gen_tcp:send(Socket, Data), inet:setopts(Socket, [{active, once}]), echo(Socket);
        {tcp_closed, Socket} -> gen_tcp:close(Socket);
        {tcp_error, Socket, _} -> gen_tcp:close(Socket)
    end.
"""

URING_SERVER = r"""
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPT, RECEIVE, SEND };
struct work { int kind, fd, length, sent; char bytes[16384]; };
static struct io_uring ring;

static void submit(struct work *work, int kind, int listener)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    if (kind == ACCEPT)
        io_uring_prep_accept(entry, listener, NULL, NULL, 0);
    else if (kind == RECEIVE)
        io_uring_prep_recv(entry, work->fd, work->bytes, sizeof(work->bytes), 0);
    else
        io_uring_prep_send(entry, work->fd, work->bytes + work->sent, work->length - work->sent, 0);
    work->kind = kind;
    io_uring_sqe_set_data(entry, work);
    io_uring_submit(&ring);
}

int main(int count, char **words)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(atoi(words[count - 1]))};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(listener, 64) < 0)
        return 1;
    int error = io_uring_queue_init(256, &ring, 0);
    if (error < 0)
        return fprintf(stderr, "no io_uring: %d\n", error), 1;
    submit(calloc(1, sizeof(struct work)), ACCEPT, listener);
    for (;;) {
        struct io_uring_cqe *done;
        if (io_uring_wait_cqe(&ring, &done) < 0)
            continue;
        struct work *work = io_uring_cqe_get_data(done);
        int result = done->res;
        io_uring_cqe_seen(&ring, done);
        if (work->kind == ACCEPT) {
            submit(work, ACCEPT, listener);
            if (result < 0)
                continue;
            struct work *fresh = calloc(1, sizeof(*fresh));
            fresh->fd = result;
            submit(fresh, RECEIVE, -1);
        } else if (result <= 0) {
            close(work->fd);
            free(work);
        } else if (work->kind == RECEIVE) {
            work->length = result;
            work->sent = 0;
            submit(work, SEND, -1);
        } else {
            work->sent += result;
            submit(work, work->sent < work->length ? SEND : RECEIVE, -1);
        }
    }
}
"""


def check_echo(lab):
    """Small and large, some at once; the end of one's own stream is answered by the other's."""
    for size, connections in ((1, 5), (10_000, 10), (1_000_000, 3)):
        open_now = [lab.connect(PORT) for _ in range(connections)]
        for connection in open_now:
            sent = os.urandom(size)
            got = b""
            for at in range(0, size, 40_000):
                part = sent[at:at + 40_000]
                connection.sendall(part)
                while len(got) < at + len(part):
                    more = connection.recv(1 << 18)
                    require(more, f"the echo ended after {len(got)} of {size} bytes")
                    got += more
            connection.shutdown(1)
            require(connection.recv(1) == b"", "more came than was sent")
            require(got == sent, f"an echo of {size} bytes differs")
            connection.close()


def write(lab, name, text):
    return web.write_config(lab, name, text)


@test(timeout_s=120, extra=True)
def java_nio(context):
    need_program("javac")
    lab = context.up()
    write(lab, "Echo.java", JAVA_SERVER)
    run(["javac", "-d", lab.folder, os.path.join(lab.folder, "Echo.java")], timeout_s=60)
    server = lab.start_host("java", ["java", "-Xshare:auto", "-Xmx128m", "-cp", lab.folder, "Echo",
                                     str(PORT)])
    lab.wait_listening(server, PORT, timeout_s=30)
    check_echo(lab)
    server.kill()
    lab.assert_nothing_left()


@test(timeout_s=120, extra=True)
def erlang_gen_tcp(context):
    need_program("erlc")
    lab = context.up()
    write(lab, "echo.erl", ERLANG_SERVER)
    run(["erlc", "-o", lab.folder, os.path.join(lab.folder, "echo.erl")], timeout_s=60)
    server = lab.start_host("erlang", ["env", f"HOME={lab.folder}", "erl", "-noshell", "-noinput",
                                       "-start_epmd", "false", "-pa", lab.folder, "-run", "echo", "main",
                                       str(PORT)])
    lab.wait_listening(server, PORT, timeout_s=30)
    check_echo(lab)
    server.kill()


def serve_by_ring(context, options):
    """`options` link the program with liburing, one way or the other."""
    lab = context.up()
    source = write(lab, "uring.c", URING_SERVER)
    program = os.path.join(lab.folder, "uring")
    if run(["gcc", "-O1", "-o", program, source, *options], check=False).returncode != 0:
        raise Skip("liburing-dev is not installed")
    server = lab.start_host("uring", [program, str(PORT)])
    lab.wait_listening(server, PORT, HOST_V4)
    check_echo(lab)
    server.stop()


@test(timeout_s=60)
def liburing_echo(context):
    serve_by_ring(context, ["-luring"])


@test(timeout_s=60)
def liburing_echo_linked_statically(context):
    serve_by_ring(context, ["-Wl,-Bstatic", "-luring", "-Wl,-Bdynamic"])
