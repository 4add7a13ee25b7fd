#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/config.h"

static struct wire_config read_good(const char *text)
{
    struct wire_config config;
    char problem[256] = "";
    if (!wire_config_parse(text, &config, problem, sizeof(problem))) {
        fail_msg("%s: %s", text, problem);
    }
    return config;
}

static void assert_refused(const char *text, const char *hint)
{
    struct wire_config config;
    char problem[256] = "";
    if (wire_config_parse(text, &config, problem, sizeof(problem))) {
        fail_msg("%s was taken", text);
    }
    if (strstr(problem, hint) == NULL) {
        fail_msg("%s: '%s' does not say '%s'", text, problem, hint);
    }
}

static void each_setting_is_read_in_its_unit(void **state)
{
    (void)state;
    struct wire_config config =
        read_good("loss=1%,delay=10ms,jitter=500us,reorder=0.25,dup=2.5%,corrupt=0.1%,"
                  "rate=100mbit,buffer=64kb,seed=7");
    assert_true(config.loss > 0.00999 && config.loss < 0.01001);
    assert_true(config.reorder > 0.2499 && config.reorder < 0.2501);
    assert_true(config.duplicate > 0.02499 && config.duplicate < 0.02501);
    assert_true(config.corrupt > 0.000999 && config.corrupt < 0.001001);
    assert_int_equal(config.delay_ns, 10000000);
    assert_int_equal(config.jitter_ns, 500000);
    assert_int_equal(config.rate_bps, 100000000);
    assert_int_equal(config.buffer_bytes, 65536);
    assert_int_equal(config.buffer_packets, 0);
    assert_int_equal(config.seed, 7);
}

static void what_is_not_named_is_not_impaired(void **state)
{
    (void)state;
    struct wire_config config = read_good("seed=3r");
    assert_true(config.turned && config.seed == 3);
    config = read_good("seed=3");
    assert_false(config.turned);
    assert_true(config.loss == 0 && config.reorder == 0 && config.corrupt == 0);
    assert_int_equal(config.delay_ns, 0);
    assert_int_equal(config.rate_bps, 0);
}

static void a_buffer_of_bdp_is_rate_times_round_trip(void **state)
{
    (void)state;
    /* 100 Mbit/s for 20 ms. */
    assert_int_equal(read_good("rate=100mbit,buffer=1bdp,delay=10ms").buffer_bytes, 250000);
    assert_int_equal(read_good("buffer=0.5bdp,delay=10ms,rate=100mbit").buffer_bytes, 125000);
    assert_int_equal(read_good("rate=1mbit,buffer=1bdp").buffer_bytes, 2 * WIRE_FULL_FRAME_BYTES);
}

static void a_rate_without_a_buffer_has_the_default_one(void **state)
{
    (void)state;
    assert_int_equal(read_good("rate=1gbit").buffer_packets, WIRE_BUFFER_PACKETS_DEFAULT);
    assert_int_equal(read_good("rate=1gbit,buffer=20packets").buffer_packets, 20);
}

static void mistakes_are_refused_with_advice(void **state)
{
    (void)state;
    assert_refused("", "no setting ''");
    assert_refused("los=1%", "no setting 'los'");
    assert_refused("loss", "needs a value");
    assert_refused("loss=", "needs a value");
    assert_refused("loss=1", "percentage");
    assert_refused("loss=101%", "percentage");
    assert_refused("loss=-1%", "percentage");
    assert_refused("loss=nan%", "percentage");
    assert_refused("loss=1%x", "percentage");
    assert_refused("loss=1%,loss=2%", "twice");
    assert_refused("delay=10", "ns, us, ms or s");
    assert_refused("delay=10min", "ns, us, ms or s");
    assert_refused("delay=1000s", "up to 60s");
    assert_refused("rate=100", "such as 100mbit");
    assert_refused("rate=1bit", "such as 100mbit");
    assert_refused("rate=1mbit,buffer=5", "such as 64kb");
    assert_refused("rate=1mbit,buffer=0kb", "such as 64kb");
    assert_refused("buffer=64kb", "rate=");
    assert_refused("reorder=1%", "delay=");
    assert_refused("delay=1ms,jitter=2ms", "jitter");
    assert_refused("seed=x", "whole number");
    assert_refused("seed=-1", "whole number");
    assert_refused("seed=1rr", "whole number");
    assert_refused("loss=1%,", "no setting ''");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_setting_is_read_in_its_unit),
        cmocka_unit_test(what_is_not_named_is_not_impaired),
        cmocka_unit_test(a_buffer_of_bdp_is_rate_times_round_trip),
        cmocka_unit_test(a_rate_without_a_buffer_has_the_default_one),
        cmocka_unit_test(mistakes_are_refused_with_advice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
