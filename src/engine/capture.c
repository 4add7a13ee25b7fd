#include "engine/capture.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/time_units.h"
#include "engine/capture_ring.h"
#include "engine/engine_core.h"
#include "engine/pcapng.h"
#include "engine/ports/port.h"

#define RING_BYTES          (UINT64_C(32) << 20) /* per core; touched as used */
#define READER_BYTES        (UINT64_C(32) << 20)
#define STATISTICS_BYTES    512               /* kept free for the stream's end */
#define SOCKET_BUFFER_BYTES (4 * 1024 * 1024) /* so that one write serves a period */
#define FRAME_BYTES_MAX     262144            /* more than any frame: libpcap's snapshot length */
#define TURNED_NAME         "turned"          /* frames to our own addresses, as the kernel's lo */

struct capture_reader {
    LIST_ENTRY(capture_reader) link;
    int fd;
    bool has_filter, finished;
    struct bpf_program filter;
    struct pcapng_buffer buffer;
    uint64_t drops_before[CAPTURE_INTERFACES]; /**< the rings' when it joined */
    struct pcapng_statistics statistics[CAPTURE_INTERFACES];
};

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void capture_init(struct capture *capture, struct engine *engine)
{
    *capture = (struct capture){.engine = engine};
    LIST_INIT(&capture->readers);
}

/* ---- The taps
 * ------------------------------------------------------------------------------------ */

static void set_tap(struct engine_core *core, void *ring)
{
    core->capture = ring;
}

static void switch_off(struct capture *capture)
{
    for (unsigned i = 0; i < capture->engine->core_count; i++) {
        if (capture->rings[i] == NULL)
            continue;
        engine_core_call(capture->engine->cores[i], set_tap, NULL);
        capture_ring_destroy(capture->rings[i]);
        capture->rings[i] = NULL;
    }
}

static int switch_on(struct capture *capture)
{
    for (unsigned i = 0; i < capture->engine->core_count; i++) {
        capture->rings[i] = capture_ring_create(RING_BYTES);
        if (capture->rings[i] == NULL) {
            switch_off(capture);
            return -ENOMEM;
        }
        engine_core_call(capture->engine->cores[i], set_tap, capture->rings[i]);
    }
    return 0;
}

static uint64_t ring_drops(const struct capture *capture, enum capture_interface interface)
{
    uint64_t drops = 0;
    for (unsigned i = 0; i < capture->engine->core_count; i++)
        drops += capture_ring_drops(capture->rings[i], interface);
    return drops;
}

/* ---- Frames
 * -------------------------------------------------------------------------------------- */

static void deliver(struct capture_reader *reader, const struct capture_record *record)
{
    const uint8_t *bytes = (const uint8_t *)(record + 1);
    struct pcapng_statistics *statistics = &reader->statistics[record->interface];
    if (reader->finished)
        return;
    statistics->received++;
    if (reader->has_filter &&
        bpf_filter(reader->filter.bf_insns, bytes, record->bytes, record->bytes) == 0)
        return;
    if (pcapng_add_packet(&reader->buffer, record->interface, record->time_ns, record->direction,
                          bytes, record->bytes))
        statistics->delivered++;
    else
        statistics->reader_drops++;
}

/** The core whose oldest frame is the oldest of all; core_count: there is none. */
static unsigned oldest_core(const struct capture *capture, const struct capture_record **oldest)
{
    unsigned core = capture->engine->core_count;
    *oldest = NULL;
    for (unsigned i = 0; i < capture->engine->core_count; i++) {
        const struct capture_record *record = capture_ring_first(capture->rings[i]);
        if (record != NULL && (*oldest == NULL || record->time_ns < (*oldest)->time_ns)) {
            *oldest = record;
            core = i;
        }
    }
    return core;
}

void capture_collect(struct capture *capture)
{
    const struct capture_record *record;
    struct capture_reader *reader;
    uint64_t now_ns = wall_clock_ns();
    if (!capture_is_on(capture))
        return;
    for (;;) {
        unsigned core = oldest_core(capture, &record);
        /* What comes while we are at it waits for the next time, so that this one ends. */
        if (record == NULL || record->time_ns > now_ns)
            break;
        LIST_FOREACH(reader, &capture->readers, link)
        {
            deliver(reader, record);
        }
        capture_ring_next(capture->rings[core]);
    }
}

/* ---- Readers
 * ------------------------------------------------------------------------------------- */

