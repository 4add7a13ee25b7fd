/* `pno capture`: the frames that pnod receives and sends, as pcapng or as lines. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli.h"
#include "control_client.h"
#include "packet_line.h"
#include "paths.h"

#define FILTER_MAX_BYTES 2048
#define ANSWER_MAX_BYTES 4096
#define BLOCK_MAX_BYTES  (1u << 20) /* more than any frame with its options */

enum {
    BLOCK_STATISTICS = 5,
    BLOCK_PACKET = 6,
    BLOCK_HEAD_BYTES = 8,
    BLOCK_MIN_BYTES = 12,
    PACKET_BODY_BYTES = 20,
    STATISTICS_BODY_BYTES = 12,
    STATISTICS_DROPPED = 5,
    STATISTICS_OS_DROPPED = 7,
    KEY_PRINT = 256,
};

struct capture_options {
    const char *socket;
    const char *file;
    bool print;
    uint64_t count; /**< end after as many; 0: never */
    char filter[FILTER_MAX_BYTES];
};

/** A stream being copied; blocks are told apart to count, and to print. */
struct stream {
    int from, signals;
    FILE *to;
    bool print;
    bool ending; /**< the engine has been told to end */
    uint64_t packets, packets_max, drops;
    uint8_t *memory;
    size_t filled;
};

static uint64_t parse_count(const struct argp_state *state, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long count = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || count == 0) {
        cli_usage_error(state->argv[0], "'%s' is no count of packets", text);
    }
    return count;
}

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
    case 'c':
        options->count = parse_count(state, argument);
        return 0;
    case KEY_PRINT:
        options->print = true;
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
    {"write", 'w', "FILE", 0, "write pcapng to FILE; '-' is standard output", 0},
    {"print", KEY_PRINT, NULL, 0, "print lines also when standard output is no terminal", 0},
    {"count", 'c', "N", 0, "end after N frames", 0},
    {"socket", 's', "PATH", 0, "pnod's control socket (else $PNO_SOCKET, else /run/pno/pnod.sock)",
     0},
    {0},
};

static const struct argp capture_argp = {
    .options = capture_argp_options,
    .parser = parse,
    .args_doc = "[FILTER]",
    .doc =
        "Record the frames that pnod receives and sends, until interrupted. FILTER is in libpcap's "
        "language (pcap-filter(7)), like 'tcp port 80'.\v"
        "Without -w, lines are printed on a terminal and pcapng is written to anything else, as in "
        "'pno capture | tcpdump -r -'. Frames to the engine's own addresses are on the interface "
        "'turned'. Frames that found no room on their way are counted in the file's interface "
        "statistics. Needs root, or pnod's user.",
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
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX,
                 "pnod does not answer as one that captures: is it another version?");
    } else {
        result = 0;
    }
    json_decref(answer);
    return result;
}

static uint32_t get_32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static void count_drops(struct stream *stream, const uint8_t *options, size_t bytes)
{
    while (bytes >= 4) {
        uint16_t head[2];
        memcpy(head, options, sizeof(head));
        size_t length = 4 + (((size_t)head[1] + 3) & ~(size_t)3);
        if (length > bytes) {
            return;
        }
        uint64_t value = 0;
        if (head[1] == sizeof(value)) {
            memcpy(&value, options + 4, sizeof(value));
        }
        if (head[0] == STATISTICS_DROPPED || head[0] == STATISTICS_OS_DROPPED) {
            stream->drops += value;
        }
        options += length;
        bytes -= length;
    }
}

static int end(struct stream *stream)
{
    stream->ending = true;
    return shutdown(stream->from, SHUT_WR) == 0 ? 0 : -errno;
}

static void print_packet(const struct stream *stream, const uint8_t *body, uint32_t bytes)
{
    uint32_t captured = get_32(body + 12);
    uint64_t time_ns = (uint64_t)get_32(body + 4) << 32 | get_32(body + 8);
    if (captured <= bytes - PACKET_BODY_BYTES) {
        packet_line_print(stream->to, time_ns, body + PACKET_BODY_BYTES, captured);
    }
}

/** One whole block. @return whether it is wanted. */
static bool look_at(struct stream *stream, const uint8_t *block, uint32_t bytes)
{
    uint32_t type = get_32(block);
    const uint8_t *body = block + BLOCK_HEAD_BYTES;
    uint32_t body_bytes = bytes - BLOCK_MIN_BYTES;
    if (type == BLOCK_STATISTICS && body_bytes >= STATISTICS_BODY_BYTES) {
        count_drops(stream, body + STATISTICS_BODY_BYTES, body_bytes - STATISTICS_BODY_BYTES);
    }
    if (type != BLOCK_PACKET || body_bytes < PACKET_BODY_BYTES) {
        return true;
    }
    if (stream->packets_max != 0 && stream->packets == stream->packets_max) {
        return false; /* was on its way when we asked to end */
    }
    stream->packets++;
    if (stream->print) {
        print_packet(stream, body, body_bytes);
    }
    if (stream->packets == stream->packets_max && !stream->ending) {
        (void)end(stream);
    }
    return true;
}

