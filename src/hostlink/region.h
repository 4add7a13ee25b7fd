/**
 * @file region.h
 * Shared memory of the link: making and mapping the memfds, and where things lie in them.
 *
 * The engine makes a tenant's arena and window, seals them against resizing (so that nobody can
 * fault the other by cutting pages away) and passes them on; both ends map them whole. The layout
 * is the engine's to compute; the host learns it from the hello and channel replies.
 */
#ifndef PNO_HOSTLINK_REGION_H
#define PNO_HOSTLINK_REGION_H

#include <stdint.h>

#include "hostlink/abi.h"

/** Regions within the arena start at multiples of this, so that huge pages can back them. */
#define LINK_REGION_ALIGNMENT (UINT64_C(2) << 20)

/** Channels in all that one tenant (with its forked processes) can have. */
#define LINK_TENANT_CHANNELS_MAX 1024

/** Largest arena or window: far from overflow anywhere. */
#define LINK_MEMORY_BYTES_MAX (UINT64_C(1) << 40)

/**
 * Make zeroed shared memory that can be neither shrunk nor grown. Costs nothing until touched.
 * @param name  for people: shown in /proc/PID/maps.
 * @return a close-on-exec descriptor, or a negative errno.
 */
int link_region_create(const char *name, uint64_t bytes);

/**
 * Map all of it, readable and writable, after checking that it has this size and is sealed. Core
 * dumps leave it out: what sockets hold is in none on kernel TCP either.
 * @return 0; -EPROTO: not what was announced; or why mmap() refused.
 */
int link_region_map(int fd, uint64_t bytes, uint8_t **base);

void link_region_unmap(uint8_t *base, uint64_t bytes);

/**
 * Give a range's pages back to the system; it reads as zeros afterwards. Bytes of pages only partly
 * covered stay as they are.
 * @return bytes given back, a multiple of the page size; 0 when the system refuses.
 */
uint64_t link_region_discard(uint8_t *base, uint64_t offset, uint64_t bytes);

/** What to lay out. */
struct link_layout_sizes {
    uint32_t engine_cores;         /**< 1..LINK_CORES_MAX */
    uint32_t channels;             /**< 1..LINK_TENANT_CHANNELS_MAX */
    uint32_t ring_slots;           /**< a power of two, LINK_RING_SLOTS_MIN..MAX */
    uint64_t receive_region_bytes; /**< rounded up to LINK_REGION_ALIGNMENT */
    uint64_t host_region_bytes;    /**< rounded up to LINK_REGION_ALIGNMENT */
};

/** Where things lie. The arena's header is at its offset 0. */
struct link_layout {
    struct link_layout_sizes sizes; /**< as rounded */
    uint64_t arena_bytes;
    uint64_t to_host_rings;      /**< arena */
    uint64_t to_engine_feedback; /**< arena */
    uint64_t receive_region;     /**< arena */
    uint64_t host_region;        /**< arena */
    uint64_t window_bytes;
    uint64_t to_engine_rings;  /**< window */
    uint64_t to_host_feedback; /**< window */
};

/** @return 0, or -EINVAL: a size out of its bounds. */
int link_layout_compute(struct link_layout *layout, const struct link_layout_sizes *sizes);

/** Fill reply->channel, ring_slots and core[] for one channel (0..channels-1). */
void link_layout_place_channel(const struct link_layout *layout, uint32_t channel,
                               struct link_channel_reply *reply);

/** Zero a channel's rings and feedback, so that it can be given out again. */
void link_layout_clear_channel(const struct link_layout *layout, uint32_t channel, uint8_t *arena,
                               uint8_t *window);

#endif
