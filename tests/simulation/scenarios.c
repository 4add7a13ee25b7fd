#include "scenarios.h"

#include <string.h>

#include "feature_pairs.h"
#include "world.h"

#define ALL_STYLES 15u

static void draw_tcp_defaults(struct world *world, struct tcp_defaults *tcp)
{
    struct random *r = &world->random;
    struct stack_config config;
    stack_config_init(&config);
    *tcp = config.tcp;
    tcp->congestion = (uint8_t)random_below(r, TCP_CONGESTION_COUNT);
    tcp->ecn = (uint8_t)random_below(r, 3);
    tcp->timestamps = random_chance(r, 800);
    tcp->window_scaling = random_chance(r, 800);
    tcp->sack = random_chance(r, 800);
    if (random_chance(r, 200))
        tcp->mtu_probing = (uint8_t)random_between(r, 1, 2);
    if (random_chance(r, 150))
        tcp->fast_open = TCP_FAST_OPEN_CLIENT | TCP_FAST_OPEN_SERVER | TCP_FAST_OPEN_SERVER_ALWAYS;
    if (random_chance(r, 150))
        tcp->fast_open |=
            TCP_FAST_OPEN_SERVER | TCP_FAST_OPEN_CLIENT_NO_COOKIE | TCP_FAST_OPEN_SERVER_NO_COOKIE;
    if (random_chance(r, 300))
        tcp->pace_rtt_ns = random_log_between(r, 1000, 20 * NS_PER_MS);
}

static void draw_host(struct world *world, struct host_settings *host)
{
    struct random *r = &world->random;
    draw_tcp_defaults(world, &host->tcp);
    host->mtu = random_chance(r, 700) ? 1500 : (uint16_t)random_between(r, 1280, 9000);
    host->gso_bytes_max = random_chance(r, 300) ? (uint32_t)random_between(r, 3000, 65000) : 0;
    host->connections_max = 64;
    host->intervals_max = 4096;
    host->sent_records_max = 4096;
    host->late_max_ns = random_chance(r, 300) ? random_log_between(r, 1000, 5 * NS_PER_MS) : 0;
    host->batch_delay_ns = random_chance(r, 300) ? random_log_between(r, 1000, NS_PER_MS) : 0;
    host->placement_delayed = random_chance(r, 150) ? 300 : 0;
    host->placement_max_ns = random_log_between(r, 1000, NS_PER_MS);
}

static void draw_plain_wire(struct world *world, struct wire_settings *wire)
{
    struct random *r = &world->random;
    wire->delay_ns = random_log_between(r, 10 * NS_PER_US, 50 * NS_PER_MS);
    wire->reorder_delay_ns = 2 * wire->delay_ns + 2000;
    wire->buffer_bytes = 1000000;
    wire->join_bytes_max = 3000;
    wire->spares_neighbours = true;
}

void settings_draw_base(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    s->host_count = random_chance(r, 900) ? 2 : 3;
    s->is_ipv6 = random_chance(r, 400);
    for (unsigned i = 0; i < s->host_count; i++) {
        draw_host(world, &s->hosts[i]);
        draw_plain_wire(world, &s->wires[i]);
    }
    s->heal_after_ns = random_between(r, 1, 20) * NS_PER_S;
    s->connections = (unsigned)random_between(r, 1, 6);
    s->connection_spacing_ns = random_log_between(r, 1000, 2 * NS_PER_S);
    s->backlog = 16;
    s->accept_delay_max_ns = random_chance(r, 500) ? 0 : 10 * NS_PER_MS;
    s->bytes_max = 60000;
    s->endings = END_MIX_CLEAN | END_MIX_CLOSE_WHEN_DONE;
    s->read_styles = s->write_styles = ALL_STYLES;
    s->pause_max_ns = random_log_between(r, 1000, NS_PER_S);
    s->options_random = 300;
    s->changes_options = 100;
    s->more = 50;
    s->urgent = random_chance(r, 100) ? (unsigned)random_log_between(r, 5, 500) : 0;
}

static void impair_all(struct world *world, struct settings *s,
                       void (*impair)(struct random *r, struct wire_settings *wire))
{
    for (unsigned i = 0; i < s->host_count; i++)
        impair(&world->random, &s->wires[i]);
}

