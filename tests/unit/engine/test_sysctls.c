#include "hostlink/cmocka_all.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/time_units.h"
#include "core/sysctl.h"
#include "engine/namespace_sysctls.h"
#include "engine/options.h"

static struct stack_config config;

static int set_up(void **state)
{
    (void)state;
    stack_config_init(&config);
    return 0;
}

static int set(const char *name, const char *value)
{
    return stack_sysctl_set(&config, name, value);
}

/* ---- What values do ------------------------------------------------------------------------- */

static void numbers_come_in_linuxs_units(void **state)
{
    (void)state;
    assert_int_equal(set("net.ipv4.tcp_keepalive_time", "600"), 0);
    assert_int_equal(config.tcp.keepalive_idle_ns, 600 * NS_PER_S);
    assert_int_equal(set("net.ipv4.tcp_rto_min_us", "5000"), 0);
    assert_int_equal(config.tcp.rto_min_ns, 5 * NS_PER_MS);
    assert_int_equal(set("net.ipv4.tcp_rto_max_ms", "3000"), 0);
    assert_int_equal(config.tcp.rto_max_ns, 3 * NS_PER_S);
    assert_int_equal(set("net.ipv4.tcp_retries2", "8"), 0);
    assert_int_equal(config.tcp.retries, 8);
    assert_int_equal(set("net.ipv4.tcp_fastopen", "0x403"), 0);
    assert_int_equal(config.tcp.fast_open, 0x403);
}

static void switches_are_switched(void **state)
{
    (void)state;
    assert_int_equal(set("net.ipv4.tcp_timestamps", "0"), 0);
    assert_false(config.tcp.timestamps);
    assert_int_equal(set("net.ipv4.tcp_timestamps", "2"), 0);
    assert_true(config.tcp.timestamps);
    assert_int_equal(set("net.ipv4.tcp_early_retrans", "0"), 0);
    assert_false(config.tcp.tail_probes);
    assert_int_equal(set("net.ipv4.tcp_early_retrans", "3"), 0);
    assert_true(config.tcp.tail_probes);
}

static void lists_have_their_parts(void **state)
{
    (void)state;
    assert_int_equal(set("net.ipv4.tcp_rmem", "4096\t262144\t16777216\n"), 0);
    assert_int_equal(config.tcp.receive_buffer_initial, 262144);
    assert_int_equal(config.tcp.receive_buffer_max, 16777216);
    assert_int_equal(set("net.ipv4.ip_local_port_range", "40000 40010"), 0);
    assert_int_equal(config.local_port_first, 40000);
    assert_int_equal(config.local_port_last, 40010);
    assert_int_equal(
        set("net.ipv4.tcp_fastopen_key", "00000001-00000002-00000003-00000004,05000000-0-0-0"), 0);
    assert_int_equal(config.tcp.fast_open_key_count, 2);
    assert_int_equal(config.tcp.fast_open_keys[0][4], 2);
    assert_int_equal(config.tcp.fast_open_keys[1][3], 5);
    assert_int_equal(set("net.ipv4.tcp_congestion_control", "bbr"), 0);
    assert_int_equal(config.tcp.congestion, TCP_CONGESTION_BBR);
}

/** tcp_orphan_retries(): 0 stands for 8. */
static void no_orphan_retries_are_eight(void **state)
{
    (void)state;
    assert_int_equal(set("net.ipv4.tcp_orphan_retries", "3"), 0);
    assert_int_equal(config.tcp.orphan_retries, 3);
    assert_int_equal(set("net.ipv4.tcp_orphan_retries", "0"), 0);
    assert_int_equal(config.tcp.orphan_retries, 8);
}

