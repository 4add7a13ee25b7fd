/* `pno top`: a live view of pnod, from its "stats" and "ss" answers. */
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "control_client.h"
#include "paths.h"
#include "socket_view.h"

#define INTERVAL_MIN_S  0.1
#define INTERVAL_MAX_S  3600.0
#define LINE_MAX_BYTES  1024
#define PROCESSES_BYTES 256

struct top_options {
    const char *socket;
    double interval_s;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct top_options *options = state->input;
    char *end;
    switch (key) {
    case 's':
        options->socket = argument;
        return 0;
    case 'd':
        options->interval_s = strtod(argument, &end);
        if (*end != '\0' || !(options->interval_s >= INTERVAL_MIN_S) ||
            options->interval_s > INTERVAL_MAX_S) {
            cli_usage_error(state->argv[0], "'%s' is no interval: %.1f to %.0f seconds", argument,
                            INTERVAL_MIN_S, INTERVAL_MAX_S);
        }
        return 0;
    default:
        return cli_parse_default(key, state);
    }
}

static const struct argp_option top_argp_options[] = {
    {"delay", 'd', "SECONDS", 0, "between two looks (1 if not given)", 0},
    {"socket", 's', "PATH", 0, "pnod's control socket (else $PNO_SOCKET, else /run/pno/pnod.sock)",
     0},
    {0},
};

static const struct argp top_argp = {
    .options = top_argp_options,
    .parser = parse,
    .doc = "Watch pnod's cores, tenants and connections. 'q' ends it.",
};

/* The core of the same number in an earlier answer, NULL if there was none. */
static const json_t *find_core(const json_t *stats, json_int_t number)
{
    size_t index;
    const json_t *core;
    json_array_foreach(json_object_get(stats, "cores"), index, core)
    {
        if (socket_view_integer(core, "core") == number) {
            return core;
        }
    }
    return NULL;
}

static double rate(const json_t *now, const json_t *before, const char *counter, double seconds)
{
    json_int_t then = socket_view_integer(json_object_get(before, "counters"), counter);
    json_int_t current = socket_view_integer(json_object_get(now, "counters"), counter);
    return before != NULL && seconds > 0 ? (double)(current - then) / seconds : 0;
}

static json_int_t drops(const json_t *core)
{
    json_int_t sum = 0;
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(core, "drops"), name, value)
    {
        sum += json_integer_value(value);
    }
    return sum;
}

/* One line of the screen, cut at its width; returns the next line's number. */
__attribute__((format(printf, 2, 3))) static int draw_line(int y, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (y < LINES) {
        mvaddnstr(y, 0, line, COLS);
    }
    return y + 1;
}

static int draw_cores(int y, const json_t *stats, const json_t *before)
{
    double seconds = (double)(socket_view_integer(stats, "uptime_ns") -
                              socket_view_integer(before, "uptime_ns")) /
                     1e9;
    attron(A_REVERSE);
    y = draw_line(y, "%-6s %7s %14s %14s %12s %12s", "CORE", "BUSY %", "SEGMENTS IN/s",
                  "SEGMENTS OUT/s", "DROPS", "WAKEUPS");
    attroff(A_REVERSE);
    size_t index;
    const json_t *core;
    json_array_foreach(json_object_get(stats, "cores"), index, core)
    {
        json_int_t number = socket_view_integer(core, "core");
        const json_t *earlier = find_core(before, number);
        double busy_ns = (double)(socket_view_integer(core, "busy_ns") -
                                  socket_view_integer(earlier, "busy_ns"));
        y = draw_line(y, "%-6d %7.1f %14.0f %14.0f %12lld %12lld", (int)number,
                      earlier != NULL && seconds > 0 ? busy_ns / seconds / 1e7 : 0.0,
                      rate(core, earlier, "segments_in", seconds),
                      rate(core, earlier, "segments_out", seconds), (long long)drops(core),
                      (long long)socket_view_integer(core, "wakeups"));
    }
    return y + 1;
}