/* ---- Wires -------------------------------------------------------------------------------- */

static void lose(struct random *r, struct wire_settings *wire)
{
    wire->loss = (unsigned)random_log_between(r, 1, 300);
}

static void reorder(struct random *r, struct wire_settings *wire)
{
    wire->reorder = (unsigned)random_log_between(r, 1, 500);
    wire->jitter_ns = random_log_between(r, 1000, 20 * NS_PER_MS);
    wire->reorder_delay_ns = random_log_between(r, 10 * NS_PER_US, 500 * NS_PER_MS);
}

static void duplicate(struct random *r, struct wire_settings *wire)
{
    wire->duplicate = (unsigned)random_log_between(r, 1, 500);
    reorder(r, wire);
}

static void corrupt(struct random *r, struct wire_settings *wire)
{
    wire->corrupt = (unsigned)random_log_between(r, 5, 300);
    wire->pad = 200;
}

static void recut(struct random *r, struct wire_settings *wire)
{
    wire->split = (unsigned)random_between(r, 0, 500);
    wire->join = (unsigned)random_between(r, 0, 500);
    wire->loss = (unsigned)random_between(r, 0, 100);
    wire->duplicate = (unsigned)random_between(r, 0, 50);
    wire->reorder = (unsigned)random_between(r, 0, 100);
}

static void merge(struct random *r, struct wire_settings *wire)
{
    wire->join = (unsigned)random_between(r, 300, 980);
    wire->join_bytes_max = (uint32_t)random_log_between(r, 2000, 60000);
    wire->loss = random_chance(r, 500) ? (unsigned)random_between(r, 1, 100) : 0;
    wire->reorder = random_chance(r, 300) ? (unsigned)random_between(r, 1, 100) : 0;
    wire->mark = random_chance(r, 300) ? (unsigned)random_between(r, 1, 200) : 0;
    if (random_chance(r, 200))
        wire->path_mtu = (uint16_t)random_between(r, 1280, 1500);
}

static void fragment(struct random *r, struct wire_settings *wire)
{
    wire->fragment = (unsigned)random_between(r, 50, 900);
    wire->loss = (unsigned)random_between(r, 0, 50);
    wire->duplicate = (unsigned)random_between(r, 0, 50);
    wire->reorder = (unsigned)random_between(r, 0, 200);
}

static void limit_rate(struct random *r, struct wire_settings *wire)
{
    wire->rate_bytes_per_s = random_log_between(r, 10000, 100000000);
    wire->buffer_bytes = (uint32_t)random_log_between(r, 4000, 500000);
}

static void cut_out(struct random *r, struct wire_settings *wire)
{
    wire->outage_count = (unsigned)random_between(r, 1, WIRE_OUTAGES_MAX);
    for (unsigned i = 0; i < wire->outage_count; i++) {
        wire->outages[i].start_ns = random_below(r, 15 * NS_PER_S);
        wire->outages[i].end_ns =
            wire->outages[i].start_ns + random_log_between(r, NS_PER_MS, 20 * NS_PER_S);
    }
}

static void narrow_path(struct random *r, struct wire_settings *wire)
{
    wire->path_mtu = (uint16_t)random_between(r, 1280, 1500);
}

static void marks(struct random *r, struct wire_settings *wire)
{
    wire->mark = (unsigned)random_log_between(r, 5, 1000);
}

static void everything(struct random *r, struct wire_settings *wire)
{
    if (random_chance(r, 100))
        narrow_path(r, wire);
    if (random_chance(r, 500))
        reorder(r, wire);
    if (random_chance(r, 300))
        marks(r, wire);
    if (random_chance(r, 300))
        corrupt(r, wire);
    if (random_chance(r, 300))
        recut(r, wire);
    if (random_chance(r, 200))
        fragment(r, wire);
    if (random_chance(r, 300))
        limit_rate(r, wire);
    if (random_chance(r, 200))
        cut_out(r, wire);
    if (random_chance(r, 500))
        wire->duplicate = (unsigned)random_between(r, 0, 200);
    if (random_chance(r, 700))
        wire->loss = (unsigned)random_log_between(r, 1, 200);
    if (random_chance(r, 100))
        wire->ack_loss = (unsigned)random_between(r, 100, 900);
    if (random_chance(r, 100))
        wire->ack_bunch_ns = random_log_between(r, NS_PER_MS, 50 * NS_PER_MS);
}