static void what_is_refused_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        int result;
    } wrong[] = {
        {"net.ipv4.tcp_nonsense", "1", -ENOENT},
        {"net.core.somaxconn", "1", -ENOENT},
        {"tcp_sack", "0", -ENOENT},
        {"", "", -ENOENT},
        {"net.ipv4.tcp_keepalive_time", "", -EINVAL},
        {"net.ipv4.tcp_keepalive_time", "-1", -EINVAL},
        {"net.ipv4.tcp_keepalive_time", "0", -EINVAL},
        {"net.ipv4.tcp_keepalive_time", "10 20", -EINVAL},
        {"net.ipv4.tcp_keepalive_time", "10s", -EINVAL},
        {"net.ipv4.tcp_keepalive_time", "99999999999999999999", -EINVAL},
        {"net.ipv4.tcp_retries2", "256", -EINVAL},
        {"net.ipv4.tcp_ecn", "3", -EINVAL},
        {"net.ipv4.tcp_rmem", "4096 131072", -EINVAL},
        {"net.ipv4.tcp_rmem", "4096 131072 0", -EINVAL},
        {"net.ipv4.tcp_wmem", "4096 16384 4194304 1", -EINVAL},
        {"net.ipv4.ip_local_port_range", "0 10", -EINVAL},
        {"net.ipv4.ip_local_port_range", "20 10", -EINVAL},
        {"net.ipv4.ip_local_port_range", "20 70000", -EINVAL},
        {"net.ipv4.tcp_fastopen_key", "1-2-3", -EINVAL},
        {"net.ipv4.tcp_fastopen_key", "1-2-3-100000000", -EINVAL},
        {"net.ipv4.tcp_fastopen_key", "1-2-3-4,", -EINVAL},
        {"net.ipv4.tcp_fastopen_key", "1-2-3-4,1-2-3-4,1-2-3-4", -EINVAL},
        {"net.ipv4.tcp_fastopen", "0x", -EINVAL},
        {"net.ipv4.tcp_congestion_control", "vegas", -EINVAL},
        {"net.ipv4.tcp_early_retrans", "5", -EINVAL},
        {"net.ipv4.tcp_dsack", "0", -EINVAL},
    };
    struct stack_config before = config;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (set(wrong[i].name, wrong[i].value) != wrong[i].result)
            fail_msg("%s=%s", wrong[i].name, wrong[i].value);
    }
    assert_memory_equal(&before, &config, sizeof(config));
}

static void each_name_is_known_once(void **state)
{
    (void)state;
    const char *name;
    unsigned count = 0;
    for (; (name = stack_sysctl_name(count)) != NULL; count++) {
        assert_int_equal(set(name, "no value"), -EINVAL);
        for (unsigned i = 0; i < count; i++)
            assert_string_not_equal(name, stack_sysctl_name(i));
    }
    assert_true(count > 40);
}

/* ---- Where they come from ------------------------------------------------------------------- */

static void write_sysctl(const char *path, const char *value)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(value, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_namespaces_are_followed(void **state)
{
    (void)state;
    if (unshare(CLONE_NEWNET) != 0)
        skip();
    write_sysctl("/proc/sys/net/ipv4/tcp_keepalive_time", "123");
    write_sysctl("/proc/sys/net/ipv4/tcp_sack", "0");
    write_sysctl("/proc/sys/net/ipv4/tcp_rmem", "4096 100000 5000000");
    write_sysctl("/proc/sys/net/ipv4/ip_local_port_range", "20000 20100");
    write_sysctl("/proc/sys/net/ipv4/tcp_dsack", "0");
    write_sysctl("/proc/sys/net/ipv4/tcp_mtu_probing", "2");
    log_set("test", LOG_LEVEL_ERROR);
    namespace_sysctls_follow(&config);
    assert_int_equal(config.tcp.keepalive_idle_ns, 123 * NS_PER_S);
    assert_false(config.tcp.sack);
    assert_int_equal(config.tcp.receive_buffer_initial, 100000);
    assert_int_equal(config.tcp.receive_buffer_max, 5000000);
    assert_int_equal(config.local_port_first, 20000);
    assert_int_equal(config.tcp.mtu_probing, TCP_MTU_PROBING_OFF);
    assert_int_equal(config.tcp.fast_open_key_count, 0);
}

static void an_option_sets_one(void **state)
{
    (void)state;
    static struct engine_options options;
    char problem[512];
    engine_options_init(&options);
    assert_int_equal(engine_options_set(&options, "sysctl", "net.ipv4.tcp_fin_timeout=15", problem,
                                        sizeof(problem)),
                     0);
    assert_int_equal(options.stack.tcp.fin_wait2_timeout_ns, 15 * NS_PER_S);
    static const char *const wrong[] = {"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_fin_timeout=x",
                                        "net.ipv4.tcp_nonsense=1", "=", ""};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        problem[0] = '\0';
        assert_int_equal(engine_options_set(&options, "sysctl", wrong[i], problem, sizeof(problem)),
                         -EINVAL);
        assert_true(strlen(problem) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(numbers_come_in_linuxs_units, set_up),
        cmocka_unit_test_setup(switches_are_switched, set_up),
        cmocka_unit_test_setup(lists_have_their_parts, set_up),
        cmocka_unit_test_setup(no_orphan_retries_are_eight, set_up),
        cmocka_unit_test_setup(what_is_refused_changes_nothing, set_up),
        cmocka_unit_test_setup(each_name_is_known_once, set_up),
        cmocka_unit_test_setup(a_namespaces_are_followed, set_up),
        cmocka_unit_test_setup(an_option_sets_one, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
