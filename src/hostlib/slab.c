#include "hostlib/slab.h"

#include <sys/mman.h>

#include "hostlib/leak_check.h"

static void **link_of(const struct slab *slab, void *object)
{
    return (void **)(void *)((char *)object + slab->link_offset);
}

void *slab_take(struct slab *slab)
{
    if (slab->free == NULL) {
        char *mapped = mmap(NULL, slab->mapped_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED)
            return NULL;
        leak_check_look_into(mapped, slab->mapped_bytes);
        for (size_t i = slab->mapped_bytes / slab->object_bytes; i > 0; i--)
            slab_give(slab, mapped + (i - 1) * slab->object_bytes);
    }
    void *object = slab->free;
    slab->free = *link_of(slab, object);
    return object;
}

void slab_give(struct slab *slab, void *object)
{
    *link_of(slab, object) = slab->free;
    slab->free = object;
}