static void draw_clean(struct world *world, struct settings *s)
{
    s->lossless = true;
    s->bytes_max = 200000;
    s->connections = (unsigned)random_between(&world->random, 1, 3);
}

static void draw_loss(struct world *world, struct settings *s)
{
    impair_all(world, s, lose);
}

static void draw_reorder(struct world *world, struct settings *s)
{
    impair_all(world, s, reorder);
}

static void draw_duplicate(struct world *world, struct settings *s)
{
    impair_all(world, s, duplicate);
}

static void draw_corrupt(struct world *world, struct settings *s)
{
    impair_all(world, s, corrupt);
}

static void draw_recut(struct world *world, struct settings *s)
{
    impair_all(world, s, recut);
}

/** Ports that cut and join, as those of virtual machines do. */
static void draw_merge(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    impair_all(world, s, merge);
    for (unsigned i = 0; i < s->host_count; i++)
        s->hosts[i].gso_bytes_max = (uint32_t)random_between(r, 3000, 65000);
}

static void draw_fragment(struct world *world, struct settings *s)
{
    impair_all(world, s, fragment);
}

static void draw_ecn(struct world *world, struct settings *s)
{
    impair_all(world, s, marks);
    s->lossless = true;
    for (unsigned i = 0; i < s->host_count; i++)
        s->hosts[i].tcp.ecn = TCP_ECN_REQUEST;
}

static void draw_path_mtu(struct world *world, struct settings *s)
{
    impair_all(world, s, narrow_path);
    s->lossless = random_chance(&world->random, 700);
    if (!s->lossless)
        impair_all(world, s, lose);
    for (unsigned i = 0; i < s->host_count; i++) {
        s->hosts[i].mtu = (uint16_t)random_between(&world->random, 1500, 9000);
        if (s->lossless)
            s->hosts[i].tcp.mtu_probing = TCP_MTU_PROBING_OFF; /* probes get lost */
        if (!s->is_ipv6 && random_chance(&world->random, 500))
            s->wires[i].path_mtu = (uint16_t)random_between(&world->random, 576, 1500);
    }
}

static void draw_rate(struct world *world, struct settings *s)
{
    impair_all(world, s, limit_rate);
    s->bytes_max = 100000;
}

static void draw_outage(struct world *world, struct settings *s)
{
    impair_all(world, s, cut_out);
    s->pause_max_ns = 5 * NS_PER_S;
    s->heal_after_ns = 36 * NS_PER_S;
    /* With SYN-ACKs given up after 63 s, an outage this long can end a handshake by a reset. */
    s->errors_permitted = true;
}

static void draw_asymmetric(struct world *world, struct settings *s)
{
    everything(&world->random, &s->wires[random_below(&world->random, s->host_count)]);
    s->errors_permitted = true;
}

static void police(struct random *r, struct wire_settings *wire)
{
    wire->policer_bytes_per_s = random_log_between(r, 20000, 20000000);
    wire->policer_bucket_bytes = (uint32_t)random_log_between(r, 4000, 200000);
    wire->spares_neighbours = true;
}

static void draw_policer(struct world *world, struct settings *s)
{
    impair_all(world, s, police);
    s->bytes_max = 100000;
}

/** The way back is so slow, or so bad, that most acknowledgements are lost. */
static void draw_lost_acks(struct world *world, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++)
        s->wires[i].ack_loss = (unsigned)random_between(&world->random, 100, 900);
    s->bytes_max = 200000;
}

static void draw_bunched_acks(struct world *world, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++) {
        s->wires[i].ack_bunch_ns = random_log_between(&world->random, NS_PER_MS, 100 * NS_PER_MS);
        if (random_chance(&world->random, 300))
            limit_rate(&world->random, &s->wires[i]);
    }
    s->bytes_max = 200000;
}

