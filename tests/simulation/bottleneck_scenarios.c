/* What must hold of congestion control at a bottleneck: bounds, not snapshots. */
#include <stdio.h>

#include <stdlib.h>

#include "base/time_units.h"
#include "bottleneck.h"
#include "core/stack.h"
#include "random.h"

#define MBIT UINT64_C(125000)

/** Name and figures, for --trace. */
static void show(const char *what, const struct bottleneck_settings *s,
                 const struct bottleneck_result *r)
{
    printf("%-28s util %.3f jain %.3f queue mean %.0f max %u dropped %llu/%llu marked %llu "
           "rto %llu retransmits %llu\n",
           what, r->utilization, r->jain, r->queue_mean_bytes, r->queue_max_bytes,
           (unsigned long long)r->dropped, (unsigned long long)r->packets,
           (unsigned long long)r->marked, (unsigned long long)r->rto_expirations,
           (unsigned long long)r->retransmits);
    if (s->flows <= 8) {
        for (unsigned i = 0; i < s->flows; i++)
            printf("  %.2f", r->goodput[i] * 8 / 1e6);
        printf(" Mbit/s\n");
    }
}

/** One flow, or several, that send all the time. */
static struct bottleneck_settings path(uint8_t congestion, unsigned flows, uint64_t rate,
                                       uint64_t rtt_ns, double buffer_bdp, uint64_t duration_ns)
{
    struct bottleneck_settings s = {
        .flows = flows,
        .rate_bytes_per_s = rate,
        .rtt_ns = rtt_ns,
        .duration_ns = duration_ns,
        .measure_from_ns = duration_ns / 3,
    };
    s.buffer_bytes = (uint32_t)(buffer_bdp * (double)rate * (double)rtt_ns / (double)NS_PER_S) +
                     8000; /* six packets besides */
    for (unsigned i = 0; i < flows; i++)
        s.congestion[i] = congestion;
    return s;
}

static uint8_t pick(struct random *r, const uint8_t *from, unsigned count)
{
    return from[random_below(r, count)];
}

#define PICK(r, ...) pick(r, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static uint64_t draw_rate(struct random *r)
{
    return random_between(r, 20, 100) * MBIT;
}

static uint64_t draw_rtt(struct random *r)
{
    return random_between(r, 5, 40) * NS_PER_MS;
}

static double bdp(const struct bottleneck_settings *s)
{
    return (double)s->rate_bytes_per_s * (double)s->rtt_ns / (double)NS_PER_S;
}

static void mark_if_wanted(struct bottleneck_settings *s)
{
    bool wants =
        s->congestion[0] == TCP_CONGESTION_DCTCP || s->congestion[0] == TCP_CONGESTION_DCTCP_RATE;
    /* RFC 8257 §4.1: a seventh of the product is enough; some segments are needed besides. */
    if (wants)
        s->mark_above_bytes = (uint32_t)(bdp(s) / 6) + 20000;
}

/** What holds of every run. A timeout, and one more for each second, is nobody's fault on a path as
    bad as some of these; more is a storm. */
static const char *run(const struct bottleneck_settings *s, uint64_t seed, bool trace,
                       struct bottleneck_result *result)
{
    bottleneck_run(s, seed, result);
    if (trace) {
        char what[64];
        (void)snprintf(what, sizeof(what), "%s %uM %ums x%u", tcp_congestion_name(s->congestion[0]),
                       (unsigned)(s->rate_bytes_per_s / MBIT), (unsigned)(s->rtt_ns / NS_PER_MS),
                       s->flows);
        show(what, s, result);
    }
    if (result->window_failure != NULL)
        return result->window_failure;
    return result->rto_expirations > s->flows * (1 + s->duration_ns / NS_PER_S)
               ? "a storm of timeouts"
               : NULL;
}

static const char *deep_buffer(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_NEWRENO, TCP_CONGESTION_BBR,
                             TCP_CONGESTION_DCTCP, TCP_CONGESTION_TIMELY);
    uint64_t rate = draw_rate(&r), rtt = draw_rtt(&r);
    struct bottleneck_settings s =
        path(algorithm, 1, rate, rtt, (double)random_between(&r, 2, 4), 20 * NS_PER_S);
    mark_if_wanted(&s);
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    return result.utilization < 0.6 ? "a deep buffer, and the rate is not reached" : NULL;
}

