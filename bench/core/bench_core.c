/*
 * One cell of the core's benchmark: one stack, one kind of work, so many connections. Prints a line
 * of JSON: nanoseconds and segments of the measured part; under callgrind, with
 * --instr-atstart=no, just that part is counted. bench_core.py runs the cells and makes the table.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <valgrind/callgrind.h>

#include "pair.h"

#define OPEN_CLOSE_BATCH 32 /* then TIME_WAIT runs out, unmeasured */

/** Bytes of a turn of bulk transfer: a connection alone keeps its pipe full. */
#define BULK_BYTES_ALONE   (1u << 20)
#define BULK_BYTES_IN_TURN (64u << 10)

struct cell {
    const struct pair_operations *pair;
    const char *work;
    uint32_t connections;
    uint32_t units, warm_up_units;
    uint64_t random;
    uint64_t measured_ns, measured_segments;
    bool measuring;
};

/* ---- Applications' bytes ------------------------------------------------------------------ */

static uint8_t pattern[PAIR_PATTERN_BYTES + PAIR_FRAME_BYTES];
static uint8_t taken[PAIR_FRAME_BYTES];
bool pair_verifies;

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void pattern_fill(void)
{
    uint64_t state = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] =
            i < PAIR_PATTERN_BYTES ? (uint8_t)random_next(&state) : pattern[i - PAIR_PATTERN_BYTES];
}

const uint8_t *pair_pattern(uint64_t stream_offset)
{
    return pattern + stream_offset % PAIR_PATTERN_BYTES;
}

bool pair_take(uint64_t stream_offset, const uint8_t *bytes, size_t length)
{
    if (length > sizeof(taken))
        return false;
    memcpy(taken, bytes, length);
    return !pair_verifies || memcmp(taken, pair_pattern(stream_offset), length) == 0;
}

/* ---- Measuring ---------------------------------------------------------------------------- */

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void measure_begin(struct cell *cell)
{
    if (!cell->measuring)
        return;
    cell->measured_segments -= cell->pair->segments();
    CALLGRIND_START_INSTRUMENTATION;
    cell->measured_ns -= clock_ns();
}

static void measure_end(struct cell *cell)
{
    if (!cell->measuring)
        return;
    cell->measured_ns += clock_ns();
    CALLGRIND_STOP_INSTRUMENTATION;
    cell->measured_segments += cell->pair->segments();
}

/* ---- Work --------------------------------------------------------------------------------- */

/** Any connection, as a server's clients come: in no order. */
static uint32_t any_connection(struct cell *cell)
{
    return (uint32_t)(random_next(&cell->random) % cell->connections);
}

static bool run_bulk(struct cell *cell, uint32_t units)
{
    uint64_t bytes = cell->connections == 1 ? BULK_BYTES_ALONE : BULK_BYTES_IN_TURN;
    bool good = true;
    measure_begin(cell);
    for (uint32_t i = 0; i < units && good; i++)
        good = cell->pair->bulk(any_connection(cell), bytes);
    measure_end(cell);
    return good;
}

static bool run_echo(struct cell *cell, uint32_t units)
{
    bool good = true;
    measure_begin(cell);
    for (uint32_t i = 0; i < units && good; i++)
        good = cell->pair->echo(any_connection(cell));
    measure_end(cell);
    return good;
}

static bool run_open_close(struct cell *cell, uint32_t units)
{
    bool good = true;
    for (uint32_t done = 0; done < units && good; done += OPEN_CLOSE_BATCH) {
        uint32_t batch = units - done < OPEN_CLOSE_BATCH ? units - done : OPEN_CLOSE_BATCH;
        measure_begin(cell);
        for (uint32_t i = 0; i < batch && good; i++)
            good = cell->pair->open_close();
        measure_end(cell);
        good = good && cell->pair->rest();
    }
    return good;
}

static const struct {
    const char *name;
    bool (*run)(struct cell *cell, uint32_t units);
} works[] = {{"bulk", run_bulk}, {"echo64", run_echo}, {"open_close", run_open_close}};

static bool cell_run(struct cell *cell, bool (*run)(struct cell *cell, uint32_t units))
{
    if (!cell->pair->set_up(cell->connections))
        return false;
    double idle_bytes = cell->pair->bytes_per_idle_connection();
    pair_verifies = true;
    if (!run(cell, cell->warm_up_units))
        return false;
    pair_verifies = false;
    cell->measuring = true;
    if (!run(cell, cell->units))
        return false;
    printf("{\"stack\": \"%s\", \"work\": \"%s\", \"connections\": %" PRIu32
           ", \"segments\": %" PRIu64 ", \"ns\": %" PRIu64
           ", \"bytes_per_idle_connection\": %.1f}\n",
           cell->pair->name, cell->work, cell->connections, cell->measured_segments,
           cell->measured_ns, idle_bytes);
    return true;
}

/* ---- Arguments ---------------------------------------------------------------------------- */

static const struct argp_option arguments[] = {
    {"stack", 's', "pno|lwip", 0, "The stack to measure", 0},
    {"work", 'w', "bulk|echo64|open_close", 0, "What its connections do", 0},
    {"connections", 'c', "N", 0, "Established connections (1)", 0},
    {"units", 'u', "N", 0, "Transfers, echoes or connections to measure (100)", 0},
    {"warm-up", 'W', "N", 0, "As many first, unmeasured and verified (100)", 0},
    {0}};

static uint32_t parse_count(const char *text, uint32_t maximum, struct argp_state *state)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || value == 0 || value > maximum)
        argp_error(state, "'%s' is not a number from 1 to %" PRIu32, text, maximum);
    return (uint32_t)value;
}

static error_t parse_argument(int key, char *text, struct argp_state *state)
{
    struct cell *cell = state->input;
    switch (key) {
    case 's':
        if (strcmp(text, "pno") != 0 && strcmp(text, "lwip") != 0)
            argp_error(state, "no stack '%s'", text);
        cell->pair = strcmp(text, "pno") == 0 ? &pno_pair : &lwip_pair;
        return 0;
    case 'w':
        cell->work = text;
        return 0;
    case 'c':
        cell->connections = parse_count(text, PAIR_CONNECTIONS_MAX, state);
        return 0;
    case 'u':
        cell->units = parse_count(text, UINT32_MAX, state);
        return 0;
    case 'W':
        cell->warm_up_units = parse_count(text, UINT32_MAX, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    const struct argp argp = {
        arguments, parse_argument, NULL, "Measure one cell of the core's benchmark.",
        NULL,      NULL,           NULL};
    struct cell cell = {.pair = &pno_pair,
                        .work = "bulk",
                        .connections = 1,
                        .units = 100,
                        .warm_up_units = 100,
                        .random = 88172645463325252};
    if (argp_parse(&argp, argc, argv, 0, NULL, &cell) != 0)
        return 2;
    pattern_fill();
    for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++)
        if (strcmp(works[i].name, cell.work) == 0) {
            if (cell_run(&cell, works[i].run))
                return 0;
            fprintf(stderr, "bench-core: %s %s with %" PRIu32 " connections failed\n",
                    cell.pair->name, cell.work, cell.connections);
            return 1;
        }
    fprintf(stderr, "bench-core: no work '%s': see --help\n", cell.work);
    return 2;
}