static void move_path(struct random *r, struct wire_settings *wire)
{
    wire->change_after_ns = random_log_between(r, 10 * NS_PER_MS, 10 * NS_PER_S);
    wire->changed_delay_ns = random_log_between(r, 10 * NS_PER_US, 400 * NS_PER_MS);
    if (random_chance(r, 500)) {
        wire->changed_rate_bytes_per_s = random_log_between(r, 10000, 100000000);
        wire->buffer_bytes = (uint32_t)random_log_between(r, 20000, 500000);
    }
}

static void draw_path_change(struct world *world, struct settings *s)
{
    impair_all(world, s, move_path);
    if (random_chance(&world->random, 300))
        impair_all(world, s, lose);
    s->bytes_max = 200000;
}

/** Much one way, a trickle the other, with the shallowest or the deepest of
 * buffers. */
static void draw_lopsided(struct world *world, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++) {
        bool slow = i % 2 != 0;
        s->wires[i].rate_bytes_per_s = slow
                                           ? random_log_between(&world->random, 5000, 50000)
                                           : random_log_between(&world->random, 1000000, 100000000);
        s->wires[i].buffer_bytes = random_chance(&world->random, 500) ? 5000 : 2000000;
    }
    s->bytes_max = 60000;
}

static void draw_everything(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    impair_all(world, s, everything);
    s->errors_permitted = true;
    s->endings = END_MIX_CLEAN | END_MIX_CLOSE_WHEN_DONE | END_MIX_CLOSE_EARLY | END_MIX_ABORT;
    s->changes_options = 300;
    s->fixed_port = random_chance(r, 300) ? 500 : 0;
    s->to_self = random_chance(r, 200) ? 300 : 0;
    s->refused_port = random_chance(r, 200) ? 300 : 0;
    s->connections = (unsigned)random_between(r, 1, 8);
    for (unsigned i = 0; i < s->host_count; i++) {
        s->wires[i].spares_neighbours = random_chance(r, 700);
        s->hosts[i].payload_refused = random_chance(r, 200) ? 200 : 0;
    }
}

/* ---- Windows ------------------------------------------------------------------------------ */

static void draw_tiny_window(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    s->receive_buffer = (uint32_t)random_log_between(r, 2048, 16384);
    s->send_buffer = (uint32_t)random_log_between(r, 2048, 32768);
    s->read_styles = 1u << READ_SLOW | 1u << READ_STOP_AND_GO | 1u << READ_RANDOM;
    s->bytes_max = 30000;
    if (random_chance(r, 500))
        impair_all(world, s, lose);
}

static void draw_slow_reader(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    s->receive_buffer = random_chance(r, 500) ? (uint32_t)random_between(r, 2048, 65536) : 0;
    s->read_styles = 1u << READ_STOP_AND_GO;
    s->write_styles = 1u << WRITE_BULK | 1u << WRITE_RANDOM;
    s->pause_max_ns = 20 * NS_PER_S;
    s->bytes_max = 300000;
    s->connections = 1;
    if (random_chance(r, 500))
        impair_all(world, s, everything);
    s->errors_permitted = true;
}

static void draw_no_options(struct world *world, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++)
        s->hosts[i].tcp.sack = s->hosts[i].tcp.timestamps = s->hosts[i].tcp.window_scaling = false;
    impair_all(world, s, random_chance(&world->random, 500) ? lose : reorder);
}

static void draw_refused_payload(struct world *world, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++)
        s->hosts[i].payload_refused = (unsigned)random_log_between(&world->random, 10, 600);
    if (random_chance(&world->random, 300))
        impair_all(world, s, lose);
}

static void draw_placement(struct world *world, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++) {
        s->hosts[i].placement_delayed = (unsigned)random_between(&world->random, 100, 1000);
        s->hosts[i].placement_max_ns =
            random_log_between(&world->random, NS_PER_US, 50 * NS_PER_MS);
    }
    if (random_chance(&world->random, 500))
        impair_all(world, s, everything);
    s->errors_permitted = true;
    s->endings |= END_MIX_CLOSE_EARLY | END_MIX_ABORT;
}

static void draw_few_intervals(struct world *world, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++)
        s->hosts[i].intervals_max = (uint32_t)random_log_between(&world->random, 1, 64);
    for (unsigned i = 0; i < s->host_count; i++)
        s->hosts[i].sent_records_max = (uint32_t)random_log_between(&world->random, 1, 32);
    impair_all(world, s, random_chance(&world->random, 500) ? lose : reorder);
}

