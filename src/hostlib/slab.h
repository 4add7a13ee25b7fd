/**
 * @file slab.h
 * Objects of one size from memory that is mapped as needed and never unmapped, so that a stale
 * pointer to one can be looked at safely. Calls no malloc(): a signal handler may have interrupted
 * the application's. Without a lock of its own: its user has one.
 */
#ifndef PNO_HOSTLIB_SLAB_H
#define PNO_HOSTLIB_SLAB_H

#include <stddef.h>

struct slab {
    size_t object_bytes;
    size_t mapped_bytes; /**< at a time */
    size_t link_offset;  /**< where objects that are not in use may keep a pointer */
    void *free;
};

/** @return an object with unspecified contents, zero the first time; NULL: no memory. */
void *slab_take(struct slab *slab);
void slab_give(struct slab *slab, void *object);

#endif
