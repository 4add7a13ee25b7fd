/**
 * @file dma.h
 * The engine's only way to host memory: submit copies, poll completions.
 *
 * Backends: `memcpy` (same machine, completes within submit), later `dmadev` (DPDK rte_dma) and a
 * PCIe model over either. Addresses on the host side are arena offsets of one mapped tenant;
 * every submit checks offset and length against the arena's bounds.
 */
#ifndef PNO_HOSTLINK_DMA_H
#define PNO_HOSTLINK_DMA_H

#include <stdint.h>

struct dma_arena {
    uint8_t *base; /**< where the tenant's arena is mapped */
    uint64_t bytes;
};

/** Called once per completed copy, in submission order per device. error: 0 or negative errno. */
typedef void dma_completion_fn(void *context, int error);

struct dma_device;

struct dma_backend {
    const char *name;
    struct dma_device *(*create)(void);
    void (*destroy)(struct dma_device *device);
    /** Engine memory to host memory. completed may run before this returns (and always does with
     *  memcpy); NULL: nobody waits. @return 0, -EFAULT out of bounds, -EAGAIN queue full. */
    int (*write)(struct dma_device *device, const struct dma_arena *arena, uint64_t arena_offset,
                 const void *source, uint32_t bytes, dma_completion_fn *completed, void *context);
    /** Host memory to engine memory; otherwise as write. */
    int (*read)(struct dma_device *device, const struct dma_arena *arena, uint64_t arena_offset,
                void *destination, uint32_t bytes, dma_completion_fn *completed, void *context);
    /** Run completions that are due. @return how many. */
    unsigned (*poll)(struct dma_device *device);
};

extern const struct dma_backend dma_backend_memcpy;

#endif