/* ---- Beginnings and ends ------------------------------------------------------------------ */

static void draw_abort(struct world *world, struct settings *s)
{
    s->endings = END_MIX_ABORT;
    s->connections = 6;
    if (random_chance(&world->random, 500))
        impair_all(world, s, everything);
    s->errors_permitted = true;
}

static void draw_close_early(struct world *world, struct settings *s)
{
    s->endings = END_MIX_CLOSE_EARLY;
    s->connections = 6;
    if (random_chance(&world->random, 500))
        impair_all(world, s, lose);
}

static void draw_close_when_done(struct world *world, struct settings *s)
{
    s->endings = END_MIX_CLOSE_WHEN_DONE;
    s->connections = 6;
    if (random_chance(&world->random, 700))
        impair_all(world, s, random_chance(&world->random, 500) ? lose : reorder);
}

static void draw_simultaneous_open(struct world *world, struct settings *s)
{
    s->simultaneous = 1000;
    s->connections = 4;
    s->host_count = 2;
    s->endings = END_MIX_CLEAN;
    if (random_chance(&world->random, 500))
        impair_all(world, s, lose);
}

static void draw_backlog(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    s->connections = (unsigned)random_between(r, 5, 30);
    s->connection_spacing_ns = random_log_between(r, 1000, 20 * NS_PER_MS);
    s->backlog = (uint32_t)random_between(r, 1, 4);
    s->accept_delay_max_ns = random_log_between(r, NS_PER_MS, 2 * NS_PER_S);
    s->bytes_max = 2000;
    s->errors_permitted = true;
    s->gives_up = true;
    for (unsigned i = 0; i < s->host_count; i++) {
        s->wires[i].delay_ns = random_log_between(r, NS_PER_MS, 100 * NS_PER_MS);
        s->hosts[i].connections_max = (uint32_t)random_between(r, 40, 80);
    }
    if (random_chance(r, 300))
        impair_all(world, s, lose);
}

static void draw_closed_port(struct world *world, struct settings *s)
{
    s->refused_port = 700;
    s->connections = 6;
    if (random_chance(&world->random, 500))
        impair_all(world, s, lose);
}

static void draw_to_self(struct world *world, struct settings *s)
{
    s->to_self = 800;
    s->endings |= random_chance(&world->random, 300) ? END_MIX_CLOSE_EARLY | END_MIX_ABORT : 0;
}

static void draw_reuse(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    s->fixed_port = 1000;
    s->connections = (unsigned)random_between(r, 4, 12);
    s->connection_spacing_ns = random_log_between(r, 100 * NS_PER_MS, 70 * NS_PER_S);
    s->bytes_max = 3000;
    s->endings = END_MIX_CLEAN | END_MIX_CLOSE_WHEN_DONE | END_MIX_ABORT;
    s->errors_permitted = true;
    s->heal_after_ns = 60 * NS_PER_S;
    if (random_chance(r, 600))
        impair_all(world, s, random_chance(r, 500) ? duplicate : lose);
}

static void draw_fast_open(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    bool cookies = random_chance(r, 500);
    for (unsigned i = 0; i < s->host_count; i++)
        s->hosts[i].tcp.fast_open =
            TCP_FAST_OPEN_CLIENT | TCP_FAST_OPEN_SERVER | TCP_FAST_OPEN_SERVER_ALWAYS |
            (cookies ? 0 : TCP_FAST_OPEN_CLIENT_NO_COOKIE | TCP_FAST_OPEN_SERVER_NO_COOKIE);
    s->connections = 8;
    s->connection_spacing_ns = random_log_between(r, NS_PER_MS, NS_PER_S);
    s->bytes_max = 5000;
    if (random_chance(r, 500))
        impair_all(world, s, random_chance(r, 500) ? duplicate : lose);
    if (random_chance(r, 300))
        s->endings = END_MIX_CLEAN | END_MIX_CLOSE_EARLY | END_MIX_ABORT;
}

