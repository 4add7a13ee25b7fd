/* `pno ss`: pnod's sockets, in the manner of iproute2's `ss -ti`. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "control_client.h"
#include "not_offloaded.h"
#include "paths.h"
#include "socket_view.h"

#define LINE_MAX_BYTES 2048

struct ss_options {
    const char *socket;
    const char *family; /* NULL = both */
    bool only_listening;
    bool all;
    bool json;
    bool no_header;
    bool not_offloaded;
};

enum { OPTION_JSON = 1000, OPTION_NOT_OFFLOADED };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct ss_options *options = state->input;
    switch (key) {
    case 's':
        options->socket = argument;
        return 0;
    case 'l':
        options->only_listening = true;
        return 0;
    case 'a':
        options->all = true;
        return 0;
    case 'H':
        options->no_header = true;
        return 0;
    case '4':
        options->family = "ipv4";
        return 0;
    case '6':
        options->family = "ipv6";
        return 0;
    case OPTION_NOT_OFFLOADED:
        options->not_offloaded = true;
        return 0;
    case OPTION_JSON:
        options->json = true;
        return 0;
    case 't': /* what these ask for is always so; they are taken for ss's sake */
    case 'i':
    case 'n':
    case 'p':
        return 0;
    default:
        return cli_parse_default(key, state);
    }
}

static const struct argp_option ss_argp_options[] = {
    {"listening", 'l', NULL, 0, "only listening sockets", 0},
    {"all", 'a', NULL, 0, "also TIME-WAIT, SYN-RECV and unconnected sockets", 0},
    {"not-offloaded", OPTION_NOT_OFFLOADED, NULL, 0,
     "instead, the sockets of programs under 'pno run' that the kernel serves, and why (asks no "
     "pnod; root sees all of them, others their own where ptrace is allowed)",
     0},
    {"ipv4", '4', NULL, 0, "only IPv4", 0},
    {"ipv6", '6', NULL, 0, "only IPv6", 0},
    {"no-header", 'H', NULL, 0, "no header line", 0},
    {"json", OPTION_JSON, NULL, 0, "the sockets as pnod tells them (docs/control_socket.md)", 0},
    {"tcp", 't', NULL, 0, "as ss: always so", 1},
    {"info", 'i', NULL, 0, "as ss: always so", 1},
    {"numeric", 'n', NULL, 0, "as ss: always so", 1},
    {"processes", 'p', NULL, 0, "as ss: always so", 1},
    {"socket", 's', "PATH", 0, "pnod's control socket (else $PNO_SOCKET, else /run/pno/pnod.sock)",
     2},
    {0},
};

static const struct argp ss_argp = {
    .options = ss_argp_options,
    .parser = parse,
    .doc = "List pnod's listening and connected sockets, with owners and TCP's own figures.\v"
           "Units as in ss: times in milliseconds, cwnd and ssthresh in segments.",
};

static bool is_wanted(const struct ss_options *options, const json_t *socket)
{
    const char *state = socket_view_state(socket);
    const char *family = json_string_value(json_object_get(socket, "family"));
    if (options->family != NULL && family != NULL && strcmp(family, options->family) != 0) {
        return false;
    }
    bool listening = strcmp(state, "LISTEN") == 0;
    if (options->only_listening && !options->all) {
        return listening;
    }
    bool hidden = strcmp(state, "TIME-WAIT") == 0 || strcmp(state, "SYN-RECV") == 0 ||
                  strcmp(state, "UNCONN") == 0;
    return options->all || !hidden;
}

static void print_socket(const json_t *socket)
{
    struct socket_view_names names;
    char line[LINE_MAX_BYTES];
    socket_view_names(socket, &names);
    printf("%-10s %-6" JSON_INTEGER_FORMAT " %-6" JSON_INTEGER_FORMAT " %24s %24s %s\n",
           socket_view_state(socket), socket_view_integer(socket, "recv_q"),
           socket_view_integer(socket, "send_q"), names.local, names.remote, names.processes);
    socket_view_info(socket, line, sizeof(line));
    if (line[0] != '\0') {
        printf("\t%s\n", line);
    }
}

/* Those that the options ask for, in a new array. */
static json_t *select_wanted(const struct ss_options *options, const json_t *sockets)
{
    json_t *wanted = json_array();
    size_t index;
    json_t *socket;
    json_array_foreach(sockets, index, socket)
    {
        if (is_wanted(options, socket)) {
            json_array_append(wanted, socket);
        }
    }
    return wanted;
}

static void print_json(json_t *sockets)
{
    json_t *document = json_pack("{s:O}", "sockets", sockets);
    json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
}

static void print_not_offloaded(const json_t *socket)
{
    struct socket_view_names names;
    socket_view_names(socket, &names);
    printf("%-7s %-10s %24s %24s %s\n\t%s\n", json_string_value(json_object_get(socket, "netid")),
           socket_view_state(socket), names.local, names.remote, names.processes,
           json_string_value(json_object_get(socket, "why")));
}

static int list_not_offloaded(struct ss_options *options)
{
    options->all = options->all || !options->only_listening;
    json_t *all = not_offloaded_list();
    json_t *sockets = select_wanted(options, all);
    size_t index;
    json_t *socket;
    json_decref(all);
    if (options->json) {
        print_json(sockets);
    } else {
        if (!options->no_header) {
            printf("%-7s %-10s %24s %24s %s\n", "Netid", "State", "Local Address:Port",
                   "Peer Address:Port", "Process");
        }
        json_array_foreach(sockets, index, socket)
        {
            print_not_offloaded(socket);
        }
    }
    json_decref(sockets);
    return 0;
}

int command_ss(int argc, char **argv)
{
    struct ss_options options = {0};
    cli_parse(&ss_argp, argc, argv, &options);
    if (options.not_offloaded) {
        return list_not_offloaded(&options);
    }

    char message[CONTROL_CLIENT_MESSAGE_MAX];
    json_t *answer = control_client_request(paths_inspected_socket(options.socket), "ss", message);
    if (answer == NULL) {
        cli_error(argv[0], "%s", message);
        return CLI_EXIT_FAILURE;
    }
    json_t *sockets = select_wanted(&options, json_object_get(answer, "sockets"));
    json_decref(answer);
    if (options.json) {
        print_json(sockets);
    } else {
        if (!options.no_header) {
            printf("%-10s %-6s %-6s %24s %24s %s\n", "State", "Recv-Q", "Send-Q",
                   "Local Address:Port", "Peer Address:Port", "Process");
        }
        size_t index;
        json_t *socket;
        json_array_foreach(sockets, index, socket)
        {
            print_socket(socket);
        }
    }
    json_decref(sockets);
    return 0;
}
