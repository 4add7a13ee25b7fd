#define _GNU_SOURCE
#include "hostlink/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "hostlink/ring.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static uint64_t round_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static uint64_t page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- Memory --------------------------------------------------------------------------------- */

int link_region_create(const char *name, uint64_t bytes)
{
    if (bytes == 0 || bytes > LINK_MEMORY_BYTES_MAX)
        return -EINVAL;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)bytes) < 0 || syscall(SYS_fcntl, fd, F_ADD_SEALS, SEALS) < 0) {
        int error = -errno;
        (void)syscall(SYS_close, fd);
        return error;
    }
    return fd;
}

int link_region_map(int fd, uint64_t bytes, uint8_t **base)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    long seals = syscall(SYS_fcntl, fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || status.st_size < 0 ||
        (uint64_t)status.st_size != bytes)
        return -EPROTO;
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (mapped == MAP_FAILED)
        return -errno;
    (void)madvise(mapped, bytes, MADV_DONTDUMP);
    *base = mapped;
    return 0;
}

void link_region_unmap(uint8_t *base, uint64_t bytes)
{
    (void)munmap(base, bytes);
}

uint64_t link_region_discard(uint8_t *base, uint64_t offset, uint64_t bytes)
{
    uint64_t page = page_bytes();
    uint64_t begin = round_up(offset, page);
    uint64_t end = (offset + bytes) & ~(page - 1);
    if (begin >= end || madvise(base + begin, end - begin, MADV_REMOVE) < 0)
        return 0;
    return end - begin;
}

/* ---- Layout --------------------------------------------------------------------------------- */

static bool sizes_are_valid(const struct link_layout_sizes *sizes)
{
    return sizes->engine_cores >= 1 && sizes->engine_cores <= LINK_CORES_MAX &&
           sizes->channels >= 1 && sizes->channels <= LINK_TENANT_CHANNELS_MAX &&
           sizes->ring_slots >= LINK_RING_SLOTS_MIN && sizes->ring_slots <= LINK_RING_SLOTS_MAX &&
           (sizes->ring_slots & (sizes->ring_slots - 1)) == 0 && sizes->receive_region_bytes > 0 &&
           sizes->receive_region_bytes <= LINK_MEMORY_BYTES_MAX / 4 &&
           sizes->host_region_bytes > 0 && sizes->host_region_bytes <= LINK_MEMORY_BYTES_MAX / 4;
}

static uint64_t ring_bytes(const struct link_layout *layout)
{
    return (uint64_t)layout->sizes.ring_slots * sizeof(struct link_descriptor);
}

int link_layout_compute(struct link_layout *layout, const struct link_layout_sizes *sizes)
{
    if (!sizes_are_valid(sizes))
        return -EINVAL;
    *layout = (struct link_layout){.sizes = *sizes};
    layout->sizes.receive_region_bytes =
        round_up(sizes->receive_region_bytes, LINK_REGION_ALIGNMENT);
    layout->sizes.host_region_bytes = round_up(sizes->host_region_bytes, LINK_REGION_ALIGNMENT);

    uint64_t page = page_bytes();
    uint64_t pairs = (uint64_t)sizes->channels * sizes->engine_cores;
    uint64_t rings = round_up(pairs * ring_bytes(layout), page);
    uint64_t feedback = round_up(pairs * sizeof(struct link_feedback), page);

    layout->to_engine_feedback = round_up(sizeof(struct link_arena_header), page);
    layout->to_host_rings = layout->to_engine_feedback + feedback;
    layout->receive_region = round_up(layout->to_host_rings + rings, LINK_REGION_ALIGNMENT);
    layout->host_region = layout->receive_region + layout->sizes.receive_region_bytes;
    layout->arena_bytes = layout->host_region + layout->sizes.host_region_bytes;

    layout->to_host_feedback = 0;
    layout->to_engine_rings = layout->to_host_feedback + feedback;
    layout->window_bytes = layout->to_engine_rings + rings;
    return 0;
}

void link_layout_place_channel(const struct link_layout *layout, uint32_t channel,
                               struct link_channel_reply *reply)
{
    PNO_ASSERT(channel < layout->sizes.channels);
    reply->channel = channel;
    reply->ring_slots = layout->sizes.ring_slots;
    for (uint32_t core = 0; core < layout->sizes.engine_cores; core++) {
        uint64_t pair = (uint64_t)channel * layout->sizes.engine_cores + core;
        uint64_t ring = pair * ring_bytes(layout);
        uint64_t feedback = pair * sizeof(struct link_feedback);
        reply->core[core].to_engine_ring = layout->to_engine_rings + ring;
        reply->core[core].to_engine_feedback = layout->to_engine_feedback + feedback;
        reply->core[core].to_host_ring = layout->to_host_rings + ring;
        reply->core[core].to_host_feedback = layout->to_host_feedback + feedback;
    }
}

void link_layout_clear_channel(const struct link_layout *layout, uint32_t channel, uint8_t *arena,
                               uint8_t *window)
{
    struct link_channel_reply place;
    link_layout_place_channel(layout, channel, &place);
    for (uint32_t core = 0; core < layout->sizes.engine_cores; core++) {
        memset(window + place.core[core].to_engine_ring, 0, ring_bytes(layout));
        memset(arena + place.core[core].to_engine_feedback, 0, sizeof(struct link_feedback));
        memset(arena + place.core[core].to_host_ring, 0, ring_bytes(layout));
        memset(window + place.core[core].to_host_feedback, 0, sizeof(struct link_feedback));
    }
}
