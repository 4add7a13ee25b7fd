/**
 * @file packet_input.h
 * How packet_input's inputs begin each operation: the first byte's range says which it is. Shared
 * with the generator of the seed corpus.
 */
#ifndef PNO_FUZZ_PACKET_INPUT_H
#define PNO_FUZZ_PACKET_INPUT_H

#include <stddef.h>
#include <stdint.h>

/** Below this: a segment; its low four bits: 1 mutated, 2 cut short, 4 fragmented, 8 refused. */
#define PACKET_INPUT_APPLICATION 128
#define PACKET_INPUT_TIME        176
#define PACKET_INPUT_RAW         208
#define PACKET_INPUT_ICMP        240

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
