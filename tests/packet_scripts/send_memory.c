/*
 * How much of a write Linux takes before it sleeps or is cut short, and when it says that there is
 * room again. A socket's data lies in buffers of up to a burst's size, each of which costs more
 * than its bytes; writing goes on until their sum passes SO_SNDBUF, so that the last buffer may
 * well go beyond it (tcp_sendmsg_locked, sk_stream_memory_free, tcp_sndbuf_expand). The core knows
 * stream offsets only: this is the embedder's part.
 */
#include <string.h>

#include "base/time_units.h"
#include "sockets.h"

/** What a buffer costs beside its bytes on 64-bit Linux. */
#define CHUNK_OVERHEAD 960
#define GSO_BYTES_MAX  65215

static uint64_t acked_offset(const struct machine_socket *socket)
{
    return socket->connection == NULL ? socket->written : tcp_acked_offset(socket->connection);
}

/** Bytes not yet acknowledged and the overhead of their buffers. */
static uint64_t queued_bytes(const struct machine_socket *socket)
{
    return socket->written - acked_offset(socket) +
           (uint64_t)socket->memory.chunk_count * CHUNK_OVERHEAD;
}

static uint64_t round_up_to_power_of_two(uint64_t value)
{
    uint64_t power = 1;
    while (power < value)
        power *= 2;
    return power;
}

/** Twice the window, counted in buffers of one segment. */
static uint64_t expanded_bytes(const struct machine *machine, const struct machine_socket *socket)
{
    struct tcp_connection_info info;
    tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    uint64_t segment = round_up_to_power_of_two((uint64_t)info.snd_mss + 640) + 256;
    uint64_t segments = info.snd_cwnd > 10 ? info.snd_cwnd : 10;
    uint64_t bytes = 2 * segments * segment, most = machine->config.tcp.send_buffer_max;
    return bytes < most ? bytes : most;
}

static void expand(struct machine *machine, struct machine_socket *socket)
{
    uint64_t bytes = expanded_bytes(machine, socket);
    if (bytes > socket->memory.buffer_bytes)
        socket->memory.buffer_bytes = bytes;
}

uint64_t send_memory_limit(struct machine *machine, struct machine_socket *socket)
{
    if (socket->options.send_buffer != 0)
        return socket->options.send_buffer;
    if (socket->memory.buffer_bytes == 0) {
        socket->memory.buffer_bytes = machine->config.tcp.send_buffer_initial;
        if (socket->connection != NULL && socket->established)
            expand(machine, socket);
    }
    return socket->memory.buffer_bytes;
}

static bool unsent_is_low(const struct machine *machine, const struct machine_socket *socket,
                          bool wake)
{
    struct tcp_connection_info info;
    uint64_t limit =
        socket->notsent_low_water != 0 ? socket->notsent_low_water : machine->notsent_lowat;
    if (limit >= UINT32_MAX || socket->connection == NULL)
        return true;
    tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    return info.notsent_bytes << wake < limit;
}

bool send_memory_is_writable(struct machine *machine, const struct machine_socket *socket)
{
    uint64_t queued = queued_bytes(socket);
    uint64_t limit = send_memory_limit(machine, (struct machine_socket *)(uintptr_t)socket);
    return queued + (queued >> 1) <= limit && unsent_is_low(machine, socket, true);
}

uint64_t send_memory_goal(struct machine *machine, struct machine_socket *socket)
{
    struct tcp_connection_info info;
    tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    uint64_t mss = info.snd_mss != 0 ? info.snd_mss : 536, goal = GSO_BYTES_MAX;
    uint64_t window =
        machine->peer_max_window > 536 ? machine->peer_max_window / 2 : machine->peer_max_window;
    if (window != 0 && goal > window)
        goal = window;
    return goal < mss ? mss : goal - goal % mss;
}

bool send_memory_is_free(struct machine *machine, struct machine_socket *socket, uint64_t *room)
{
    struct send_memory *memory = &socket->memory;
    struct tcp_connection_info info;
    tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
    uint64_t goal = send_memory_goal(machine, socket), begin = 0;
    *room = 0;
    if (memory->chunk_count > 0 && info.notsent_bytes > 0) {
        /* The last buffer, unless all of it went out. */
        begin = memory->chunk_count > 1 ? memory->chunk_ends[memory->chunk_count - 2]
                                        : acked_offset(socket);
        uint64_t length = memory->chunk_ends[memory->chunk_count - 1] - begin;
        *room = length < goal ? goal - length : 0;
    }
    return queued_bytes(socket) < send_memory_limit(machine, socket) &&
           unsent_is_low(machine, socket, false) && memory->chunk_count < MACHINE_CHUNKS_MAX;
}

void send_memory_written(struct machine_socket *socket, uint64_t end, bool fresh)
{
    struct send_memory *memory = &socket->memory;
    if (fresh || memory->chunk_count == 0) {
        if (memory->chunk_count < MACHINE_CHUNKS_MAX)
            memory->chunk_count++;
    }
    memory->chunk_ends[memory->chunk_count - 1] = end;
}

void send_memory_sent(struct machine_socket *socket, uint64_t end)
{
    struct send_memory *memory = &socket->memory;
    unsigned i = 0;
    while (i < memory->chunk_count && memory->chunk_ends[i] < end)
        i++;
    if (i == memory->chunk_count || memory->chunk_ends[i] == end ||
        memory->chunk_count == MACHINE_CHUNKS_MAX)
        return;
    memmove(&memory->chunk_ends[i + 1], &memory->chunk_ends[i],
            (memory->chunk_count - i) * sizeof(memory->chunk_ends[0]));
    memory->chunk_ends[i] = end;
    memory->chunk_count++;
}

void send_memory_acked(struct machine *machine, struct machine_socket *socket)
{
    struct send_memory *memory = &socket->memory;
    uint64_t acked = acked_offset(socket);
    unsigned done = 0;
    if (socket->connection == NULL)
        return;
    while (done < memory->chunk_count && memory->chunk_ends[done] <= acked)
        done++;
    memory->chunk_count -= done;
    memmove(memory->chunk_ends, &memory->chunk_ends[done],
            memory->chunk_count * sizeof(memory->chunk_ends[0]));
    error_queue_acked(machine, socket);
    if (!memory->no_space)
        return;
    if (socket->options.send_buffer == 0)
        expand(machine, socket);
    if (send_memory_is_writable(machine, socket)) {
        memory->no_space = false;
        socket->wakes[WAKE_OUT]++;
    }
}