static const char *shallow_buffer(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_BBR);
    uint64_t rate = draw_rate(&r), rtt = draw_rtt(&r);
    struct bottleneck_settings s = path(algorithm, 1, rate, rtt, 0.1, 20 * NS_PER_S);
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    if (result.rto_expirations > 2)
        return "timeouts at a shallow buffer";
    return result.utilization < 0.55 ? "a shallow buffer takes too much of the rate" : NULL;
}

static const char *bufferbloat(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_BBR, TCP_CONGESTION_TIMELY, TCP_CONGESTION_DCTCP);
    uint64_t rate = draw_rate(&r), rtt = draw_rtt(&r);
    struct bottleneck_settings s = path(algorithm, 1, rate, rtt, 8, 20 * NS_PER_S);
    mark_if_wanted(&s);
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    return result.queue_mean_bytes > 0.6 * bdp(&s) + 30000 ? "a queue stands in a deep buffer"
                                                           : NULL;
}

static const char *fairness(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm =
        PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_NEWRENO, TCP_CONGESTION_BBR,
             TCP_CONGESTION_DCTCP, TCP_CONGESTION_DCTCP_RATE, TCP_CONGESTION_TIMELY);
    struct bottleneck_settings s =
        path(algorithm, (unsigned)random_between(&r, 2, 16), draw_rate(&r),
             random_between(&r, 5, 20) * NS_PER_MS, 1, 30 * NS_PER_S);
    mark_if_wanted(&s);
    /* With the least window of two segments, more flows than this would have no window to share. */
    unsigned flows = (unsigned)(bdp(&s) / (5 * 1538));
    flows = flows < 2 ? 2 : flows < s.flows ? flows : s.flows;
    s.flows = flows;
    for (unsigned i = 0; i < flows; i++)
        s.start_ns[i] = random_below(&r, NS_PER_S);
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    if (result.utilization < 0.7)
        return "many flows, and the rate is not reached";
    return result.jain < 0.7 ? "flows of one kind share unfairly" : NULL;
}

static const char *convergence(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_NEWRENO, TCP_CONGESTION_BBR,
                             TCP_CONGESTION_DCTCP);
    struct bottleneck_settings s = path(algorithm, 2, random_between(&r, 20, 50) * MBIT,
                                        random_between(&r, 5, 20) * NS_PER_MS, 1, 40 * NS_PER_S);
    mark_if_wanted(&s);
    s.start_ns[1] = 8 * NS_PER_S;
    s.measure_from_ns = 24 * NS_PER_S;
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    double least = result.goodput[0] < result.goodput[1] ? result.goodput[0] : result.goodput[1];
    return least < 0.15 * (double)s.rate_bytes_per_s ? "a newcomer and an older flow do not meet"
                                                     : NULL;
}

static const char *incast(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = TCP_CONGESTION_DCTCP;
    struct bottleneck_settings s =
        path(algorithm, 64, 1000 * MBIT, 200 * NS_PER_US, 1, 600 * NS_PER_MS);
    s.buffer_bytes = 2u << 20;
    s.mark_above_bytes = 65000;
    for (unsigned i = 0; i < s.flows; i++)
        s.start_ns[i] = random_below(&r, 100 * NS_PER_US);
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    /* 64 windows of two segments, the least there is, and twice the threshold. */
    if (result.queue_mean_bytes > 64 * 2 * 1538 + 2 * 65000)
        return "DCTCP does not hold the queue of an incast down";
    if (result.dropped > 0 || result.rto_expirations > 0)
        return "an incast within the buffer's size loses packets";
    return result.jain < 0.8 || result.utilization < 0.85 ? "an incast is shared unfairly" : NULL;
}

