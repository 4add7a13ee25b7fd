#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hostlink/policy_rule.h"

static char problem[200];

static struct link_policy_rule parse(const char *text)
{
    struct link_policy_rule rule;
    assert_int_equal(link_policy_parse(text, &rule, problem, sizeof(problem)), 0);
    return rule;
}

static struct link_policy_subject subject(enum link_policy_call call, const char *address,
                                          uint16_t port)
{
    uint8_t bytes[16];
    struct link_policy_subject made = {.call = call,
                                       .endpoint.port = port,
                                       .uid = 1000,
                                       .program_name = "redis-server",
                                       .program_path = "/usr/bin/redis-check-rdb"};
    if (inet_pton(AF_INET, address, bytes) == 1)
        made.endpoint.address = ip_address_from_v4(bytes);
    else if (inet_pton(AF_INET6, address, bytes) == 1)
        made.endpoint.address = ip_address_from_v6(bytes);
    return made;
}

static bool fits(const char *text, enum link_policy_call call, const char *address, uint16_t port)
{
    struct link_policy_rule rule = parse(text);
    struct link_policy_subject held = subject(call, address, port);
    return link_policy_matches(&rule, &held);
}

static void a_bare_action_fits_everything(void **state)
{
    (void)state;
    assert_true(fits("kernel", LINK_POLICY_BIND, "0.0.0.0", 0));
    assert_true(fits("offload", LINK_POLICY_LISTEN, "::", 65535));
    assert_true(fits(" kernel\t", LINK_POLICY_CONNECT, "fd77::2", 80));
    assert_int_equal(parse("kernel").action, LINK_POLICY_KERNEL);
    assert_int_equal(parse("offload").action, LINK_POLICY_OFFLOAD);
}

static void calls_addresses_and_ports_must_all_fit(void **state)
{
    (void)state;
    static const char rule[] = "kernel connect listen address=10.0.0.0/8 port=80-90";
    assert_true(fits(rule, LINK_POLICY_CONNECT, "10.255.0.1", 80));
    assert_true(fits(rule, LINK_POLICY_LISTEN, "10.0.0.0", 90));
    assert_false(fits(rule, LINK_POLICY_BIND, "10.0.0.1", 80));
    assert_false(fits(rule, LINK_POLICY_CONNECT, "11.0.0.1", 80));
    assert_false(fits(rule, LINK_POLICY_CONNECT, "10.0.0.1", 91));
    assert_true(fits("kernel address=10.0.0.1", LINK_POLICY_BIND, "10.0.0.1", 1));
    assert_false(fits("kernel address=10.0.0.1", LINK_POLICY_BIND, "10.0.0.2", 1));
    assert_true(fits("kernel address=fd77::/64", LINK_POLICY_BIND, "fd77::9", 1));
}

static void families_are_told_apart(void **state)
{
    (void)state;
    assert_true(fits("kernel address=0.0.0.0/0", LINK_POLICY_BIND, "0.0.0.0", 1));
    assert_false(fits("kernel address=0.0.0.0/0", LINK_POLICY_BIND, "::", 1));
    assert_true(fits("kernel address=::/0", LINK_POLICY_BIND, "fd77::1", 1));
    assert_false(fits("kernel address=::/0", LINK_POLICY_BIND, "10.77.0.1", 1));
    /* A wildcard is no address of a smaller prefix. */
    assert_false(fits("kernel address=10.0.0.0/8", LINK_POLICY_BIND, "0.0.0.0", 1));
}

static void programs_are_known_by_name_and_path(void **state)
{
    (void)state;
    assert_true(fits("kernel program=redis-server", LINK_POLICY_BIND, "::", 1));
    assert_true(fits("kernel program=redis-check-rdb", LINK_POLICY_BIND, "::", 1));
    assert_true(fits("kernel program=/usr/bin/redis-*", LINK_POLICY_BIND, "::", 1));
    assert_true(fits("kernel program=red*", LINK_POLICY_BIND, "::", 1));
    assert_false(fits("kernel program=redis", LINK_POLICY_BIND, "::", 1));
    assert_false(fits("kernel program=/bin/redis-server", LINK_POLICY_BIND, "::", 1));
}

static void users_are_ranges(void **state)
{
    (void)state;
    assert_true(fits("kernel uid=1000", LINK_POLICY_BIND, "::", 1));
    assert_true(fits("kernel uid=1-4294967295", LINK_POLICY_BIND, "::", 1));
    assert_false(fits("kernel uid=0", LINK_POLICY_BIND, "::", 1));
}

