/*
 * Asks a memcached for one value over and over, one request at a time on each connection, and says
 * in JSON how many answers came and how long they took. Every answer's length and end are checked.
 *
 *     memcached-load ADDRESS PORT get|set CONNECTIONS SECONDS VALUE-BYTES
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1000
#define VALUE_BYTES_MAX 1000000
#define EVENTS_MAX      64
#define NS_PER_S        1000000000ull
#define NS_PER_US       1000ull
#define LATENCY_US_MAX  100000u /* the last counter has all that took longer */
#define KEY             "key"

struct connection {
    int fd;
    size_t received;
    uint64_t asked_ns;
};

struct text {
    char *bytes;
    size_t length;
};

struct run {
    struct text request, answer;
    struct connection connections[CONNECTIONS_MAX];
    uint64_t requests;
    uint32_t took_us[LATENCY_US_MAX + 1];
};

static void fail(const char *what)
{
    fprintf(stderr, "memcached-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* head, `value_bytes` of 'x', tail */
static struct text make_text(const char *head, size_t value_bytes, const char *tail)
{
    struct text text = {.length = strlen(head) + value_bytes + strlen(tail)};
    text.bytes = malloc(text.length + 1);
    if (text.bytes == NULL)
        fail("no memory");
    memcpy(text.bytes, head, strlen(head));
    memset(text.bytes + strlen(head), 'x', value_bytes);
    memcpy(text.bytes + strlen(head) + value_bytes, tail, strlen(tail) + 1);
    return text;
}

static int open_connection(const struct sockaddr_in *server)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (const struct sockaddr *)server, sizeof(*server)) < 0)
        fail("connecting");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void ask(struct connection *connection, const struct text *request)
{
    connection->received = 0;
    connection->asked_ns = now_ns();
    size_t sent = 0;
    while (sent < request->length) {
        ssize_t part = send(connection->fd, request->bytes + sent, request->length - sent, 0);
        if (part < 0)
            fail("sending");
        sent += (size_t)part;
    }
}

/* Take what has come. @return whether the answer is whole; it must be the one expected. */
static bool take(struct connection *connection, const struct text *answer)
{
    static char bytes[65536];
    ssize_t part = recv(connection->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (part < 0 && errno == EAGAIN)
        return false;
    if (part < 0)
        fail("receiving");
    if (part == 0 || connection->received + (size_t)part > answer->length ||
        memcmp(bytes, answer->bytes + connection->received, (size_t)part) != 0) {
        fprintf(stderr, "memcached-load: another answer than was expected\n");
        exit(1);
    }
    connection->received += (size_t)part;
    return connection->received == answer->length;
}

static void store_value(const struct sockaddr_in *server, const struct text *set)
{
    struct connection connection = {.fd = open_connection(server)};
    struct text stored = make_text("STORED\r\n", 0, "");
    ask(&connection, set);
    while (!take(&connection, &stored))
        ;
    close(connection.fd);
    free(stored.bytes);
}

static void count(struct run *run, const struct connection *connection)
{
    uint64_t us = (now_ns() - connection->asked_ns) / NS_PER_US;
    run->took_us[us < LATENCY_US_MAX ? us : LATENCY_US_MAX]++;
    run->requests++;
}

static void serve_until(struct run *run, int epoll, uint64_t end_ns)
{
    struct epoll_event events[EVENTS_MAX];
    while (now_ns() < end_ns) {
        int ready = epoll_wait(epoll, events, EVENTS_MAX, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!take(connection, &run->answer))
                continue;
            count(run, connection);
            ask(connection, &run->request);
        }
    }
}

static unsigned percentile_us(const struct run *run, double share)
{
    uint64_t wanted = (uint64_t)((double)run->requests * share), seen = 0;
    for (unsigned us = 0; us <= LATENCY_US_MAX; us++) {
        seen += run->took_us[us];
        if (seen > wanted)
            return us;
    }
    return LATENCY_US_MAX;
}

int main(int argc, char **argv)
{
    static struct run run;
    if (argc != 7) {
        fprintf(stderr, "usage: %s ADDRESS PORT get|set CONNECTIONS SECONDS VALUE-BYTES\n",
                argv[0]);
        return 2;
    }
    struct sockaddr_in server = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10))};
    unsigned long connections = strtoul(argv[4], NULL, 10), bytes = strtoul(argv[6], NULL, 10);
    double seconds = strtod(argv[5], NULL);
    if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1 || connections == 0 ||
        connections > CONNECTIONS_MAX || bytes == 0 || bytes > VALUE_BYTES_MAX || seconds <= 0) {
        fprintf(stderr, "%s: wrong arguments\n", argv[0]);
        return 2;
    }
    char head[64];
    (void)snprintf(head, sizeof(head), "set " KEY " 0 0 %lu\r\n", bytes);
    struct text set = make_text(head, bytes, "\r\n");
    (void)snprintf(head, sizeof(head), "VALUE " KEY " 0 %lu\r\n", bytes);
    bool sets = strcmp(argv[3], "set") == 0;
    run.request = sets ? set : make_text("get " KEY "\r\n", 0, "");
    run.answer = sets ? make_text("STORED\r\n", 0, "") : make_text(head, bytes, "\r\nEND\r\n");
    store_value(&server, &set);

    int epoll = epoll_create1(0);
    for (unsigned long i = 0; i < connections; i++) {
        struct connection *connection = &run.connections[i];
        connection->fd = open_connection(&server);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0)
            fail("epoll_ctl");
        ask(connection, &run.request);
    }
    uint64_t start_ns = now_ns();
    serve_until(&run, epoll, start_ns + (uint64_t)(seconds * (double)NS_PER_S));
    double elapsed_s = (double)(now_ns() - start_ns) / (double)NS_PER_S;
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u}\n",
           (unsigned long long)run.requests, elapsed_s, percentile_us(&run, 0.50),
           percentile_us(&run, 0.99));
    return run.requests > 0 ? 0 : 1;
}
