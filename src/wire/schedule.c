/* A binary heap. */
#include "wire/schedule.h"

#include <stdlib.h>

#include "base/assert.h"

bool wire_schedule_init(struct wire_schedule *schedule, size_t capacity)
{
    *schedule = (struct wire_schedule){.capacity = capacity};
    schedule->heap = calloc(capacity, sizeof(*schedule->heap));
    return schedule->heap != NULL;
}

void wire_schedule_destroy(struct wire_schedule *schedule)
{
    free(schedule->heap);
    schedule->heap = NULL;
}

static bool before(const struct wire_scheduled *a, const struct wire_scheduled *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void wire_schedule_push(struct wire_schedule *schedule, uint64_t at_ns, uint32_t slot,
                        uint32_t bytes)
{
    PNO_ASSERT(schedule->length < schedule->capacity);
    struct wire_scheduled added = {at_ns, schedule->next_order++, slot, bytes};
    size_t hole = schedule->length++;
    while (hole > 0 && before(&added, &schedule->heap[(hole - 1) / 2])) {
        schedule->heap[hole] = schedule->heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    schedule->heap[hole] = added;
}

const struct wire_scheduled *wire_schedule_first(const struct wire_schedule *schedule)
{
    return schedule->length > 0 ? &schedule->heap[0] : NULL;
}

struct wire_scheduled wire_schedule_pop(struct wire_schedule *schedule)
{
    PNO_ASSERT(schedule->length > 0);
    struct wire_scheduled first = schedule->heap[0];
    struct wire_scheduled last = schedule->heap[--schedule->length];
    size_t hole = 0;
    for (;;) {
        size_t child = 2 * hole + 1;
        if (child >= schedule->length) {
            break;
        }
        if (child + 1 < schedule->length &&
            before(&schedule->heap[child + 1], &schedule->heap[child])) {
            child++;
        }
        if (!before(&schedule->heap[child], &last)) {
            break;
        }
        schedule->heap[hole] = schedule->heap[child];
        hole = child;
    }
    schedule->heap[hole] = last;
    return first;
}
