/*
 * Writes live-input's seeds: short conversations that reach the interesting states, for the fuzzer
 * to vary. Usage: live-corpus DIRECTORY.
 */
#include <stdbool.h>
#include <stdio.h>

#include "core/segment.h"
#include "live_input.h"

struct writer {
    uint8_t bytes[2048];
    size_t length;
};

#define PUT(writer, ...)                                                                           \
    put(writer, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void put(struct writer *writer, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count && writer->length < sizeof(writer->bytes); i++)
        writer->bytes[writer->length++] = bytes[i];
}

/** Option bits: MSS 1, SACK 2, scale 4, timestamps 8, payload 16, ECN 32. */
static void put_handshake(struct writer *w, uint8_t peer, uint8_t options, uint8_t fast_open)
{
    PUT(w, LIVE_SYN, peer, 0, options, 1460 >> 8, 1460 & 0xff, 7, fast_open);
    PUT(w, LIVE_ACK, peer, 0, 0xff, 0xff);
}

static void put_data(struct writer *w, uint8_t flow, uint8_t how, unsigned bytes)
{
    PUT(w, LIVE_DATA, flow, how, (uint8_t)(bytes >> 8), (uint8_t)bytes);
}

static void put_send(struct writer *w, uint8_t slot, unsigned bytes)
{
    PUT(w, LIVE_SEND, slot, 0, (uint8_t)(bytes >> 8), (uint8_t)bytes);
}

/** Data both ways, a hole in each, recovery, a probe, the end. */
static void put_conversation(struct writer *w, uint8_t how)
{
    put_data(w, 0, how, 500);
    put_data(w, 0, LIVE_HOW_HELD, 1000);
    put_data(w, 0, how, 1000);
    PUT(w, LIVE_READ, 0, 0xff, 0xff);
    put_send(w, 0, 60000);
    PUT(w, LIVE_SACK, 0, 0, 2, 2, 0, 4, 0);
    PUT(w, LIVE_SACK, 0, 0, 1, 6, 0);
    PUT(w, LIVE_TIME, 0);
    PUT(w, LIVE_TIME, 0);
    PUT(w, LIVE_AGAIN, 1);
    PUT(w, LIVE_ACK, 0, 0, 0xff, 0xff);
    put_send(w, 0, 3000);
    PUT(w, LIVE_ACK, 0, 0, 0, 0); /* the window closes */
    PUT(w, LIVE_TIME, 0);
    PUT(w, LIVE_ACK, 0, 0, 0, 1);
    PUT(w, LIVE_TIME, 0);
    PUT(w, LIVE_ACK, 0, 0, 0xff, 0xff);
    PUT(w, LIVE_SEGMENT, 0, 0, TCP_ACK | TCP_URG, 0, 0, 0, 0, 0xff, 0xff, 0, 10, 0, 0, 5);
    PUT(w, LIVE_ICMP, 0, 3, 4, 576 >> 8, 576 & 0xff, 0);
}

static void put_close(struct writer *w, bool peer_first)
{
    if (peer_first)
        put_data(w, 0, LIVE_HOW_FIN, 10);
    PUT(w, LIVE_READ, 0, 0xff, 0xff);
    PUT(w, LIVE_END, 0, peer_first ? LIVE_CLOSE : LIVE_SHUT_WRITE);
    PUT(w, LIVE_ACK, 0, 0, 0xff, 0xff);
    if (!peer_first)
        put_data(w, 0, LIVE_HOW_FIN, 10);
    PUT(w, LIVE_TIME, 0);
}

static void put_open(struct writer *w, uint8_t how)
{
    PUT(w, LIVE_OPEN, how, 0);
    put_send(w, 0, 700);
    PUT(w, LIVE_SEND, 0, 2, 0, 100);
    PUT(w, LIVE_SYN, 1, 0, 0x40 | 0x80 | 15, 1460 >> 8, 1460 & 0xff, 7, 17);
    put_data(w, 0, 0, 300);
    PUT(w, LIVE_ACK, 0, 0, 0xff, 0xff);
}

