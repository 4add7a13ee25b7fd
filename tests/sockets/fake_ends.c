/* pno-fake-engine: the ends of connections, what is told of them, and how bytes get across. */
#include "fake_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

struct process *processes[PROCESSES_MAX];
struct end_list all_ends;

/* ---- Events -------------------------------------------------------------------------------- */

void tell_process(struct process *process, const struct link_descriptor *descriptor)
{
    struct event *event = calloc(1, sizeof(*event));
    if (event == NULL)
        abort();
    memcpy((void *)&event->descriptor, descriptor, sizeof(*descriptor));
    STAILQ_INSERT_TAIL(&process->events, event, link);
}

void tell(const struct end *end, struct link_descriptor *descriptor)
{
    const struct end *holder = end->listener != NULL ? end->listener : end;
    if (descriptor->type != LINK_EVENT_ACCEPT)
        descriptor->socket = end->name;
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (processes[i] != NULL && processes[i]->tenant == end->tenant && holder->held[i])
            tell_process(processes[i], descriptor);
    }
}

void flush(struct process *process)
{
    struct event *event;
    bool pushed = false;
    if (!process->has_channel)
        return;
    while ((event = STAILQ_FIRST(&process->events)) != NULL &&
           link_producer_push(&process->to_host, &event->descriptor)) {
        STAILQ_REMOVE_HEAD(&process->events, link);
        free(event);
        pushed = true;
    }
    if ((pushed || event != NULL) && link_take_armed(&process->to_host.feedback->armed))
        (void)eventfd_write(process->doorbell_fd, 1);
}

/* ---- Connections --------------------------------------------------------------------------- */

struct end *end_create(struct tenant *tenant, struct link_socket_name name)
{
    struct end *end = calloc(1, sizeof(*end));
    if (end == NULL)
        abort();
    end->tenant = tenant;
    end->name = name;
    end->receive_buffer = RECEIVE_BUFFER;
    end->send_buffer = SEND_BUFFER;
    STAILQ_INIT(&end->outgoing);
    STAILQ_INIT(&end->incoming);
    tenant->ends[name.slot] = end;
    tenant->incarnations[name.slot] = name.incarnation;
    LIST_INSERT_HEAD(&all_ends, end, link);
    return end;
}

void drop_consumed(struct end *end)
{
    struct piece *piece;
    while ((piece = STAILQ_FIRST(&end->incoming)) != NULL &&
           piece->stream_offset + piece->length <= end->consumed) {
        chunk_pool_free(&end->tenant->pool, piece->arena_offset);
        STAILQ_REMOVE_HEAD(&end->incoming, link);
        free(piece);
    }
}

static void drop_outgoing(struct end *end)
{
    struct piece *piece;
    while ((piece = STAILQ_FIRST(&end->outgoing)) != NULL) {
        STAILQ_REMOVE_HEAD(&end->outgoing, link);
        free(piece);
    }
}

void end_free(struct end *end)
{
    end->consumed = UINT64_MAX;
    drop_consumed(end);
    drop_outgoing(end);
    if (end->peer != NULL)
        end->peer->peer = NULL;
    struct link_descriptor event = {.type = LINK_EVENT_SLOT_FREE, .socket = end->name};
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (processes[i] != NULL && processes[i]->tenant == end->tenant)
            tell_process(processes[i], &event);
    }
    end->tenant->ends[end->name.slot] = NULL;
    LIST_REMOVE(end, link);
    free(end);
}

void reset(struct end *end, int error)
{
    drop_outgoing(end);
    struct link_descriptor event = {
        .type = LINK_EVENT_ERROR, .flags = LINK_FLAG_FATAL, .error = (uint16_t)error};
    tell(end, &event);
    if (end->peer != NULL)
        end->peer->peer = NULL;
    end->peer = NULL;
}

static uint64_t real_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Move bytes of one piece to the peer, as far as its window is open. */
static bool deliver(struct end *from)
{
    struct end *to = from->peer;
    struct piece *piece = STAILQ_FIRST(&from->outgoing);
    if (piece == NULL || to == NULL)
        return false;
    uint64_t window = to->receive_buffer - (to->received - to->consumed);
    if (to->received - to->consumed >= to->receive_buffer)
        return false;
    uint64_t length = piece->length < window ? piece->length : window;
    if (length > CHUNK_BYTES_MAX)
        length = CHUNK_BYTES_MAX;
    struct chunk chunk;
    struct piece *arrived = calloc(1, sizeof(*arrived));
    if (arrived == NULL || !chunk_pool_allocate(&to->tenant->pool, length, &chunk)) {
        free(arrived);
        return false;
    }
    memcpy(to->tenant->arena + chunk.offset, from->tenant->arena + piece->arena_offset, length);
    *arrived = (struct piece){
        .stream_offset = to->received, .arena_offset = chunk.offset, .length = length};
    STAILQ_INSERT_TAIL(&to->incoming, arrived, link);
    struct link_descriptor data = {.type = LINK_EVENT_DATA,
                                   .data = {.stream_offset = to->received,
                                            .arena_offset = chunk.offset,
                                            .length = length,
                                            .consumed = real_now_ns()}};
    to->received += length;
    tell(to, &data);
    piece->stream_offset += length;
    piece->arena_offset += length;
    piece->length -= length;
    struct link_descriptor sent = {
        .type = LINK_EVENT_SENT,
        .data = {.stream_offset = piece->stream_offset, .length = from->send_buffer}};
    tell(from, &sent);
    if (piece->length == 0) {
        STAILQ_REMOVE_HEAD(&from->outgoing, link);
        free(piece);
    }
    return true;
}

void set_send_buffer(struct end *end, uint64_t bytes)
{
    struct link_descriptor sent = {.type = LINK_EVENT_SENT, .data = {.length = bytes}};
    end->send_buffer = bytes;
    if (end->kind == CONNECTION)
        tell(end, &sent);
}

/* @return whether anything happened. */
bool run_end(struct end *end)
{
    bool any = false;
    if (end->kind != CONNECTION)
        return false;
    if ((end->peer == NULL || end->peer->let_go) && !STAILQ_EMPTY(&end->outgoing) && !end->let_go) {
        reset(end, ECONNRESET); /* nobody reads there any more */
        return true;
    }
    while (deliver(end))
        any = true;
    if (end->fin_wanted && !end->fin_told && end->sent >= end->fin_at &&
        STAILQ_EMPTY(&end->outgoing)) {
        end->fin_told = true;
        if (end->peer != NULL) {
            struct link_descriptor fin = {.type = LINK_EVENT_FIN,
                                          .data = {.stream_offset = end->peer->received}};
            tell(end->peer, &fin);
        }
        any = true;
    }
    if (end->let_go && (end->peer == NULL || end->fin_told)) {
        end_free(end);
        return true;
    }
    return any;
}
