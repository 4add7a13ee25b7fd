/* The memcpy backend: engine and host share one machine, so a copy is done when submit returns. */
#include "hostlink/dma.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/** Copies leave no state behind. */
struct dma_device {
    uint8_t unused;
};

static struct dma_device stateless_device;

static struct dma_device *memcpy_create(void)
{
    return &stateless_device;
}

static void memcpy_destroy(struct dma_device *device)
{
    (void)device;
}

static bool in_bounds(const struct dma_arena *arena, uint64_t arena_offset, uint32_t bytes)
{
    return arena_offset <= arena->bytes && bytes <= arena->bytes - arena_offset;
}

static int memcpy_write(struct dma_device *device, const struct dma_arena *arena,
                        uint64_t arena_offset, const void *source, uint32_t bytes,
                        dma_completion_fn *completed, void *context)
{
    (void)device;
    if (!in_bounds(arena, arena_offset, bytes))
        return -EFAULT;
    memcpy(arena->base + arena_offset, source, bytes);
    if (completed != NULL)
        completed(context, 0);
    return 0;
}

static int memcpy_read(struct dma_device *device, const struct dma_arena *arena,
                       uint64_t arena_offset, void *destination, uint32_t bytes,
                       dma_completion_fn *completed, void *context)
{
    (void)device;
    if (!in_bounds(arena, arena_offset, bytes))
        return -EFAULT;
    memcpy(destination, arena->base + arena_offset, bytes);
    if (completed != NULL)
        completed(context, 0);
    return 0;
}

static unsigned memcpy_poll(struct dma_device *device)
{
    (void)device;
    return 0;
}

const struct dma_backend dma_backend_memcpy = {
    .name = "memcpy",
    .create = memcpy_create,
    .destroy = memcpy_destroy,
    .write = memcpy_write,
    .read = memcpy_read,
    .poll = memcpy_poll,
};