static void malformed_rules_are_refused_in_one_line(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "   ",
        "Kernel",
        "deny",
        "kernel accept",
        "kernel port",
        "kernel port=",
        "kernel port=65536",
        "kernel port=9-8",
        "kernel port=-1",
        "kernel port=1-",
        "kernel port=1x",
        "kernel port=1 -2",
        "kernel address=10.0.0.0/33",
        "kernel address=10.0.0/8",
        "kernel address=fd77::/129",
        "kernel address=10.0.0.0/",
        "kernel uid=root",
        "kernel uid=4294967296",
        "kernel program=",
        "kernel addresses=10.0.0.1",
        "kernel averyveryverylongkeythatdoesnotexist=1",
        "offload kernel",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct link_policy_rule rule;
        problem[0] = '\0';
        assert_int_equal(link_policy_parse(wrong[i], &rule, problem, sizeof(problem)), -EINVAL);
        assert_true(problem[0] != '\0' && strchr(problem, '\n') == NULL);
    }
}

static void texts_and_programs_have_limits(void **state)
{
    (void)state;
    char text[700] = "kernel program=";
    struct link_policy_rule rule;
    memset(text + strlen(text), 'p', LINK_POLICY_PROGRAM_MAX - 1);
    assert_int_equal(link_policy_parse(text, &rule, problem, sizeof(problem)), 0);
    text[strlen(text)] = 'p';
    assert_int_equal(link_policy_parse(text, &rule, problem, sizeof(problem)), -EINVAL);
    memset(text + 15, 'p', sizeof(text) - 16);
    assert_int_equal(link_policy_parse(text, &rule, problem, sizeof(problem)), -EINVAL);
}

static void a_list_is_separated_by_semicolons(void **state)
{
    (void)state;
    struct link_policy_rule rules[LINK_POLICY_RULES_MAX];
    uint32_t count;
    assert_int_equal(link_policy_parse_list(";kernel port=1; ;offload port=2 ;", rules, &count,
                                            problem, sizeof(problem)),
                     0);
    assert_int_equal(count, 2);
    struct link_policy_subject held = subject(LINK_POLICY_BIND, "::", 2);
    assert_int_equal(link_policy_find(rules, count, &held), 1);
    held.endpoint.port = 3;
    assert_int_equal(link_policy_find(rules, count, &held), -1);
    assert_int_equal(link_policy_parse_list("kernel;oops", rules, &count, problem, sizeof(problem)),
                     -EINVAL);
    assert_non_null(strstr(problem, "rule 2"));
    assert_int_equal(count, 0);

    char many[LINK_POLICY_RULES_MAX * 7 + 8] = "";
    for (size_t i = 0; i < LINK_POLICY_RULES_MAX; i++)
        (void)snprintf(many + i * 7, sizeof(many) - i * 7, "kernel;");
    assert_int_equal(link_policy_parse_list(many, rules, &count, problem, sizeof(problem)), 0);
    assert_int_equal(count, LINK_POLICY_RULES_MAX);
    (void)snprintf(many + strlen(many), sizeof(many) - strlen(many), "kernel");
    assert_int_equal(link_policy_parse_list(many, rules, &count, problem, sizeof(problem)),
                     -EINVAL);
}

static void rules_of_rubbish_harm_nobody(void **state)
{
    (void)state;
    struct link_policy_rule rubbish;
    struct link_policy_subject held = subject(LINK_POLICY_BIND, "10.0.0.1", 2);
    memset(&rubbish, 0xff, sizeof(rubbish));
    assert_false(link_policy_matches(&rubbish, &held));
    memset(&rubbish, '[', sizeof(rubbish));
    (void)link_policy_matches(&rubbish, &held);
    assert_int_equal(link_policy_find(&rubbish, 0, &held), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bare_action_fits_everything),
        cmocka_unit_test(calls_addresses_and_ports_must_all_fit),
        cmocka_unit_test(families_are_told_apart),
        cmocka_unit_test(programs_are_known_by_name_and_path),
        cmocka_unit_test(users_are_ranges),
        cmocka_unit_test(malformed_rules_are_refused_in_one_line),
        cmocka_unit_test(texts_and_programs_have_limits),
        cmocka_unit_test(a_list_is_separated_by_semicolons),
        cmocka_unit_test(rules_of_rubbish_harm_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
