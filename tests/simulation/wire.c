#include "wire.h"

#include <stdlib.h>
#include <string.h>

#include "trace.h"
#include "world.h"

#define HELD_MAX_NS (500 * NS_PER_US)

static bool in_outage(const struct world *world, const struct wire *wire)
{
    uint64_t since = world->now_ns - world->start_ns;
    for (unsigned i = 0; i < wire->settings.outage_count; i++) {
        if (since >= wire->settings.outages[i].start_ns && since < wire->settings.outages[i].end_ns)
            return true;
    }
    return world->settings.dies && world_healed(world);
}

static bool is_neighbour_traffic(const struct frame_view *view)
{
    return view->kind == FRAME_ARP ||
           (view->kind == FRAME_ICMPV6 && view->icmp_type >= 133 && view->icmp_type <= 137);
}

static void deliver(struct world *world, void *context)
{
    struct frame *frame = context;
    world->frames_in_flight--;
    for (unsigned i = 0; i < world->settings.host_count; i++) {
        if (i != frame->from)
            host_receive(world, &world->hosts[i], frame, false);
    }
    free(frame);
}

/** Flip a bit, or cut the end off, so that a checksum or a length tells; else leave it alone. */
static void corrupt(struct world *world, struct frame *frame, const struct frame_view *view)
{
    uint32_t low = view->kind == FRAME_FRAGMENT ? view->l4_offset + 8 : view->l3_offset;
    if (view->kind == FRAME_ARP || view->packet_end <= low + 4)
        return;
    uint32_t at = (uint32_t)random_between(&world->random, low, view->packet_end - 1);
    uint32_t in_ip = at - view->l3_offset;
    if (view->is_ipv6 && (in_ip < 4 || in_ip == 7))
        return; /* nothing covers traffic class, flow label and hop limit */
    uint8_t bit = (uint8_t)(1u << random_below(&world->random, 8));
    if (view->kind != FRAME_FRAGMENT && random_chance(&world->random, 100))
        frame->length = at;
    else
        frame->bytes[at] ^= bit;
    struct frame_view after;
    frame_parse(frame->bytes, frame->length, &after);
    if (after.kind == FRAME_TCP && after.checksums_good) {
        frame->bytes[at] ^= bit;
        return;
    }
    frame->corrupted = true;
    world->coverage.frames_corrupted++;
    trace_frame(world, frame->from, "corrupted", frame);
}

static struct frame *pad(struct world *world, struct frame *frame)
{
    uint32_t extra = (uint32_t)random_between(&world->random, 1, 46);
    struct frame *padded = frame_new(frame->length + extra);
    padded->from = frame->from;
    memcpy(padded->bytes, frame->bytes, frame->length);
    for (uint32_t i = 0; i < extra; i++)
        padded->bytes[frame->length + i] = (uint8_t)random_next(&world->random);
    free(frame);
    return padded;
}

/** A token bucket. @return whether the frame exceeds it. */
static bool exceeds_policer(const struct world *world, struct wire *wire, const struct frame *frame)
{
    const struct wire_settings *s = &wire->settings;
    if (s->policer_bytes_per_s == 0)
        return false;
    uint64_t since_ns = world->now_ns - wire->policer_filled_ns;
    uint64_t refill = since_ns < 100 * NS_PER_S ? since_ns * s->policer_bytes_per_s / NS_PER_S
                                                : s->policer_bucket_bytes;
    if (refill > 0 || since_ns == 0) {
        wire->policer_bytes += refill;
        wire->policer_filled_ns = world->now_ns;
    }
    if (wire->policer_bytes > s->policer_bucket_bytes)
        wire->policer_bytes = s->policer_bucket_bytes;
    if (wire->policer_bytes < frame->length)
        return true;
    wire->policer_bytes -= frame->length;
    return false;
}

/** A link further on sends what has no payload in bunches. */
static uint64_t bunched(const struct wire_settings *s, const struct frame *frame,
                        uint64_t arrival_ns)
{
    struct frame_view view;
    if (s->ack_bunch_ns == 0)
        return arrival_ns;
    frame_parse(frame->bytes, frame->length, &view);
    if (view.kind != FRAME_TCP || view.payload_length != 0)
        return arrival_ns;
    return (arrival_ns + s->ack_bunch_ns - 1) / s->ack_bunch_ns * s->ack_bunch_ns;
}

/** From some moment on the path is another one. */
static void change_path(const struct world *world, struct wire *wire)
{
    struct wire_settings *s = &wire->settings;
    if (s->change_after_ns == 0 || world->now_ns - world->start_ns < s->change_after_ns)
        return;
    s->change_after_ns = 0;
    s->delay_ns = s->changed_delay_ns;
    s->rate_bytes_per_s = s->changed_rate_bytes_per_s;
    wire->busy_until_ns = world->now_ns;
}

