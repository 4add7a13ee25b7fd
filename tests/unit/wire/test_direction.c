#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/direction.h"

#define FRAMES   100000
#define FRAME    1514
#define US       1000ULL
#define MS       1000000ULL
#define GAP_NS   (10 * US)
#define START_NS (5 * MS)

static struct wire_direction make(const char *settings, unsigned number)
{
    struct wire_config config;
    struct wire_direction direction;
    char problem[256];
    assert_true(wire_config_parse(settings, &config, problem, sizeof(problem)));
    assert_true(wire_direction_init(&direction, &config, number));
    return direction;
}

/* `share` of `of` within four standard deviations of a binomial variable. */
static void assert_share(uint64_t count, double share, uint64_t of)
{
    double expected = share * (double)of;
    double difference = (double)count - expected;
    double variance = expected * (1 - share);
    if (difference * difference > 16 * variance) {
        fail_msg("%llu of %llu is not a share of %g", (unsigned long long)count,
                 (unsigned long long)of, share);
    }
}

static struct wire_fate enter(struct wire_direction *direction, uint64_t now_ns)
{
    struct wire_fate fate;
    wire_direction_enter(direction, now_ns, FRAME, false, &fate);
    return fate;
}

static void a_clean_wire_passes_all_at_once(void **state)
{
    (void)state;
    struct wire_direction direction = make("seed=1", 0);
    for (uint64_t i = 0; i < 1000; i++) {
        struct wire_fate fate = enter(&direction, START_NS + i);
        assert_int_equal(fate.arrivals, 1);
        assert_int_equal(fate.arrival[0].at_ns, START_NS + i);
        assert_false(fate.arrival[0].corrupted);
    }
    wire_direction_destroy(&direction);
}

static void impairments_strike_their_share_of_frames(void **state)
{
    (void)state;
    struct wire_direction direction =
        make("loss=1%,dup=2%,corrupt=3%,reorder=5%,delay=1ms,seed=11", 0);
    uint64_t arrivals = 0;
    for (uint64_t i = 0; i < FRAMES; i++) {
        struct wire_fate fate = enter(&direction, i * GAP_NS);
        for (unsigned copy = 0; copy < fate.arrivals; copy++) {
            arrivals++;
            assert_true(!fate.arrival[copy].corrupted ||
                        fate.arrival[copy].corrupted_bit < (FRAME - 14) * 8);
        }
    }
    const struct wire_counters *counters = &direction.counters;
    assert_int_equal(counters->entered, FRAMES);
    assert_share(counters->lost, 0.01, FRAMES);
    assert_share(counters->duplicated, 0.02, FRAMES - counters->lost);
    assert_int_equal(arrivals, FRAMES - counters->lost + counters->duplicated);
    assert_share(counters->corrupted, 0.03, arrivals);
    assert_share(counters->overtaking, 0.05, arrivals);
    wire_direction_destroy(&direction);
}

static void the_same_seed_gives_the_same_fates_and_directions_differ(void **state)
{
    (void)state;
    const char *settings = "loss=10%,delay=1ms,jitter=1ms,dup=10%,corrupt=10%,seed=5";
    struct wire_direction one = make(settings, 0);
    struct wire_direction again = make(settings, 0);
    struct wire_direction other = make(settings, 1);
    struct wire_direction turned =
        make("loss=10%,delay=1ms,jitter=1ms,dup=10%,corrupt=10%,seed=5r", 1);
    unsigned differences = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        struct wire_fate a = enter(&one, i * GAP_NS);
        struct wire_fate b = enter(&again, i * GAP_NS);
        struct wire_fate c = enter(&other, i * GAP_NS);
        struct wire_fate d = enter(&turned, i * GAP_NS);
        assert_memory_equal(&a, &b, sizeof(a));
        assert_memory_equal(&a, &d, sizeof(a));
        differences += a.arrivals != c.arrivals || a.arrival[0].at_ns != c.arrival[0].at_ns;
    }
    assert_true(differences > 500);
    wire_direction_destroy(&one);
    wire_direction_destroy(&again);
    wire_direction_destroy(&other);
    wire_direction_destroy(&turned);
}

static void one_impairment_does_not_move_anothers_choices(void **state)
{
    (void)state;
    struct wire_direction alone = make("loss=5%,seed=9", 0);
    struct wire_direction together = make("loss=5%,dup=20%,corrupt=20%,delay=1ms,seed=9", 0);
    for (uint64_t i = 0; i < 10000; i++) {
        assert_int_equal(enter(&alone, i * GAP_NS).arrivals == 0,
                         enter(&together, i * GAP_NS).arrivals == 0);
    }
    wire_direction_destroy(&alone);
    wire_direction_destroy(&together);
}

