#include "wire/direction.h"

#include <stdlib.h>

#define ETHERNET_HEADER_BYTES 14
#define NS_PER_S              1000000000ULL

/** What is drawn for every frame, used or not, so that the choices don't depend on each other. */
struct draws {
    double loss;
    double duplicate;
    struct {
        double corrupt;
        double bit;
        double jitter;
        double reorder;
    } copy[2];
};

/* SplitMix64 (Steele, Lea, Flood 2014): passes BigCrush, and any seed will do. */
static uint64_t random_next(struct wire_direction *direction)
{
    uint64_t z = (direction->random_state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* From 0 up to but not including 1. */
static double random_share(struct wire_direction *direction)
{
    return (double)(random_next(direction) >> 11) * 0x1p-53;
}

bool wire_direction_init(struct wire_direction *direction, const struct wire_config *config,
                         unsigned number)
{
    *direction = (struct wire_direction){.config = *config, .random_state = config->seed};
    /* Neighbouring seeds must not be each other's directions: so mix before telling them apart. */
    direction->random_state = random_next(direction) + (number ^ config->turned);
    direction->random_state = random_next(direction);
    direction->finish_ns = calloc(WIRE_QUEUE_MAX, sizeof(*direction->finish_ns));
    return direction->finish_ns != NULL;
}

void wire_direction_destroy(struct wire_direction *direction)
{
    free(direction->finish_ns);
    direction->finish_ns = NULL;
}

static struct draws draw(struct wire_direction *direction)
{
    struct draws draws;
    draws.loss = random_share(direction);
    draws.duplicate = random_share(direction);
    for (int i = 0; i < 2; i++) {
        draws.copy[i].corrupt = random_share(direction);
        draws.copy[i].bit = random_share(direction);
        draws.copy[i].jitter = random_share(direction);
        draws.copy[i].reorder = random_share(direction);
    }
    return draws;
}

static void forget_sent(struct wire_direction *direction, uint64_t now_ns)
{
    while (direction->queue_length > 0 && direction->finish_ns[direction->queue_head] <= now_ns) {
        direction->queue_head = (direction->queue_head + 1) % WIRE_QUEUE_MAX;
        direction->queue_length--;
    }
}

static uint64_t sending_time_ns(const struct wire_direction *direction, uint64_t bytes)
{
    return (uint64_t)((double)bytes * 8 * NS_PER_S / (double)direction->config.rate_bps);
}

/* Pass the buffer and the rate limit; false: the buffer is full. */
static bool pass_limiter(struct wire_direction *direction, uint64_t now_ns, size_t frame_bytes,
                         uint64_t *finish_ns)
{
    const struct wire_config *config = &direction->config;
    *finish_ns = now_ns;
    if (config->rate_bps == 0) {
        return true;
    }
    forget_sent(direction, now_ns);
    uint64_t waiting_ns = direction->free_at_ns > now_ns ? direction->free_at_ns - now_ns : 0;
    uint64_t limit_ns = sending_time_ns(direction, config->buffer_bytes);
    uint64_t own_ns = sending_time_ns(direction, frame_bytes);
    /* A frame larger than the buffer still gets through an empty one. */
    if ((config->buffer_bytes != 0 && waiting_ns > 0 && waiting_ns + own_ns > limit_ns) ||
        (config->buffer_packets != 0 && direction->queue_length >= config->buffer_packets) ||
        direction->queue_length == WIRE_QUEUE_MAX) {
        return false;
    }
    direction->free_at_ns = now_ns + waiting_ns + own_ns;
    size_t tail = (direction->queue_head + direction->queue_length) % WIRE_QUEUE_MAX;
    direction->finish_ns[tail] = direction->free_at_ns;
    direction->queue_length++;
    *finish_ns = direction->free_at_ns;
    return true;
}

static uint64_t delay_ns(const struct wire_config *config, double jitter)
{
    double around = (2 * jitter - 1) * (double)config->jitter_ns;
    return (uint64_t)((double)config->delay_ns + around);
}

void wire_direction_enter(struct wire_direction *direction, uint64_t now_ns, size_t frame_bytes,
                          bool housekeeping, struct wire_fate *fate)
{
    const struct wire_config *config = &direction->config;
    struct wire_counters *counters = &direction->counters;
    struct draws draws = draw(direction);
    *fate = (struct wire_fate){0};
    counters->entered++;
    if (!housekeeping && draws.loss < config->loss) {
        counters->lost++;
        return;
    }
    bool duplicate = !housekeeping && draws.duplicate < config->duplicate;
    counters->duplicated += duplicate;
    for (unsigned copy = 0; copy < 1U + duplicate; copy++) {
        struct wire_arrival *arrival = &fate->arrival[fate->arrivals];
        uint64_t finish_ns;
        if (!pass_limiter(direction, now_ns, frame_bytes, &finish_ns)) {
            counters->overflowed++;
            continue;
        }
        bool overtakes = !housekeeping && draws.copy[copy].reorder < config->reorder;
        counters->overtaking += overtakes;
        arrival->at_ns =
            overtakes ? finish_ns : finish_ns + delay_ns(config, draws.copy[copy].jitter);
        arrival->corrupted = !housekeeping && frame_bytes > ETHERNET_HEADER_BYTES &&
                             draws.copy[copy].corrupt < config->corrupt;
        if (arrival->corrupted) {
            counters->corrupted++;
            size_t bits = (frame_bytes - ETHERNET_HEADER_BYTES) * 8;
            arrival->corrupted_bit = (uint32_t)(draws.copy[copy].bit * (double)bits);
        }
        fate->arrivals++;
    }
}