/** Neighbour traffic passes at once and is not lost. */
static bool is_spared(const struct wire_settings *s, const struct frame *frame)
{
    struct frame_view view;
    frame_parse(frame->bytes, frame->length, &view);
    return s->spares_neighbours && is_neighbour_traffic(&view);
}

/** The wire proper: rate, delay, order. Frees the frame when it is lost. */
static void put_on_wire(struct world *world, struct wire *wire, struct frame *frame)
{
    const struct wire_settings *s = &wire->settings;
    change_path(world, wire);
    uint64_t depart_ns = world->now_ns;
    bool spared = is_spared(s, frame);
    if (!spared && exceeds_policer(world, wire, frame)) {
        world->coverage.frames_queue_full++;
        trace_frame(world, wire->from, "policed", frame);
        free(frame);
        return;
    }
    if (s->rate_bytes_per_s != 0 && !spared) {
        if (wire->busy_until_ns < world->now_ns)
            wire->busy_until_ns = world->now_ns;
        uint64_t queued = (wire->busy_until_ns - world->now_ns) * s->rate_bytes_per_s / NS_PER_S;
        if (queued > s->buffer_bytes) {
            world->coverage.frames_queue_full++;
            trace_frame(world, wire->from, "queue full", frame);
            free(frame);
            return;
        }
        wire->busy_until_ns += (uint64_t)frame->length * NS_PER_S / s->rate_bytes_per_s;
        depart_ns = wire->busy_until_ns;
    }
    uint64_t arrival_ns = depart_ns + s->delay_ns + random_below(&world->random, s->jitter_ns + 1);
    arrival_ns = bunched(s, frame, arrival_ns);
    if (random_chance(&world->random, s->reorder)) {
        arrival_ns += random_log_between(&world->random, 1000, s->reorder_delay_ns);
        world->coverage.frames_reordered++;
    } else if (!spared) { /* what is spared overtakes the queue */
        if (arrival_ns < wire->newest_arrival_ns)
            arrival_ns = wire->newest_arrival_ns;
        wire->newest_arrival_ns = arrival_ns;
    }
    world->frames_in_flight++;
    world_schedule(world, arrival_ns, deliver, frame);
}

static void deliver_to_sender(struct world *world, void *context)
{
    struct frame *frame = context;
    world->frames_in_flight--;
    trace_frame(world, frame->from, "too big", frame);
    host_receive(world, &world->hosts[frame->from], frame, false);
    free(frame);
}

/** A router with a smaller MTU. @return true: the frame is gone, its sender will hear of it. */
static bool is_too_big(struct world *world, struct wire *wire, struct frame *frame,
                       const struct frame_view *view)
{
    uint16_t mtu = wire->settings.path_mtu;
    if (mtu == 0 || view->kind != FRAME_TCP || view->packet_end - view->l3_offset <= mtu)
        return false;
    if (wire->settings.black_hole) {
        world->coverage.frames_black_hole++;
        trace_frame(world, wire->from, "too big", frame);
        free(frame);
        return true;
    }
    const struct ip_address router = host_address(253, view->is_ipv6);
    struct frame *message = frame_too_big(frame, view, &router, mtu);
    message->from = frame->from;
    world->coverage.frames_too_big++;
    world->frames_in_flight++;
    world_schedule(world, world->now_ns + random_below(&world->random, 2 * wire->settings.delay_ns),
                   deliver_to_sender, message);
    free(frame);
    return true;
}

/** A router with active queue management: instead of dropping, it marks what is ECN-capable. */
static void mark(struct world *world, struct frame *frame, const struct frame_view *view)
{
    uint8_t *ip = frame->bytes + view->l3_offset;
    if (view->kind != FRAME_TCP || (view->ip_tos & 3) == 0 || (view->ip_tos & 3) == 3)
        return;
    uint8_t change = (view->ip_tos & 3) ^ 3;
    if (view->is_ipv6) {
        ip[1] ^= (uint8_t)(change << 4);
    } else {
        ip[1] ^= change;
        uint32_t sum = (uint32_t)(uint16_t) ~(ip[10] << 8 | ip[11]) + change; /* RFC 1624 */
        sum = ~(sum + (sum >> 16));
        ip[10] = (uint8_t)(sum >> 8);
        ip[11] = (uint8_t)sum;
    }
    world->coverage.frames_marked++;
    trace_frame(world, frame->from, "marked", frame);
}