static int write_file(const char *directory, unsigned number, const struct writer *writer)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/seed-%03u", directory, number);
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t written = fwrite(writer->bytes, 1, writer->length, file);
    return (fclose(file) != 0) | (written != writer->length);
}

/** One seed: configuration, then a story. */
static struct writer story(uint8_t first, uint8_t second, unsigned kind)
{
    struct writer w = {{first, second}, 2};
    switch (kind) {
    case 0:
    case 1:
        put_handshake(&w, 0, 15, 0);
        put_conversation(&w, 0);
        put_close(&w, kind == 0);
        break;
    case 2: /* several at once, some by cookie, fragments, no memory */
        for (uint8_t peer = 0; peer < 6; peer++)
            put_handshake(&w, peer, peer % 2 == 0 ? 15 : 0x2f, 0);
        put_conversation(&w, LIVE_HOW_FRAGMENTED);
        put_data(&w, 1, LIVE_HOW_REFUSED, 100);
        put_data(&w, 1, 0, 100);
        put_close(&w, true);
        break;
    case 3: /* fast open, both ways */
        put_handshake(&w, 0, 15, 1);
        put_handshake(&w, 1, 0x1f, 2);
        put_send(&w, 1, 2000);
        put_open(&w, 1);
        put_open(&w, 1);
        break;
    case 4: /* active opens: to the peer, at once from both sides, to itself */
        put_open(&w, 0);
        PUT(&w, LIVE_OPEN, 16, 0);
        PUT(&w, LIVE_SYN, 0, 0, 0x4f, 0, 100, 3, 0);
        PUT(&w, LIVE_OPEN, 4, 0);
        put_send(&w, 2, 5000);
        PUT(&w, LIVE_READ, 3, 0xff, 0xff);
        break;
    default: /* placement, options, time */
        put_handshake(&w, 0, 15, 0);
        PUT(&w, LIVE_PLACEMENT, 1);
        put_data(&w, 0, 0x30, 3000);
        PUT(&w, LIVE_PLACEMENT, 0);
        PUT(&w, LIVE_OPTIONS, 0, 0xff, (uint8_t)kind, 3, 30, 8, 5);
        put_send(&w, 0, 30000);
        for (unsigned i = 0; i < 6; i++)
            PUT(&w, LIVE_TIME, 0);
        PUT(&w, LIVE_OPTIONS, 0, 4, 0, 0, 0, 0, 1);
        PUT(&w, LIVE_LISTENER, 5, 0);
        PUT(&w, LIVE_LISTENER, 0, 0);
        break;
    }
    return w;
}

int main(int argc, char **argv)
{
    static const uint8_t firsts[] = {0,
                                     LIVE_IPV6,
                                     LIVE_NO_TIMESTAMPS,
                                     LIVE_NO_SACK | LIVE_MTU_PROBING,
                                     LIVE_FAST_OPEN,
                                     LIVE_FEW_RECORDS | LIVE_NO_SCALING,
                                     LIVE_PACED | LIVE_FAST_OPEN | LIVE_IPV6};
    static const uint8_t seconds[] = {0, LIVE_ECN | 2, LIVE_GSO | 3, LIVE_BACKLOG_ONE | 4,
                                      LIVE_LARGE_MTU | LIVE_SMALL_BUFFERS | 5};
    unsigned number = 0;
    int failed = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: live-corpus DIRECTORY\n");
        return 2;
    }
    for (unsigned i = 0; i < sizeof(firsts); i++)
        for (unsigned j = 0; j < sizeof(seconds); j++)
            for (unsigned kind = 0; kind < 6; kind++) {
                struct writer writer = story(firsts[i], seconds[j], kind);
                failed |= write_file(argv[1], number++, &writer);
            }
    return failed;
}