/** The server hears of a connection when there is something to read, or the patience is over. */
static void draw_defer_accept(struct world *world, struct settings *s)
{
    s->defer_accept_ns = random_between(&world->random, 1, 10) * NS_PER_S;
    s->connections = 4;
    s->bytes_max = 5000;
    s->gives_up = s->errors_permitted = true;
    if (random_chance(&world->random, 300))
        impair_all(world, s, lose);
}

/* ---- Small things ------------------------------------------------------------------------- */

static void draw_held_writes(struct world *world, struct settings *s)
{
    s->more = (unsigned)random_between(&world->random, 0, 900);
    s->changes_options = 700;
    s->write_styles = 1u << WRITE_SMALL | 1u << WRITE_BYTES | 1u << WRITE_RANDOM;
    if (random_chance(&world->random, 300))
        impair_all(world, s, lose);
}

static void draw_urgent(struct world *world, struct settings *s)
{
    s->urgent = (unsigned)random_log_between(&world->random, 10, 1000);
    if (random_chance(&world->random, 500))
        impair_all(world, s, random_chance(&world->random, 500) ? lose : reorder);
}

/** A router that takes less, and is silent about it: probing must find out. */
static void draw_black_hole(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    for (unsigned i = 0; i < s->host_count; i++) {
        s->hosts[i].mtu = (uint16_t)random_between(r, 1500, 9000);
        s->hosts[i].tcp.mtu_probing = (uint8_t)random_between(r, 1, 2);
        s->wires[i].path_mtu =
            (uint16_t)(s->is_ipv6 ? random_between(r, 1280, 1500) : random_between(r, 600, 1500));
        s->wires[i].black_hole = true;
    }
    s->options_random = 0;
    s->bytes_max = 200000;
    s->heal_after_ns = 1000 * NS_PER_S;
    s->through_before_healing = true;
}

static void draw_pairs(struct world *world, struct settings *s)
{
    features_draw(world, s);
}

/* ---- Time --------------------------------------------------------------------------------- */

static void draw_keepalive(struct world *world, struct settings *s)
{
    s->keepalive = true;
    s->endings = END_MIX_NEVER;
    s->dies = true;
    s->connections = 2;
    s->pause_max_ns = NS_PER_S;
    for (unsigned i = 0; i < s->host_count; i++) {
        s->hosts[i].tcp.keepalive_idle_ns = 60 * NS_PER_S;
        s->wires[i].delay_ns = NS_PER_MS;
    }
    (void)world;
}

static void draw_idle(struct world *world, struct settings *s)
{
    s->idle_max_ns = 10000 * NS_PER_S;
    s->keepalive = random_chance(&world->random, 500);
    s->endings = END_MIX_CLEAN;
    s->connections = 2;
}

static void draw_sequence_wrap(struct world *world, struct settings *s)
{
    s->wraps_sequence = true;
    s->wraps_accepted = random_chance(&world->random, 500);
    s->connections = 1;
    s->bytes_min = 20000;
    s->bytes_max = 100000;
    s->write_styles = 1u << WRITE_BULK | 1u << WRITE_RANDOM;
    impair_all(world, s, everything);
    s->errors_permitted = true;
    s->changes_options = 0;
}

static void draw_timestamp_wrap(struct world *world, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++)
        s->hosts[i].tcp.timestamps = true;
    s->wraps_timestamp = true;
    s->wraps_accepted = random_chance(&world->random, 500);
    s->connections = 1;
    s->pause_max_ns = NS_PER_S;
    impair_all(world, s, everything);
    s->errors_permitted = true;
}

static void draw_late(struct world *world, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++) {
        s->hosts[i].late_max_ns = random_log_between(&world->random, NS_PER_MS, NS_PER_S);
        s->hosts[i].batch_delay_ns = random_log_between(&world->random, NS_PER_MS, NS_PER_S);
    }
    impair_all(world, s, random_chance(&world->random, 500) ? lose : reorder);
}

static void draw_restart(struct world *world, struct settings *s)
{
    s->restarts = true;
    s->connections = 6;
    s->heal_after_ns = 10 * NS_PER_S;
    s->pause_max_ns = 5 * NS_PER_S;
    if (random_chance(&world->random, 300))
        impair_all(world, s, lose);
}