/** @return whether the frame was corrupted; never when spare is set. */
static bool impair(struct world *world, struct wire *wire, struct frame *frame, bool spare)
{
    const struct wire_settings *s = &wire->settings;
    struct frame_view view;
    frame_parse(frame->bytes, frame->length, &view);
    if (is_too_big(world, wire, frame, &view))
        return false;
    bool spared = s->spares_neighbours && is_neighbour_traffic(&view);
    bool is_ack = view.kind == FRAME_TCP && view.payload_length == 0 &&
                  (view.flags & (TCP_SYN | TCP_FIN | TCP_RST)) == 0;
    bool lost = in_outage(world, wire) || random_chance(&world->random, s->loss) ||
                (is_ack && random_chance(&world->random, s->ack_loss));
    if (!spared && lost) {
        world->coverage.frames_lost++;
        trace_frame(world, wire->from, "lost", frame);
        free(frame);
        return false;
    }
    if (random_chance(&world->random, s->duplicate)) {
        world->coverage.frames_duplicated++;
        put_on_wire(world, wire, frame_copy(frame));
    }
    if (random_chance(&world->random, s->mark))
        mark(world, frame, &view);
    if (!spared && !spare && random_chance(&world->random, s->corrupt))
        corrupt(world, frame, &view);
    if (!frame->corrupted && random_chance(&world->random, s->pad))
        frame = pad(world, frame);
    bool corrupted = frame->corrupted;
    put_on_wire(world, wire, frame);
    return corrupted;
}

static void impair_fragmented(struct world *world, struct wire *wire, struct frame *frame)
{
    struct frame *list = NULL;
    if (random_chance(&world->random, wire->settings.fragment)) {
        uint32_t size = (uint32_t)random_log_between(&world->random, 8, 1000);
        /* A first fragment must hold the whole TCP header to be let through (RFC 1858). */
        if (size < 64)
            size = 64;
        list = frame_fragment(frame, size, wire->fragment_id++);
    }
    if (list == NULL) {
        impair(world, wire, frame, false);
        return;
    }
    world->coverage.frames_fragmented++;
    free(frame);
    /* Flipped bits in two fragments may cancel out in the checksum: only one of them is hit. */
    bool corrupted = false;
    while (list != NULL) {
        struct frame *next = list->next;
        list->next = NULL;
        corrupted |= impair(world, wire, list, corrupted);
        list = next;
    }
}

static void release_held(struct world *world, struct wire *wire)
{
    struct frame *frame = wire->held;
    wire->held = NULL;
    if (frame != NULL) {
        world->frames_in_flight--;
        impair_fragmented(world, wire, frame);
    }
}

static void held_too_long(struct world *world, void *context)
{
    struct wire *wire = context;
    if (wire->held != NULL && world->now_ns >= wire->held_since_ns + HELD_MAX_NS)
        release_held(world, wire);
}

static void hold(struct world *world, struct wire *wire, struct frame *frame)
{
    wire->held = frame;
    wire->held_since_ns = world->now_ns;
    world->frames_in_flight++;
    world_schedule(world, world->now_ns + HELD_MAX_NS, held_too_long, wire);
}

static struct frame *join_held(struct world *world, struct wire *wire, struct frame *frame)
{
    struct frame *joined = wire->held == NULL
                               ? NULL
                               : frame_join_tcp(wire->held, frame, wire->settings.join_bytes_max);
    if (joined == NULL) {
        release_held(world, wire);
        return frame;
    }
    world->coverage.frames_joined++;
    world->frames_in_flight--;
    free(wire->held);
    free(frame);
    wire->held = NULL;
    return joined;
}

void wire_send(struct world *world, struct wire *wire, struct frame *frame)
{
    frame = join_held(world, wire, frame);
    struct frame_view view;
    frame_parse(frame->bytes, frame->length, &view);
    bool plain_data = view.kind == FRAME_TCP && view.payload_length > 1 &&
                      (view.flags & (TCP_SYN | TCP_RST | TCP_URG)) == 0;
    if (plain_data && random_chance(&world->random, wire->settings.join)) {
        hold(world, wire, frame);
        return;
    }
    if (plain_data && random_chance(&world->random, wire->settings.split)) {
        uint32_t at = (uint32_t)random_between(&world->random, 1, view.payload_length - 1);
        struct frame *first, *second;
        frame_split_tcp(frame, &view, at, &first, &second);
        free(frame);
        world->coverage.frames_split++;
        impair_fragmented(world, wire, first);
        frame = second;
    }
    impair_fragmented(world, wire, frame);
}

void wire_heal(struct world *world, struct wire *wire)
{
    struct wire_settings *s = &wire->settings;
    s->loss = s->duplicate = s->reorder = s->corrupt = s->split = s->join = s->fragment = 0;
    s->ack_loss = 0;
    if (s->black_hole)
        s->path_mtu = 0;
    s->policer_bytes_per_s = s->ack_bunch_ns = 0;
    s->outage_count = 0;
    s->spares_neighbours = true;
    if (!world->settings.dies && s->rate_bytes_per_s != 0 && s->buffer_bytes < 20000)
        s->buffer_bytes = 20000;
}