static int draw_tenants(int y, const json_t *stats)
{
    attron(A_REVERSE);
    y = draw_line(y, "%-6s %10s %10s %14s %s", "TENANT", "SOCKETS", "CHANNELS", "RECEIVE BYTES",
                  "PROCESSES");
    attroff(A_REVERSE);
    size_t index;
    const json_t *tenant;
    json_array_foreach(json_object_get(stats, "tenants"), index, tenant)
    {
        char processes[PROCESSES_BYTES];
        socket_view_processes(tenant, processes, sizeof(processes));
        y = draw_line(y, "%-6lld %10lld %10lld %14lld %s",
                      (long long)socket_view_integer(tenant, "tenant"),
                      (long long)socket_view_integer(tenant, "sockets"),
                      (long long)socket_view_integer(tenant, "channels"),
                      (long long)socket_view_integer(tenant, "receive_bytes_in_use"), processes);
    }
    return y + 1;
}

static void draw_sockets(int y, const json_t *answer)
{
    attron(A_REVERSE);
    y = draw_line(y, "%-10s %8s %8s %24s %24s %8s %s", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "PEER",
                  "RTT ms", "PROCESS");
    attroff(A_REVERSE);
    size_t index;
    const json_t *socket;
    json_array_foreach(json_object_get(answer, "sockets"), index, socket)
    {
        if (y >= LINES) {
            return;
        }
        struct socket_view_names names;
        socket_view_names(socket, &names);
        y = draw_line(y, "%-10s %8lld %8lld %24s %24s %8.3f %s", socket_view_state(socket),
                      (long long)socket_view_integer(socket, "recv_q"),
                      (long long)socket_view_integer(socket, "send_q"), names.local, names.remote,
                      (double)socket_view_integer(socket, "rtt_us") / 1000.0, names.processes);
    }
}

static void draw(const json_t *stats, const json_t *before, const json_t *sockets)
{
    erase();
    int y = draw_line(0, "pnod pid %lld, up %.0f s, %lld connections, %lld listeners  ('q' ends)",
                      (long long)socket_view_integer(stats, "pid"),
                      (double)socket_view_integer(stats, "uptime_ns") / 1e9,
                      (long long)socket_view_integer(stats, "connections"),
                      (long long)socket_view_integer(stats, "listeners"));
    y = draw_cores(y + 1, stats, before);
    y = draw_tenants(y, stats);
    draw_sockets(y, sockets);
    refresh();
}

/* Until 'q'. False if pnod stopped answering, with message set. */
static bool watch(const char *path, double interval_s, json_t *first,
                  char message[CONTROL_CLIENT_MESSAGE_MAX])
{
    json_t *before = json_incref(first);
    json_t *stats = json_incref(first);
    bool answered = true;
    timeout((int)(interval_s * 1000));
    for (;;) {
        json_t *sockets = control_client_request(path, "ss", message);
        if (sockets == NULL) {
            answered = false;
            break;
        }
        draw(stats, before, sockets);
        json_decref(sockets);
        int key = getch();
        if (key == 'q' || key == 'Q') {
            break;
        }
        json_decref(before);
        before = stats;
        stats = control_client_request(path, "stats", message);
        if (stats == NULL) {
            answered = false;
            break;
        }
    }
    json_decref(before);
    json_decref(stats);
    return answered;
}

int command_top(int argc, char **argv)
{
    struct top_options options = {.interval_s = 1.0};
    cli_parse(&top_argp, argc, argv, &options);

    const char *path = paths_inspected_socket(options.socket);
    char message[CONTROL_CLIENT_MESSAGE_MAX];
    json_t *first = control_client_request(path, "stats", message);
    if (first == NULL) {
        cli_error(argv[0], "%s", message);
        return CLI_EXIT_FAILURE;
    }
    SCREEN *screen = NULL;
    if (!isatty(STDOUT_FILENO) || (screen = newterm(NULL, stdout, stdin)) == NULL) {
        cli_error(argv[0], "needs a terminal: use 'pno stats' and 'pno ss' in scripts");
        json_decref(first);
        return CLI_EXIT_FAILURE;
    }
    cbreak();
    noecho();
    curs_set(0);
    bool answered = watch(path, options.interval_s, first, message);
    endwin();
    delscreen(screen);
    json_decref(first);
    if (!answered) {
        cli_error(argv[0], "%s", message);
    }
    return answered ? 0 : CLI_EXIT_FAILURE;
}