static void draw_attack(struct world *world, struct settings *s)
{
    s->attacked = true;
    for (unsigned i = 0; i < s->host_count; i++) /* a SYN with payload may well be taken */
        s->hosts[i].tcp.fast_open = 0;
    s->endings = END_MIX_CLEAN;
    s->pause_max_ns = NS_PER_S;
    if (random_chance(&world->random, 300))
        impair_all(world, s, lose);
}

static const struct scenario scenarios[] = {
    {"clean", "nothing goes wrong", draw_clean, false},
    {"loss", "frames are lost", draw_loss, false},
    {"reorder", "frames overtake each other", draw_reorder, false},
    {"duplicate", "frames come twice, and late", draw_duplicate, false},
    {"corrupt", "bits flip, frames are cut short or padded", draw_corrupt, false},
    {"recut", "segments are split and joined on the way", draw_recut, false},
    {"merge", "ports cut what is sent, and join what arrives", draw_merge, false},
    {"fragment", "packets are fragmented on the way", draw_fragment, false},
    {"ecn", "routers mark instead of dropping", draw_ecn, false},
    {"path_mtu", "a router on the way takes smaller packets only", draw_path_mtu, false},
    {"rate", "the wire is slow, its buffer small", draw_rate, false},
    {"outage", "nothing passes for a while, again and again", draw_outage, false},
    {"asymmetric", "one direction is bad, the others good", draw_asymmetric, false},
    {"policer", "what exceeds a rate is dropped, not queued", draw_policer, false},
    {"lost_acks", "most acknowledgements are lost", draw_lost_acks, false},
    {"bunched_acks", "acknowledgements arrive in bunches", draw_bunched_acks, false},
    {"path_change", "delay and rate change on the way", draw_path_change, false},
    {"lopsided", "one direction is fast, the other slow", draw_lopsided, false},
    {"everything", "all of these, all endings, all kinds of opening", draw_everything, false},
    {"tiny_window", "small buffers, slow readers", draw_tiny_window, false},
    {"slow_reader", "readers stop and go: windows close", draw_slow_reader, false},
    {"no_options", "no SACK, timestamps or window scaling", draw_no_options, false},
    {"refused_payload", "the receiver has no memory at times", draw_refused_payload, false},
    {"placement", "payload is placed asynchronously", draw_placement, false},
    {"few_intervals", "hardly any memory for gaps", draw_few_intervals, false},
    {"abort", "resets at any moment", draw_abort, false},
    {"close_early", "closing with unread or unsent payload", draw_close_early, false},
    {"close_when_done", "closing at once after the last write", draw_close_when_done, false},
    {"simultaneous_open", "both sides open at once", draw_simultaneous_open, false},
    {"backlog", "more connections than the back-log takes", draw_backlog, false},
    {"closed_port", "connections to where nobody listens", draw_closed_port, false},
    {"to_self", "connections to an own address", draw_to_self, false},
    {"reuse", "the same ports again and again", draw_reuse, false},
    {"fast_open", "payload on SYNs, with and without cookies", draw_fast_open, false},
    {"defer_accept", "servers that hear of payload only", draw_defer_accept, false},
    {"held_writes", "cork, MSG_MORE, Nagle, small writes", draw_held_writes, false},
    {"urgent", "urgent data", draw_urgent, false},
    {"black_hole", "a smaller path MTU without a word: probing", draw_black_hole, false},
    {"pairs", "two features, two congestion controls at a time", draw_pairs, false},
    {"keepalive", "the wire dies for good: keepalive finds out", draw_keepalive, false},
    {"idle", "hours of silence", draw_idle, false},
    {"sequence_wrap", "sequence numbers wrap", draw_sequence_wrap, true},
    {"timestamp_wrap", "timestamps wrap", draw_timestamp_wrap, true},
    {"late", "the embedder is late and lazy", draw_late, false},
    {"attack", "forged segments near the mark (RFC 5961)", draw_attack, false},
    {"restart", "a host is switched off and on", draw_restart, false},
};

const struct scenario *scenario_by_number(unsigned number)
{
    return number < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[number] : NULL;
}

const struct scenario *scenario_by_name(const char *name)
{
    for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    }
    return NULL;
}
