/**
 * @file capture.h
 * Those who capture: frames that the cores' taps copied go, filtered, to each reader as pcapng.
 * Control thread only. A slow reader loses frames (and is told how many); it never holds up the
 * engine, nor other readers.
 */
#ifndef PNO_ENGINE_CAPTURE_H
#define PNO_ENGINE_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "hostlink/abi.h"

#define CAPTURE_READERS_MAX 8

/** How often frames are fetched from the cores while somebody captures. */
#define CAPTURE_PERIOD_MS 5

struct capture_reader;
struct capture_ring;
struct engine;

/** All readers, and the cores' rings while there are any. */
struct capture {
    struct engine *engine;
    struct capture_ring *rings[LINK_CORES_MAX];
    LIST_HEAD(, capture_reader) readers;
    unsigned reader_count;
};

void capture_init(struct capture *capture, struct engine *engine);

static inline bool capture_is_on(const struct capture *capture)
{
    return capture->reader_count > 0;
}

/**
 * A reader joins; frames count from now on.
 * @param filter   in libpcap's language; empty: everything.
 * @param problem  filled with one line on failure.
 * @return 0; -EINVAL: the filter is wrong; -EUSERS; -ENOMEM.
 */
int capture_open(struct capture *capture, int fd, const char *filter,
                 struct capture_reader **reader, char *problem, size_t problem_bytes);

/** The reader leaves; its descriptor stays its caller's. The last one switches the taps off. */
void capture_close(struct capture *capture, struct capture_reader *reader);

/** Fetch what the cores have copied. */
void capture_collect(struct capture *capture);

/** The reader wants no more frames: end its stream with the interfaces' statistics. */
void capture_finish(struct capture *capture, struct capture_reader *reader);

/**
 * Write what the reader takes now.
 * @return 0; -ESHUTDOWN: a finished stream is out; another negative errno: the reader is gone.
 */
int capture_write(struct capture_reader *reader);

#endif