static const char *policer(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_NEWRENO, TCP_CONGESTION_BBR);
    uint64_t rate = draw_rate(&r), rtt = draw_rtt(&r);
    struct bottleneck_settings s = path(algorithm, 1, rate, rtt, 1, 20 * NS_PER_S);
    s.policer_bytes = (uint64_t)(bdp(&s) / 2) + 30000;
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    return result.utilization < 0.33 ? "a policer takes more than its due" : NULL;
}

static const char *random_loss(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result bbr, cubic;
    uint64_t rate = draw_rate(&r), rtt = random_between(&r, 10, 40) * NS_PER_MS;
    struct bottleneck_settings s = path(TCP_CONGESTION_BBR, 1, rate, rtt, 1, 20 * NS_PER_S);
    s.loss = 100;
    const char *failure = run(&s, seed, trace, &bbr);
    if (failure != NULL)
        return failure;
    s.congestion[0] = TCP_CONGESTION_CUBIC;
    failure = run(&s, seed, trace, &cubic);
    if (failure != NULL)
        return failure;
    if (bbr.utilization < 0.5)
        return "BBR lets one per cent of loss take most of the rate";
    return bbr.utilization < cubic.utilization ? "BBR suffers more from loss than CUBIC" : NULL;
}

static const char *ack_compression(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_BBR);
    uint64_t rate = draw_rate(&r), rtt = random_between(&r, 10, 40) * NS_PER_MS;
    struct bottleneck_settings s = path(algorithm, 1, rate, rtt, 1, 15 * NS_PER_S);
    s.ack_gather_ns = random_between(&r, 1, 8) * NS_PER_MS;
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    return result.utilization < 0.6 ? "bunches of acknowledgements take the rate" : NULL;
}

static const char *asymmetric_path(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_BBR, TCP_CONGESTION_NEWRENO);
    uint64_t rate = draw_rate(&r), rtt = draw_rtt(&r);
    struct bottleneck_settings s = path(algorithm, 1, rate, rtt, 1, 20 * NS_PER_S);
    s.ack_rate_bytes_per_s = rate / random_between(&r, 10, 25);
    s.ack_loss = (unsigned)random_below(&r, 3000);
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    return result.utilization < 0.6 ? "a thin, lossy way back takes the rate" : NULL;
}

static const char *rate_change(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_BBR, TCP_CONGESTION_NEWRENO);
    uint64_t rate = random_between(&r, 40, 80) * MBIT;
    uint64_t rtt = random_between(&r, 5, 30) * NS_PER_MS;
    struct bottleneck_settings s = path(algorithm, 1, rate, rtt, 1, 30 * NS_PER_S);
    s.changed_rate = random_chance(&r, 500) ? rate / random_between(&r, 2, 8) : rate * 2;
    s.measure_from_ns = 22 * NS_PER_S;
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    return result.utilization < 0.65 ? "a changed rate is not found" : NULL;
}

static const char *paced(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_NEWRENO, TCP_CONGESTION_BBR,
                             TCP_CONGESTION_CONSTANT_RATE);
    unsigned flows = (unsigned)random_between(&r, 1, 32);
    struct bottleneck_settings s =
        path(algorithm, flows, draw_rate(&r), draw_rtt(&r), 1, 12 * NS_PER_S);
    s.max_pacing_rate = s.rate_bytes_per_s * 8 / 10 / flows;
    s.buffer_bytes += 32 * 16 * 1538; /* the first windows, which go unpaced, come at once */
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    for (unsigned i = 0; i < flows; i++) {
        if (result.goodput[i] > 1.03 * (double)s.max_pacing_rate)
            return "faster than SO_MAX_PACING_RATE";
        if (result.goodput[i] < 0.85 * (double)s.max_pacing_rate)
            return "much slower than SO_MAX_PACING_RATE";
    }
    return NULL;
}

/** One that looks at losses only, one at the delay or at marks: they need not be equals, but none
   may starve, and the path is used. Every pair comes up. */
