/* `pno capture`: the segments that pnod receives and sends, as pcapng. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli.h"
#include "control_client.h"
#include "paths.h"

#define FILTER_MAX_BYTES 1024
#define ANSWER_MAX_BYTES 1024
#define COPY_BYTES       65536

struct capture_options {
    const char *socket;
    const char *file;
    char filter[FILTER_MAX_BYTES];
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct capture_options *options = state->input;
    size_t length = strlen(options->filter);
    switch (key) {
    case 's':
        options->socket = argument;
        return 0;
    case 'w':
        options->file = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (snprintf(options->filter + length, sizeof(options->filter) - length, "%s%s",
                     length > 0 ? " " : "", argument) >= (int)(sizeof(options->filter) - length)) {
            cli_usage_error(state->argv[0], "the filter is longer than %d bytes", FILTER_MAX_BYTES);
        }
        return 0;
    default:
        return cli_parse_default(key, state);
    }
}

static const struct argp_option capture_argp_options[] = {
    {"write", 'w', "FILE", 0, "write pcapng to FILE, '-' being standard output (the default)", 0},
    {"socket", 's', "PATH", 0, "pnod's control socket (else $PNO_SOCKET, else /run/pno/pnod.sock)",
     0},
    {0},
};

static const struct argp capture_argp = {
    .options = capture_argp_options,
    .parser = parse,
    .args_doc = "[FILTER]",
    .doc =
        "Record what pnod receives and sends, until interrupted. FILTER is in libpcap's language.\v"
        "An engine that was built without capture says so.",
};

/* The line before the stream: 0 if a stream follows; else a failure with message set. */
static int read_answer(int fd, char message[CONTROL_CLIENT_MESSAGE_MAX])
{
    char line[ANSWER_MAX_BYTES];
    size_t length = 0;
    while (length < sizeof(line) && read(fd, &line[length], 1) == 1 && line[length] != '\n') {
        length++;
    }
    json_t *answer = json_loadb(line, length, 0, NULL);
    const char *refusal = json_string_value(json_object_get(answer, "error"));
    const char *format = json_string_value(json_object_get(answer, "capture"));
    int result = -EPROTO;
    if (refusal != NULL) {
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "pnod refuses: %s", refusal);
    } else if (format == NULL || strcmp(format, "pcapng") != 0) {
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "this pnod can't capture");
    } else {
        result = 0;
    }
    json_decref(answer);
    return result;
}

static int copy_stream(int from, int to, char message[CONTROL_CLIENT_MESSAGE_MAX])
{
    static char buffer[COPY_BYTES];
    for (;;) {
        ssize_t got = read(from, buffer, sizeof(buffer));
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue; /* the wire is quiet */
        }
        if (got <= 0) {
            return 0;
        }
        for (ssize_t done = 0; done < got;) {
            ssize_t written = write(to, buffer + done, (size_t)(got - done));
            if (written < 0 && errno != EINTR) {
                snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "cannot write: %s", strerror(errno));
                return -errno;
            }
            done += written > 0 ? written : 0;
        }
    }
}

int command_capture(int argc, char **argv)
{
    struct capture_options options = {.file = "-"};
    cli_parse(&capture_argp, argc, argv, &options);

    char message[CONTROL_CLIENT_MESSAGE_MAX] = "out of memory";
    json_t *request = json_pack("{s:s, s:s}", "command", "capture", "filter", options.filter);
    int from = request != NULL
                   ? control_client_open(paths_inspected_socket(options.socket), request, message)
                   : -ENOMEM;
    json_decref(request);
    if (from < 0 || read_answer(from, message) != 0) {
        cli_error(argv[0], "%s", message);
        return CLI_EXIT_FAILURE;
    }
    int to = STDOUT_FILENO;
    if (strcmp(options.file, "-") != 0) {
        to = open(options.file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (to < 0) {
            cli_error(argv[0], "cannot write '%s': %s", options.file, strerror(errno));
            return CLI_EXIT_FAILURE;
        }
    }
    int result = copy_stream(from, to, message);
    if (result != 0) {
        cli_error(argv[0], "%s", message);
    }
    return result == 0 ? 0 : CLI_EXIT_FAILURE;
}
