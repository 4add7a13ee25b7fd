/*
 * Writes packet_input's seed corpus: short conversations for the fuzzer to vary. Usage:
 * packet-corpus DIRECTORY.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/segment.h"
#include "packet_input.h"

struct writer {
    uint8_t bytes[1024];
    size_t length;
};

static void put(struct writer *writer, uint8_t byte)
{
    if (writer->length < sizeof(writer->bytes))
        writer->bytes[writer->length++] = byte;
}

/** A segment on flow with right numbers, but for seq_offset; how as packet_input.h says. */
static void put_segment(struct writer *writer, uint8_t how, uint8_t flow, uint8_t flags,
                        int8_t seq_offset, uint8_t payload, uint8_t options_kind)
{
    put(writer, how);
    put(writer, flow);
    put(writer, flags);
    put(writer, seq_offset == 0 ? 0 : 128);
    if (seq_offset != 0)
        put(writer, (uint8_t)seq_offset);
    put(writer, 0); /* ack: as expected */
    put(writer, 0xff);
    put(writer, 0xff);
    put(writer, 0); /* short payload */
    put(writer, payload);
    put(writer, options_kind);
    if (options_kind >= 64 && options_kind < 160) {
        put(writer, 0); /* both timestamps as expected */
        put(writer, 0);
    }
}

static void put_application(struct writer *writer, uint8_t which, uint8_t flow, int bytes)
{
    put(writer, PACKET_INPUT_APPLICATION);
    put(writer, which);
    put(writer, flow);
    if (bytes >= 0) {
        put(writer, (uint8_t)(bytes >> 8));
        put(writer, (uint8_t)bytes);
    }
}

static void put_time(struct writer *writer)
{
    put(writer, PACKET_INPUT_TIME);
    put(writer, 0);
}

/** SYN (with options of kind), then the ACK of the SYN-ACK: flow FLOWS - 1 is taken first. */
static void put_handshake(struct writer *writer, uint8_t options_kind)
{
    put_segment(writer, 0, 7, TCP_SYN, 0, 0, options_kind);
    put_segment(writer, 0, 7, TCP_ACK, 0, 0, options_kind);
}

static void converse(struct writer *writer, uint8_t options_kind, uint8_t how)
{
    put_handshake(writer, options_kind);
    put_segment(writer, how, 7, TCP_ACK | TCP_PSH, 0, 100, options_kind);
    put_application(writer, 3, 0, 100);
    put_application(writer, 1, 0, 5000);
    put_segment(writer, how, 7, TCP_ACK, 0, 0, options_kind);
    put_segment(writer, how, 7, TCP_ACK, 50, 20, options_kind);
    put_segment(writer, how, 7, TCP_ACK, 90, 20, options_kind);
    put_time(writer);
    put_segment(writer, how, 7, TCP_ACK, 0, 100, options_kind);
    put_segment(writer, how, 7, TCP_ACK | TCP_FIN, 0, 0, options_kind);
    put_application(writer, 6, 0, -1);
    put_segment(writer, how, 7, TCP_ACK, 0, 0, options_kind);
    put_time(writer);
}

static int write_file(const char *directory, unsigned number, const struct writer *writer)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/seed-%02u", directory, number);
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t written = fwrite(writer->bytes, 1, writer->length, file);
    return (fclose(file) != 0) | (written != writer->length);
}

int main(int argc, char **argv)
{
    static const uint8_t option_kinds[] = {0, 64, 160};
    static const uint8_t ways[] = {0, 4, 8};
    unsigned number = 0;
    int failed = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: packet-corpus DIRECTORY\n");
        return 2;
    }
    for (uint8_t family = 0; family < 2; family++) {
        for (unsigned i = 0; i < sizeof(option_kinds); i++) {
            for (unsigned j = 0; j < sizeof(ways); j++) {
                struct writer writer = {.bytes = {family}, .length = 1};
                converse(&writer, option_kinds[i], ways[j]);
                failed |= write_file(argv[1], number++, &writer);
            }
        }
        struct writer opening = {.bytes = {family}, .length = 1};
        put_application(&opening, 0, 0, -1);
        put_segment(&opening, 0, 7, TCP_SYN | TCP_ACK, 0, 0, 0);
        put_application(&opening, 1, 0, 3000);
        put_time(&opening);
        put_segment(&opening, 0, 7, TCP_RST | TCP_ACK, 0, 0, 0);
        failed |= write_file(argv[1], number++, &opening);
    }
    return failed;
}
