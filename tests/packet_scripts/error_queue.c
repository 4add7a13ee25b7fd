/*
 * MSG_ERRQUEUE: when bytes were sent and acknowledged (SO_TIMESTAMPING), and which zero-copy sends
 * are done. The wire's end here copies, so each of those is marked as copied.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>

#include "base/time_units.h"
#include "sockets.h"

#ifndef SO_EE_CODE_ZEROCOPY_COPIED
#define SO_EE_CODE_ZEROCOPY_COPIED 1
#endif

static void queue(struct machine *machine, struct machine_socket *socket,
                  const struct socket_note *note, uint32_t kind)
{
    struct socket_note *last =
        socket->note_count == 0 ? NULL : &socket->notes[socket->note_count - 1];
    socket->wakes[WAKE_ERROR]++;
    if (note->zerocopy && last != NULL && last->zerocopy && last->id_high + 1 == note->id_low) {
        last->id_high = note->id_high;
        return;
    }
    if (socket->note_count == MACHINE_NOTES_MAX)
        return;
    last = &socket->notes[socket->note_count++];
    *last = *note;
    last->kind = kind;
    last->time_ns = machine->now_ns;
}

static struct socket_note *wait_for(struct machine_socket *socket, uint64_t end)
{
    if (socket->waiting_count == MACHINE_NOTES_MAX)
        return NULL;
    struct socket_note *note = &socket->waiting[socket->waiting_count++];
    memset(note, 0, sizeof(*note));
    note->end = end;
    return note;
}

void error_queue_written(struct machine *machine, struct machine_socket *socket, int64_t flags,
                         uint64_t end)
{
    const uint32_t moments = SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE;
    struct socket_note *note;
    (void)machine;
    if ((flags & MSG_ZEROCOPY) != 0 && socket->zerocopy && (note = wait_for(socket, end)) != NULL) {
        note->zerocopy = note->pending_acked = true;
        note->id_low = note->id_high = socket->zerocopy_next++;
    }
    if ((socket->timestamping & (moments | SOF_TIMESTAMPING_TX_ACK)) != 0 &&
        (note = wait_for(socket, end)) != NULL) {
        note->pending_sent = (socket->timestamping & moments) != 0;
        note->pending_acked = (socket->timestamping & SOF_TIMESTAMPING_TX_ACK) != 0;
        if ((socket->timestamping & SOF_TIMESTAMPING_OPT_ID) != 0)
            note->id_high = (uint32_t)(end - 1) - socket->timestamping_base;
    }
}

void error_queue_sent(struct machine *machine, struct machine_socket *socket, uint64_t end)
{
    for (unsigned i = 0; i < socket->waiting_count; i++) {
        struct socket_note *note = &socket->waiting[i];
        if (!note->pending_sent || note->end > end)
            continue;
        note->pending_sent = false;
        if ((socket->timestamping & SOF_TIMESTAMPING_TX_SCHED) != 0)
            queue(machine, socket, note, SCM_TSTAMP_SCHED);
        if ((socket->timestamping & SOF_TIMESTAMPING_TX_SOFTWARE) != 0)
            queue(machine, socket, note, SCM_TSTAMP_SND);
    }
}

void error_queue_acked(struct machine *machine, struct machine_socket *socket)
{
    uint64_t acked = socket->connection == NULL ? UINT64_MAX : tcp_acked_offset(socket->connection);
    unsigned left = 0;
    for (unsigned i = 0; i < socket->waiting_count; i++) {
        struct socket_note note = socket->waiting[i];
        if (note.end <= acked) {
            if (note.pending_acked)
                queue(machine, socket, &note, SCM_TSTAMP_ACK);
        } else {
            socket->waiting[left++] = note;
        }
    }
    socket->waiting_count = left;
}

/* ---- What the script expects -------------------------------------------------------------- */

static const struct node *control_data(const struct node *control, int64_t level, int64_t type,
                                       struct call_state *state)
{
    for (const struct node *n = control == NULL ? NULL : control->children; n != NULL;
         n = n->next) {
        if (node_integer(node_field(n, "cmsg_level"), &state->known) == level &&
            node_integer(node_field(n, "cmsg_type"), &state->known) == type)
            return node_field(n, "cmsg_data");
    }
    return NULL;
}

static void check_field(const struct node *data, const char *name, uint64_t actual,
                        struct call_state *state)
{
    const struct node *expected = node_field(data, name);
    if (expected == NULL || expected->kind == NODE_ANY)
        return;
    if ((uint64_t)node_integer(expected, &state->known) != actual)
        state->mismatch = name;
}

static void check_error(const struct node *data, const struct socket_note *note,
                        struct call_state *state)
{
    check_field(data, "ee_errno", note->zerocopy ? 0 : ENOMSG, state);
    check_field(data, "ee_origin",
                note->zerocopy ? SO_EE_ORIGIN_ZEROCOPY : SO_EE_ORIGIN_TIMESTAMPING, state);
    check_field(data, "ee_type", 0, state);
    check_field(data, "ee_code", note->zerocopy ? SO_EE_CODE_ZEROCOPY_COPIED : 0, state);
    check_field(data, "ee_info", note->zerocopy ? note->id_low : note->kind, state);
    check_field(data, "ee_data", note->id_high, state);
}

/** Times in scripts count from the script's beginning, with the usual tolerance. */
static void check_time(const struct machine *machine, const struct node *data,
                       const struct socket_note *note, struct call_state *state)
{
    int64_t expected_ns = node_integer(node_field(data, "scm_sec"), &state->known) * (int64_t)1e9 +
                          node_integer(node_field(data, "scm_nsec"), &state->known);
    int64_t actual_ns = (int64_t)(note->time_ns - machine->start_ns);
    int64_t off_ns = actual_ns > expected_ns ? actual_ns - expected_ns : expected_ns - actual_ns;
    if (off_ns > (int64_t)machine->tolerance_ns)
        state->mismatch = "the timestamp differs";
}

int64_t error_queue_receive(struct machine *machine, struct machine_socket *socket,
                            const struct node *message, struct call_state *state)
{
    if (socket->note_count == 0)
        return -EAGAIN;
    struct socket_note note = socket->notes[0];
    memmove(socket->notes, socket->notes + 1, --socket->note_count * sizeof(note));
    const struct node *control = node_field(message, "msg_control");
    int64_t level = machine->sockets_ipv6 ? SOL_IPV6 : SOL_IP;
    int64_t type = machine->sockets_ipv6 ? IPV6_RECVERR : IP_RECVERR;
    if (control != NULL && control->kind == NODE_LIST) {
        const struct node *error = control_data(control, level, type, state);
        const struct node *time = control_data(control, SOL_SOCKET, SCM_TIMESTAMPING, state);
        if (error == NULL)
            state->mismatch = "an error came that the script does not expect";
        else
            check_error(error, &note, state);
        if ((time != NULL) == note.zerocopy)
            state->mismatch = "a timestamp came, or did not";
        else if (time != NULL)
            check_time(machine, time, &note, state);
    }
    bool whole = note.zerocopy || (socket->timestamping & SOF_TIMESTAMPING_OPT_TSONLY) != 0;
    check_field(message, "msg_flags", MSG_ERRQUEUE | (whole ? 0 : MSG_TRUNC), state);
    return 0;
}