/** Pass on what is whole. @return 0, or a failure with message set. */
static int pass_blocks(struct stream *stream, char message[CONTROL_CLIENT_MESSAGE_MAX])
{
    size_t done = 0;
    errno = 0;
    while (stream->filled - done >= BLOCK_HEAD_BYTES) {
        const uint8_t *block = stream->memory + done;
        uint32_t bytes = get_32(block + 4);
        if (bytes < BLOCK_MIN_BYTES || bytes > BLOCK_MAX_BYTES || bytes % 4 != 0) {
            snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "pnod's stream makes no sense");
            return -EPROTO;
        }
        if (stream->filled - done < bytes) {
            break;
        }
        if (look_at(stream, block, bytes) && !stream->print) {
            fwrite(block, bytes, 1, stream->to);
        }
        done += bytes;
    }
    memmove(stream->memory, stream->memory + done, stream->filled - done);
    stream->filled -= done;
    if (fflush(stream->to) != 0 || ferror(stream->to)) {
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "cannot write: %s", strerror(errno));
        return -EIO;
    }
    return 0;
}

/** @return 1: there is more to come; 0: the stream is at its end; or a failure, message set. */
static int step(struct stream *stream, char message[CONTROL_CLIENT_MESSAGE_MAX])
{
    struct pollfd descriptors[] = {{.fd = stream->from, .events = POLLIN},
                                   {.fd = stream->signals, .events = POLLIN}};
    if (poll(descriptors, 2, -1) < 0 && errno != EINTR) {
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "cannot wait: %s", strerror(errno));
        return -EIO;
    }
    struct signalfd_siginfo caught;
    if ((descriptors[1].revents & POLLIN) != 0 &&
        read(stream->signals, &caught, sizeof(caught)) == (ssize_t)sizeof(caught)) {
        /* The first one has the engine end the stream in order; the second one is in earnest. */
        return stream->ending || end(stream) != 0 ? 0 : 1;
    }
    if (descriptors[0].revents == 0) {
        return 1;
    }
    ssize_t got =
        read(stream->from, stream->memory + stream->filled, BLOCK_MAX_BYTES - stream->filled);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 1;
    }
    if (got <= 0) {
        if (stream->ending) {
            return 0;
        }
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "pnod has ended, and the capture with it");
        return -ECONNRESET;
    }
    stream->filled += (size_t)got;
    int result = pass_blocks(stream, message);
    return result == 0 ? 1 : result;
}

static int copy_stream(struct stream *stream, char message[CONTROL_CLIENT_MESSAGE_MAX])
{
    snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "out of memory");
    stream->memory = malloc(BLOCK_MAX_BYTES);
    int result = stream->memory != NULL ? 1 : -ENOMEM;
    while (result > 0) {
        result = step(stream, message);
    }
    free(stream->memory);
    return result;
}

static FILE *open_output(const struct capture_options *options)
{
    if (options->file == NULL || strcmp(options->file, "-") == 0) {
        return stdout;
    }
    return fopen(options->file, "we");
}

static int catch_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

int command_capture(int argc, char **argv)
{
    struct capture_options options = {0};
    cli_parse(&capture_argp, argc, argv, &options);
    if (options.print && options.file != NULL) {
        cli_usage_error(argv[0], "--print and -w exclude each other");
    }

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
    struct stream stream = {
        .from = from,
        .signals = catch_signals(),
        .to = open_output(&options),
        .print = options.print || (options.file == NULL && isatty(STDOUT_FILENO)),
        .packets_max = options.count,
    };
    if (stream.signals < 0 || stream.to == NULL) {
        cli_error(argv[0], "cannot write '%s': %s", options.file != NULL ? options.file : "-",
                  strerror(errno));
        return CLI_EXIT_FAILURE;
    }
    int result = copy_stream(&stream, message);
    if (result == 0 && fclose(stream.to) != 0) {
        snprintf(message, sizeof(message), "cannot write: %s", strerror(errno));
        result = -EIO;
    }
    if (result != 0) {
        cli_error(argv[0], "%s", message);
        return CLI_EXIT_FAILURE;
    }
    fprintf(stderr, "%" PRIu64 " frames captured, %" PRIu64 " dropped\n", stream.packets,
            stream.drops);
    return 0;
}
