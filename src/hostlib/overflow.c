#include "hostlib/overflow.h"

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

/* The first ones fill a few pages. */
#define CAPACITY_FIRST 256

/* So far back is an operation of the same socket looked for. */
#define MERGE_LOOKS 64

/* The engine refuses longer pieces. */
#define SEND_BYTES_MAX (UINT64_C(1) << 30)

static bool is_same_socket(const struct link_descriptor *a, const struct link_descriptor *b)
{
    return a->socket.slot == b->socket.slot && a->socket.incarnation == b->socket.incarnation;
}

static bool merge_consumed(struct link_descriptor *waiting, const struct link_descriptor *later)
{
    if (later->data.stream_offset > waiting->data.stream_offset)
        waiting->data.stream_offset = later->data.stream_offset;
    return true;
}

/* Bytes that follow in the stream and in the arena. The later word on MORE counts. */
static bool merge_send(struct link_descriptor *waiting, const struct link_descriptor *later)
{
    if ((waiting->flags & LINK_FLAG_URGENT) != 0 ||
        waiting->data.stream_offset + waiting->data.length != later->data.stream_offset ||
        waiting->data.arena_offset + waiting->data.length != later->data.arena_offset ||
        waiting->data.length + later->data.length > SEND_BYTES_MAX)
        return false;
    waiting->data.length += later->data.length;
    waiting->flags = later->flags;
    if (later->data.consumed > waiting->data.consumed)
        waiting->data.consumed = later->data.consumed;
    return true;
}

/* Only with the socket's last one: the order of a socket's operations stays. */
static bool merge(struct overflow *overflow, const struct link_descriptor *later)
{
    uint32_t looks = 0;
    for (uint32_t i = overflow->end; i > overflow->first && looks < MERGE_LOOKS; i--, looks++) {
        struct link_descriptor *waiting = &overflow->entries[i - 1];
        if (!is_same_socket(waiting, later))
            continue;
        if (waiting->type != later->type)
            return false;
        if (later->type == LINK_OP_CONSUMED)
            return merge_consumed(waiting, later);
        return later->type == LINK_OP_SEND && merge_send(waiting, later);
    }
    return false;
}

/* Room at the end for one more. */
static bool make_room(struct overflow *overflow)
{
    if (overflow->end < overflow->capacity)
        return true;
    uint32_t count = overflow->end - overflow->first;
    if (overflow->first >= overflow->capacity / 2 && overflow->capacity > 0) {
        memmove((void *)overflow->entries, (void *)overflow_first(overflow),
                count * sizeof(overflow->entries[0]));
    } else {
        uint32_t capacity = overflow->capacity == 0 ? CAPACITY_FIRST : overflow->capacity * 2;
        void *larger = mmap(NULL, capacity * sizeof(overflow->entries[0]), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (larger == MAP_FAILED)
            return false;
        if (overflow->capacity > 0) {
            memcpy(larger, (const void *)overflow_first(overflow),
                   count * sizeof(overflow->entries[0]));
            (void)munmap(overflow->entries, overflow->capacity * sizeof(overflow->entries[0]));
        }
        overflow->entries = larger;
        overflow->capacity = capacity;
    }
    overflow->first = 0;
    overflow->end = count;
    return true;
}

bool overflow_add(struct overflow *overflow, const struct link_descriptor *descriptor)
{
    if (merge(overflow, descriptor))
        return true;
    if (!make_room(overflow))
        return false;
    memcpy((void *)&overflow->entries[overflow->end++], (const void *)descriptor,
           sizeof(*descriptor));
    return true;
}