static const char *coexistence(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    unsigned pair = (unsigned)random_below(&r, TCP_CONGESTION_COUNT * TCP_CONGESTION_COUNT);
    struct bottleneck_settings s =
        path((uint8_t)(pair / TCP_CONGESTION_COUNT), 2, random_between(&r, 20, 60) * MBIT,
             random_between(&r, 5, 30) * NS_PER_MS, 1, 20 * NS_PER_S);
    s.congestion[1] = (uint8_t)(pair % TCP_CONGESTION_COUNT);
    s.mark_above_bytes = (uint32_t)(bdp(&s) / 2) + 20000;
    s.max_pacing_rate = s.rate_bytes_per_s * 7 / 10; /* constant rate would know no bounds */
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    double least = result.goodput[0] < result.goodput[1] ? result.goodput[0] : result.goodput[1];
    if (least < 0.01 * (double)s.rate_bytes_per_s)
        return "one of two flows starves";
    return result.utilization < 0.6 ? "two flows of two kinds leave the rate unused" : NULL;
}

/** The path becomes longer or shorter, its rate stays. */
static const char *path_detour(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_BBR, TCP_CONGESTION_NEWRENO);
    uint64_t rate = random_between(&r, 20, 60) * MBIT;
    uint64_t rtt = random_between(&r, 10, 40) * NS_PER_MS;
    struct bottleneck_settings s = path(algorithm, 1, rate, rtt, 2, 30 * NS_PER_S);
    s.changed_rtt_ns =
        random_chance(&r, 500) ? rtt / random_between(&r, 2, 4) : rtt * random_between(&r, 2, 3);
    s.measure_from_ns = 22 * NS_PER_S;
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    return result.utilization < 0.6 ? "a changed path is not filled" : NULL;
}

/** As many flows as there are: all get something, and the path is used. */
static const char *many_flows(uint64_t seed, bool trace)
{
    struct random r = {seed};
    struct bottleneck_result result;
    uint8_t algorithm = PICK(&r, TCP_CONGESTION_CUBIC, TCP_CONGESTION_NEWRENO, TCP_CONGESTION_BBR,
                             TCP_CONGESTION_DCTCP);
    struct bottleneck_settings s =
        path(algorithm, BOTTLENECK_FLOWS_MAX, random_between(&r, 200, 500) * MBIT,
             random_between(&r, 10, 30) * NS_PER_MS, 1, 10 * NS_PER_S);
    mark_if_wanted(&s);
    for (unsigned i = 0; i < s.flows; i++)
        s.start_ns[i] = random_below(&r, NS_PER_S);
    const char *failure = run(&s, seed, trace, &result);
    if (failure != NULL)
        return failure;
    if (result.utilization < 0.8)
        return "64 flows, and the rate is not reached";
    for (unsigned i = 0; i < s.flows; i++)
        if (result.goodput[i] < 0.05 * (double)s.rate_bytes_per_s / s.flows)
            return "one of 64 flows starves";
    return result.jain < 0.5 ? "64 flows of one kind share unfairly" : NULL;
}

static const struct bottleneck_scenario scenarios[] = {
    {"deep_buffer", "one flow, two to four products of buffer", deep_buffer},
    {"shallow_buffer", "one flow, a tenth of the product", shallow_buffer},
    {"bufferbloat", "those that look at delay or marks leave a deep buffer empty", bufferbloat},
    {"fairness", "two to sixteen flows of one kind", fairness},
    {"convergence", "a newcomer gets its share", convergence},
    {"incast", "64 to one with ECN and DCTCP", incast},
    {"policer", "a token bucket instead of a queue", policer},
    {"random_loss", "one per cent, by BBR and by CUBIC", random_loss},
    {"ack_compression", "acknowledgements come in bunches", ack_compression},
    {"asymmetric_path", "a thin, lossy way back", asymmetric_path},
    {"rate_change", "the rate changes on the way", rate_change},
    {"coexistence", "two flows with any two congestion controls", coexistence},
    {"path_detour", "the round trip changes on the way", path_detour},
    {"many_flows", "64 flows of one kind", many_flows},
    {"paced", "SO_MAX_PACING_RATE holds", paced},
};

const struct bottleneck_scenario *bottleneck_scenario_by_number(unsigned number)
{
    return number < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[number] : NULL;
}