static int compile(struct capture_reader *reader, const char *filter, char *problem,
                   size_t problem_bytes)
{
    if (filter[0] == '\0')
        return 0;
    pcap_t *ethernet = pcap_open_dead(DLT_EN10MB, FRAME_BYTES_MAX);
    if (ethernet == NULL)
        return -ENOMEM;
    int result = 0;
    if (pcap_compile(ethernet, &reader->filter, filter, 1, PCAP_NETMASK_UNKNOWN) != 0) {
        (void)snprintf(problem, problem_bytes, "the filter '%s' is wrong: %s (see pcap-filter(7))",
                       filter, pcap_geterr(ethernet));
        result = -EINVAL;
    }
    reader->has_filter = result == 0;
    pcap_close(ethernet);
    return result;
}

static void destroy(struct capture_reader *reader)
{
    if (reader->has_filter)
        pcap_freecode(&reader->filter);
    free(reader->buffer.memory);
    free(reader);
}

/** @return whether all found room, as it always does in an empty buffer. */
static bool begin_stream(const struct capture *capture, struct capture_reader *reader)
{
    static const char answer[] = "{\"capture\":\"pcapng\"}\n";
    struct pcapng_buffer *buffer = &reader->buffer;
    memcpy(buffer->memory, answer, sizeof(answer) - 1);
    buffer->end = sizeof(answer) - 1;
    buffer->size = READER_BYTES - STATISTICS_BYTES;
    return pcapng_add_section(buffer, "pnod " ENGINE_VERSION) &&
           pcapng_add_interface(buffer, port_name(capture->engine->port)) &&
           pcapng_add_interface(buffer, TURNED_NAME);
}

int capture_open(struct capture *capture, int fd, const char *filter, struct capture_reader **out,
                 char *problem, size_t problem_bytes)
{
    (void)snprintf(problem, problem_bytes, "no memory to capture");
    if (capture->reader_count == CAPTURE_READERS_MAX) {
        (void)snprintf(problem, problem_bytes, "%d captures are under way already: end one",
                       CAPTURE_READERS_MAX);
        return -EUSERS;
    }
    struct capture_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL)
        return -ENOMEM;
    reader->fd = fd;
    reader->buffer.memory = malloc(READER_BYTES);
    int result = reader->buffer.memory != NULL ? 0 : -ENOMEM;
    if (result == 0)
        result = compile(reader, filter, problem, problem_bytes);
    if (result == 0 && !begin_stream(capture, reader))
        result = -ENOMEM;
    /* What others' taps caught before is not this reader's. */
    capture_collect(capture);
    if (result == 0 && !capture_is_on(capture))
        result = switch_on(capture);
    if (result != 0) {
        destroy(reader);
        return result;
    }
    int bytes = SOCKET_BUFFER_BYTES;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
    for (unsigned i = 0; i < CAPTURE_INTERFACES; i++) {
        reader->drops_before[i] = ring_drops(capture, i);
        reader->statistics[i].start_ns = wall_clock_ns();
    }
    LIST_INSERT_HEAD(&capture->readers, reader, link);
    capture->reader_count++;
    *out = reader;
    return 0;
}

void capture_close(struct capture *capture, struct capture_reader *reader)
{
    LIST_REMOVE(reader, link);
    if (--capture->reader_count == 0)
        switch_off(capture);
    destroy(reader);
}

void capture_finish(struct capture *capture, struct capture_reader *reader)
{
    if (reader->finished)
        return;
    capture_collect(capture);
    reader->finished = true;
    reader->buffer.size = READER_BYTES;
    for (uint32_t i = 0; i < CAPTURE_INTERFACES; i++) {
        struct pcapng_statistics *statistics = &reader->statistics[i];
        statistics->end_ns = wall_clock_ns();
        statistics->dropped = ring_drops(capture, i) - reader->drops_before[i];
        statistics->received += statistics->dropped;
        (void)pcapng_add_statistics(&reader->buffer, i, statistics);
    }
}

int capture_write(struct capture_reader *reader)
{
    struct pcapng_buffer *buffer = &reader->buffer;
    while (buffer->first < buffer->end) {
        ssize_t sent = send(reader->fd, buffer->memory + buffer->first, buffer->end - buffer->first,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (sent < 0)
            break;
        buffer->first += (size_t)sent;
    }
    if (buffer->first == buffer->end && reader->finished)
        return -ESHUTDOWN;
    /* Move to the front once that is cheap for what it wins. */
    if (buffer->first >= buffer->size / 2 || buffer->first == buffer->end) {
        memmove(buffer->memory, buffer->memory + buffer->first, buffer->end - buffer->first);
        buffer->end -= buffer->first;
        buffer->first = 0;
    }
    return 0;
}
