/* `pno stats`: pnod's counters. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "control_client.h"
#include "paths.h"
#include "socket_view.h"

#define PROCESSES_MAX_BYTES 512

struct stats_options {
    const char *socket;
    bool json;
    bool all;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct stats_options *options = state->input;
    switch (key) {
    case 's':
        options->socket = argument;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'a':
        options->all = true;
        return 0;
    default:
        return cli_parse_default(key, state);
    }
}

static const struct argp_option stats_argp_options[] = {
    {"json", 'j', NULL, 0, "everything, as pnod tells it (docs/control_socket.md)", 0},
    {"all", 'a', NULL, 0, "counters that are zero too", 0},
    {"socket", 's', "PATH", 0, "pnod's control socket (else $PNO_SOCKET, else /run/pno/pnod.sock)",
     1},
    {0},
};

static const struct argp stats_argp = {
    .options = stats_argp_options,
    .parser = parse,
    .doc = "Show pnod's counters per core and per drop reason, its ports and its tenants.",
};

/* The integers of an object, a line each; nested objects under their own heading. */
static void print_counters(json_t *object, const char *heading, int indent, bool all)
{
    if (heading != NULL) {
        printf("%*s%s\n", indent, "", heading);
        indent += 2;
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (json_is_integer(value) && (all || json_integer_value(value) != 0)) {
            printf("%*s%-32s %" JSON_INTEGER_FORMAT "\n", indent, "", name,
                   json_integer_value(value));
        } else if (json_is_boolean(value)) {
            printf("%*s%-32s %s\n", indent, "", name, json_is_true(value) ? "yes" : "no");
        } else if (json_is_object(value)) {
            print_counters(value, name, indent, all);
        }
    }
}

/* An array of objects: a heading from one member of each, then its counters. */
static void print_each(json_t *array, const char *kind, const char *label, bool all)
{
    size_t index;
    json_t *each;
    json_array_foreach(array, index, each)
    {
        const json_t *name = json_object_get(each, label);
        char processes[PROCESSES_MAX_BYTES];
        socket_view_processes(each, processes, sizeof(processes));
        if (json_is_string(name)) {
            printf("%s %s %s\n", kind, json_string_value(name), processes);
        } else {
            printf("%s %" JSON_INTEGER_FORMAT " %s\n", kind, json_integer_value(name), processes);
        }
        print_counters(each, NULL, 2, all);
    }
}

int command_stats(int argc, char **argv)
{
    struct stats_options options = {0};
    cli_parse(&stats_argp, argc, argv, &options);

    char message[CONTROL_CLIENT_MESSAGE_MAX];
    json_t *answer =
        control_client_request(paths_inspected_socket(options.socket), "stats", message);
    if (answer == NULL) {
        cli_error(argv[0], "%s", message);
        return CLI_EXIT_FAILURE;
    }
    if (options.json) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        const char *version = json_string_value(json_object_get(answer, "version"));
        printf("pnod %s, pid %" JSON_INTEGER_FORMAT ", up %.0f s: %" JSON_INTEGER_FORMAT
               " connections, %" JSON_INTEGER_FORMAT " listeners, %" JSON_INTEGER_FORMAT
               " in TIME-WAIT\n",
               version != NULL ? version : "?", socket_view_integer(answer, "pid"),
               (double)socket_view_integer(answer, "uptime_ns") / 1e9,
               socket_view_integer(answer, "connections"), socket_view_integer(answer, "listeners"),
               socket_view_integer(answer, "time_wait"));
        print_each(json_object_get(answer, "cores"), "core", "core", options.all);
        print_each(json_object_get(answer, "ports"), "port", "name", options.all);
        print_each(json_object_get(answer, "tenants"), "tenant", "tenant", options.all);
    }
    json_decref(answer);
    return 0;
}
