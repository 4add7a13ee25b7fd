/* What `pno ss` prints for what pnod tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "cli/socket_view.h"

static json_t *parse(const char *text)
{
    json_t *socket = json_loads(text, 0, NULL);
    assert_non_null(socket);
    return socket;
}

static void states_have_the_names_of_ss(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"state\":\"ESTABLISHED\"}", "ESTAB"},     {"{\"state\":\"LISTEN\"}", "LISTEN"},
        {"{\"state\":\"SYN-RECEIVED\"}", "SYN-RECV"}, {"{\"state\":\"CLOSED\"}", "UNCONN"},
        {"{\"state\":\"FIN-WAIT-2\"}", "FIN-WAIT-2"}, {"{}", ""}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *socket = parse(cases[i][0]);
        assert_string_equal(socket_view_state(socket), cases[i][1]);
        json_decref(socket);
    }
}

static void endpoints_bracket_ipv6_and_star_port_zero(void **state)
{
    (void)state;
    json_t *socket = parse("{\"local\":{\"address\":\"fd77::1\",\"port\":6379},"
                           "\"remote\":{\"address\":\"0.0.0.0\",\"port\":0}}");
    char text[80];
    socket_view_endpoint(socket, "local", text, sizeof(text));
    assert_string_equal(text, "[fd77::1]:6379");
    socket_view_endpoint(socket, "remote", text, sizeof(text));
    assert_string_equal(text, "0.0.0.0:*");
    json_decref(socket);
}

static void every_holder_is_listed_and_an_orphan_has_none(void **state)
{
    (void)state;
    char text[128];
    json_t *shared = parse("{\"processes\":[{\"program\":\"nginx\",\"pid\":7},"
                           "{\"program\":\"nginx\",\"pid\":8}]}");
    socket_view_processes(shared, text, sizeof(text));
    assert_string_equal(text, "users:((\"nginx\",pid=7),(\"nginx\",pid=8))");
    json_decref(shared);
    json_t *orphan = parse("{\"processes\":[]}");
    socket_view_processes(orphan, text, sizeof(text));
    assert_string_equal(text, "");
    json_decref(orphan);
}

static void info_shows_what_is_known_in_units_of_ss(void **state)
{
    (void)state;
    char text[512];
    json_t *socket = parse(
        "{\"options\":[\"ts\",\"sack\"],\"congestion_control\":\"cubic\",\"snd_wscale\":7,"
        "\"rcv_wscale\":8,\"rto_us\":201000,\"rtt_us\":120,\"rttvar_us\":30,\"mss_bytes\":1448,"
        "\"cwnd\":10,\"bytes_acked\":5000000000,\"retrans\":1,\"retrans_total\":3,\"lost\":0}");
    socket_view_info(socket, text, sizeof(text));
    assert_string_equal(text, " ts sack cubic wscale:7,8 rto:201 rtt:0.12/0.03 mss:1448 cwnd:10"
                              " bytes_acked:5000000000 retrans:1/3");
    json_decref(socket);
    json_t *listener = parse("{\"state\":\"LISTEN\"}");
    socket_view_info(listener, text, sizeof(text));
    assert_string_equal(text, "");
    json_decref(listener);
}

static void text_that_does_not_fit_is_cut(void **state)
{
    (void)state;
    char text[12] = "";
    json_t *socket = parse("{\"processes\":[{\"program\":\"a-long-program-name\",\"pid\":7}]}");
    socket_view_processes(socket, text, sizeof(text));
    assert_string_equal(text, "users:((\"a-");
    json_decref(socket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_have_the_names_of_ss),
        cmocka_unit_test(endpoints_bracket_ipv6_and_star_port_zero),
        cmocka_unit_test(every_holder_is_listed_and_an_orphan_has_none),
        cmocka_unit_test(info_shows_what_is_known_in_units_of_ss),
        cmocka_unit_test(text_that_does_not_fit_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
