#include "feature_pairs.h"

#include "world.h"

static void each_host(struct settings *s, void (*change)(struct host_settings *host))
{
    for (unsigned i = 0; i < s->host_count; i++)
        change(&s->hosts[i]);
}

static void without_sack(struct host_settings *host)
{
    host->tcp.sack = false;
}

static void without_timestamps(struct host_settings *host)
{
    host->tcp.timestamps = false;
}

static void without_scaling(struct host_settings *host)
{
    host->tcp.window_scaling = false;
}

static void with_ecn(struct host_settings *host)
{
    host->tcp.ecn = TCP_ECN_REQUEST;
}

static void with_fast_open(struct host_settings *host)
{
    host->tcp.fast_open = TCP_FAST_OPEN_CLIENT | TCP_FAST_OPEN_SERVER |
                          TCP_FAST_OPEN_SERVER_ALWAYS | TCP_FAST_OPEN_CLIENT_NO_COOKIE |
                          TCP_FAST_OPEN_SERVER_NO_COOKIE;
}

static void with_mtu_probing(struct host_settings *host)
{
    host->tcp.mtu_probing = TCP_MTU_PROBING_ALWAYS;
}

static void with_pacing(struct host_settings *host)
{
    host->tcp.pace_rtt_ns = 1;
}

static void with_few_records(struct host_settings *host)
{
    host->intervals_max = 8;
    host->sent_records_max = 4;
}

static void with_segmenting_port(struct host_settings *host)
{
    host->gso_bytes_max = 65000;
}

#define PER_HOST(change)                                                                           \
    static void all_##change(struct random *r, struct settings *s)                                 \
    {                                                                                              \
        (void)r;                                                                                   \
        each_host(s, change);                                                                      \
    }
PER_HOST(without_sack)
PER_HOST(without_timestamps)
PER_HOST(without_scaling)
PER_HOST(with_fast_open)
PER_HOST(with_mtu_probing)
PER_HOST(with_pacing)
PER_HOST(with_few_records)
PER_HOST(with_segmenting_port)

static void marked(struct random *r, struct settings *s)
{
    each_host(s, with_ecn);
    for (unsigned i = 0; i < s->host_count; i++)
        s->wires[i].mark = (unsigned)random_log_between(r, 5, 1000);
}

static void cookies(struct random *r, struct settings *s)
{
    (void)r;
    s->backlog = 1;
    s->connections = 8;
    s->connection_spacing_ns = 10 * NS_PER_MS;
    s->accept_delay_max_ns = 50 * NS_PER_MS;
    s->errors_permitted = s->gives_up = true;
}

static void keepalive(struct random *r, struct settings *s)
{
    s->keepalive = true;
    s->idle_max_ns = random_between(r, 1, 40) * NS_PER_S;
    s->errors_permitted = true;
}

static void small_windows(struct random *r, struct settings *s)
{
    s->receive_buffer = (uint32_t)random_log_between(r, 2048, 16384);
    s->send_buffer = (uint32_t)random_log_between(r, 2048, 32768);
}

static void urgent(struct random *r, struct settings *s)
{
    (void)r;
    s->urgent = 200;
}

static void held_writes(struct random *r, struct settings *s)
{
    s->more = (unsigned)random_between(r, 100, 700);
    s->changes_options = 700;
    s->write_styles = 1u << WRITE_SMALL | 1u << WRITE_BYTES | 1u << WRITE_RANDOM;
}

static void losses(struct random *r, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++)
        s->wires[i].loss = (unsigned)random_log_between(r, 1, 200);
}

static void reordering(struct random *r, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++) {
        s->wires[i].reorder = (unsigned)random_log_between(r, 1, 300);
        s->wires[i].duplicate = (unsigned)random_log_between(r, 1, 100);
    }
}

static void sparse_acks(struct random *r, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++) {
        s->wires[i].ack_loss = (unsigned)random_between(r, 0, 700);
        s->wires[i].ack_bunch_ns = random_log_between(r, NS_PER_MS, 30 * NS_PER_MS);
    }
}

static void shallow_buffer(struct random *r, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++) {
        s->wires[i].rate_bytes_per_s = random_log_between(r, 100000, 10000000);
        s->wires[i].buffer_bytes = (uint32_t)random_log_between(r, 4000, 30000);
    }
}

static void slow_memory(struct random *r, struct settings *s)
{
    for (unsigned i = 0; i < s->host_count; i++) {
        s->hosts[i].placement_delayed = 500;
        s->hosts[i].placement_max_ns = random_log_between(r, NS_PER_US, 10 * NS_PER_MS);
        s->hosts[i].payload_refused = (unsigned)random_log_between(r, 1, 100);
    }
}

static const struct feature features[] = {
    {"no SACK", all_without_sack},
    {"no timestamps", all_without_timestamps},
    {"no window scaling", all_without_scaling},
    {"ECN", marked},
    {"fast open", all_with_fast_open},
    {"cookies", cookies},
    {"MTU probing", all_with_mtu_probing},
    {"pacing", all_with_pacing},
    {"keepalive", keepalive},
    {"small windows", small_windows},
    {"urgent data", urgent},
    {"cork, MSG_MORE and Nagle", held_writes},
    {"few records", all_with_few_records},
    {"TSO", all_with_segmenting_port},
    {"loss", losses},
    {"reordering", reordering},
    {"sparse acknowledgements", sparse_acks},
    {"a shallow buffer", shallow_buffer},
    {"slow memory", slow_memory},
};

unsigned feature_count(void)
{
    return sizeof(features) / sizeof(features[0]);
}

const struct feature *feature_by_number(unsigned number)
{
    return number < feature_count() ? &features[number] : NULL;
}

void features_draw(struct world *world, struct settings *s)
{
    struct random *r = &world->random;
    unsigned first = (unsigned)random_below(r, feature_count());
    unsigned second = (unsigned)random_below(r, feature_count() - 1);
    second += second >= first;
    s->host_count = 2;
    s->options_random = 0; /* what is drawn here stays */
    s->hosts[0].tcp.congestion = (uint8_t)random_below(r, TCP_CONGESTION_COUNT);
    s->hosts[1].tcp.congestion = (uint8_t)random_below(r, TCP_CONGESTION_COUNT);
    s->bytes_max = 150000;
    features[first].apply(r, s);
    features[second].apply(r, s);
    s->features[0] = (uint8_t)(first + 1);
    s->features[1] = (uint8_t)(second + 1);
}
