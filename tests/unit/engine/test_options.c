#include "hostlink/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/config.h"
#include "engine/options.h"

static struct engine_options options;
static char problem[512];

static int set_up(void **state)
{
    (void)state;
    engine_options_init(&options);
    problem[0] = '\0';
    return 0;
}

static int set(const char *name, const char *value)
{
    return engine_options_set(&options, name, value, problem, sizeof(problem));
}

static void addresses_of_both_families_are_understood(void **state)
{
    (void)state;
    assert_int_equal(set("addr", "10.77.0.1/24"), 0);
    assert_int_equal(set("addr", "fd77::1/64"), 0);
    assert_int_equal(options.address_count, 2);
    assert_int_equal(options.addresses[0].prefix_length, 120);
    assert_true(ip_address_is_v4(&options.addresses[0].address));
    assert_int_equal(options.addresses[1].prefix_length, 64);
}

static void wrong_addresses_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "10.77.0.1",  "10.77.0.1/33", "10.77.0.1/0", "10.77.0.1/x", "10.77.0/24",    "::/64",
        "0.0.0.0/24", "224.0.0.1/24", "127.0.0.1/8", "::1/128",     "fd77::1/129",   "",
        "fd77::1/-1", "/24",          "10.77.0.1/",  "ff02::1/64",  "10.77.0.1/24 ", "a/b/c",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        problem[0] = '\0';
        assert_int_equal(set("addr", wrong[i]), -EINVAL);
        assert_true(strlen(problem) > 0);
        assert_null(strchr(problem, '\n'));
    }
    assert_int_equal(options.address_count, 0);
}

static void one_gateway_per_family(void **state)
{
    (void)state;
    assert_int_equal(set("gateway", "10.77.0.2"), 0);
    assert_int_equal(set("gateway", "fd77::2"), 0);
    assert_int_equal(set("gateway", "10.77.0.3"), -EINVAL);
}

static void gateway_is_one_machine(void **state)
{
    (void)state;
    assert_int_equal(set("gateway", "0.0.0.0"), -EINVAL);
    assert_int_equal(set("gateway", "224.0.0.1"), -EINVAL);
    assert_int_equal(set("gateway", "::1"), -EINVAL);
    assert_false(options.has_gateway_v4 || options.has_gateway_v6);
}

static void core_lists_have_ranges_and_no_doubles(void **state)
{
    (void)state;
    assert_int_equal(set("cores", "1,3-5"), 0);
    assert_int_equal(options.core_count, 4);
    assert_int_equal(options.cpus[3], 5);
    assert_int_equal(set("cores", "4"), -EINVAL);
    assert_non_null(strstr(problem, "twice"));
    assert_int_equal(set("cores", "6,"), -EINVAL);
    assert_int_equal(set("cores", "5-3"), -EINVAL);
    assert_int_equal(set("cores", "x"), -EINVAL);
    assert_int_equal(set("cores", "0-100"), -EINVAL);
}

static void numbers_have_limits(void **state)
{
    (void)state;
    assert_int_equal(set("mtu", "9000"), 0);
    assert_int_equal(options.mtu, 9000);
    assert_int_equal(set("mtu", "1279"), -EINVAL);
    assert_int_equal(set("mtu", "1500x"), -EINVAL);
    assert_int_equal(set("mtu", "-1500"), -EINVAL);
    assert_int_equal(set("connections", "0"), -EINVAL);
    assert_int_equal(set("nonsense", "1"), -ENOENT);
}

static int load(const char *text)
{
    char path[] = "/tmp/pno-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    int result = config_load(&options, path, problem, sizeof(problem));
    (void)unlink(path);
    return result;
}

static void a_file_sets_what_the_command_line_does(void **state)
{
    (void)state;
    assert_int_equal(load("{\"port\": \"net_null0\", \"addr\": [\"10.0.0.1/8\", \"fd00::1/64\"],"
                          " \"cores\": [1, 2], \"poll\": true, \"mtu\": 1400}"),
                     0);
    assert_string_equal(options.port, "net_null0");
    assert_int_equal(options.address_count, 2);
    assert_int_equal(options.core_count, 2);
    assert_true(options.poll);
    assert_int_equal(options.mtu, 1400);
}

static void rules_keep_their_order(void **state)
{
    (void)state;
    assert_int_equal(load("{\"policy\": [\"kernel port=1\", \"offload uid=5\"]}"), 0);
    assert_int_equal(set("policy", "kernel"), 0);
    assert_int_equal(options.policy_count, 3);
    assert_int_equal(options.policy[0].port_last, 1);
    assert_int_equal(options.policy[1].uid_first, 5);
    while (options.policy_count < LINK_POLICY_RULES_MAX)
        assert_int_equal(set("policy", "kernel"), 0);
    assert_int_equal(set("policy", "kernel"), -EINVAL);
}

static void mistakes_in_a_file_are_named(void **state)
{
    (void)state;
    assert_int_equal(load("{\"prot\": \"net_null0\"}"), -EINVAL);
    assert_non_null(strstr(problem, "prot"));
    assert_int_equal(load("[]"), -EINVAL);
    assert_int_equal(load("{"), -EINVAL);
    assert_int_equal(load("{\"mtu\": {}}"), -EINVAL);
    assert_int_equal(load("{\"mtu\": 5}"), -EINVAL);
    assert_int_equal(load("{\"port\": \"kernel x\",\n\"policy\": [\"kernel\",\n\"kernel x\"]}"),
                     -EINVAL);
    assert_non_null(strstr(problem, ":3: "));
    assert_non_null(strstr(problem, "'x'"));
    assert_int_equal(config_load(&options, "/nonexistent", problem, sizeof(problem)), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(addresses_of_both_families_are_understood, set_up),
        cmocka_unit_test_setup(wrong_addresses_are_refused_with_a_reason, set_up),
        cmocka_unit_test_setup(one_gateway_per_family, set_up),
        cmocka_unit_test_setup(gateway_is_one_machine, set_up),
        cmocka_unit_test_setup(core_lists_have_ranges_and_no_doubles, set_up),
        cmocka_unit_test_setup(numbers_have_limits, set_up),
        cmocka_unit_test_setup(a_file_sets_what_the_command_line_does, set_up),
        cmocka_unit_test_setup(rules_keep_their_order, set_up),
        cmocka_unit_test_setup(mistakes_in_a_file_are_named, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