static void delay_and_jitter_bound_the_arrival_and_reordered_frames_skip_them(void **state)
{
    (void)state;
    struct wire_direction direction = make("delay=10ms,jitter=2ms,reorder=10%,seed=4", 0);
    uint64_t low = UINT64_MAX;
    uint64_t high = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t now_ns = i * GAP_NS;
        uint64_t before = direction.counters.overtaking;
        uint64_t took_ns = enter(&direction, now_ns).arrival[0].at_ns - now_ns;
        if (direction.counters.overtaking != before) {
            assert_int_equal(took_ns, 0);
            continue;
        }
        low = took_ns < low ? took_ns : low;
        high = took_ns > high ? took_ns : high;
    }
    assert_in_range(low, 8 * MS, 8 * MS + 50 * US);
    assert_in_range(high, 12 * MS - 50 * US, 12 * MS);
    wire_direction_destroy(&direction);
}

static void the_rate_spaces_frames_and_the_buffer_drops_the_tail(void **state)
{
    (void)state;
    /* A full frame takes 121.12 us; ten wait. */
    struct wire_direction direction = make("rate=100mbit,buffer=10packets,delay=1ms", 0);
    for (uint64_t i = 0; i < 10; i++) {
        struct wire_fate fate = enter(&direction, START_NS);
        assert_int_equal(fate.arrivals, 1);
        assert_int_equal(fate.arrival[0].at_ns, START_NS + MS + (i + 1) * 121120);
    }
    assert_int_equal(enter(&direction, START_NS).arrivals, 0);
    assert_int_equal(direction.counters.overflowed, 1);
    assert_int_equal(enter(&direction, START_NS + 121119).arrivals, 0);
    assert_int_equal(enter(&direction, START_NS + 121120).arrivals, 1);
    wire_direction_destroy(&direction);
}

static void a_buffer_in_bytes_holds_so_many(void **state)
{
    (void)state;
    struct wire_direction direction = make("rate=100mbit,buffer=5000bytes", 0);
    unsigned passed = 0;
    for (int i = 0; i < 10; i++) {
        passed += enter(&direction, START_NS).arrivals;
    }
    assert_int_equal(passed, 3);
    /* When all is sent there is room again. */
    assert_int_equal(enter(&direction, START_NS + MS).arrivals, 1);
    wire_direction_destroy(&direction);
}

static void offered_more_than_the_rate_the_rate_comes_out(void **state)
{
    (void)state;
    struct wire_direction direction = make("rate=50mbit,buffer=30packets,delay=1ms", 0);
    uint64_t arrived = 0;
    for (uint64_t i = 0; i < FRAMES; i++) { /* one second, 1.2 Gbit/s */
        arrived += enter(&direction, i * GAP_NS).arrivals;
    }
    assert_in_range(arrived * FRAME * 8, 50000000, 50000000 + 31 * FRAME * 8);
    wire_direction_destroy(&direction);
}

static void housekeeping_is_delayed_and_nothing_else(void **state)
{
    (void)state;
    struct wire_direction direction =
        make("loss=100%,dup=100%,corrupt=100%,reorder=100%,delay=1ms", 0);
    struct wire_fate fate;
    wire_direction_enter(&direction, START_NS, 42, true, &fate);
    assert_int_equal(fate.arrivals, 1);
    assert_int_equal(fate.arrival[0].at_ns, START_NS + MS);
    assert_false(fate.arrival[0].corrupted);
    assert_int_equal(enter(&direction, START_NS).arrivals, 0);
    wire_direction_destroy(&direction);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_wire_passes_all_at_once),
        cmocka_unit_test(impairments_strike_their_share_of_frames),
        cmocka_unit_test(the_same_seed_gives_the_same_fates_and_directions_differ),
        cmocka_unit_test(one_impairment_does_not_move_anothers_choices),
        cmocka_unit_test(delay_and_jitter_bound_the_arrival_and_reordered_frames_skip_them),
        cmocka_unit_test(the_rate_spaces_frames_and_the_buffer_drops_the_tail),
        cmocka_unit_test(a_buffer_in_bytes_holds_so_many),
        cmocka_unit_test(offered_more_than_the_rate_the_rate_comes_out),
        cmocka_unit_test(housekeeping_is_delayed_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
