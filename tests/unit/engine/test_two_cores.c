/* What only engines of several cores do: listeners are the first core's, and repeated on the rest.
 */
#include "hostlink/cmocka_all.h"

#include <sched.h>

#include "base/time_units.h"
#include "engine_host.h"

#define OTHER_CORE 1

static struct link_descriptor listen_again(void)
{
    struct link_descriptor listen = {.type = LINK_OP_LISTEN, .socket = host_name(0)};
    listen.option.value = 10;
    return listen;
}

/** Ask the other core more than it may answer, as nobody takes the answers. */
static void fill_with_questions(struct host *host)
{
    struct link_descriptor question = {.type = LINK_OP_GET_INFO, .socket = host_name(1)};
    uint64_t deadline_ns = engine_now_ns() + NS_PER_S;
    while (engine_now_ns() < deadline_ns)
        if (!host_try_push_to(host, OTHER_CORE, &question))
            (void)sched_yield();
}

static void a_listener_is_repeated_where_no_answer_fits(void **state)
{
    (void)state;
    struct host host;
    host_open(&host);
    (void)host_listen(&host, 0);
    fill_with_questions(&host);
    struct link_descriptor listen = listen_again();
    assert_int_equal(host_call(&host, &listen).error, 0);
    struct tenant *tenant = host.tenant;
    host_kill(&host); /* both cores answer to that */
    host_take_down(tenant);
}

static int start_engine(void **state)
{
    (void)state;
    (void)engine_host_start(2);
    return 0;
}

static int stop_engine(void **state)
{
    (void)state;
    engine_host_stop();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_is_repeated_where_no_answer_fits),
    };
    return cmocka_run_group_tests(tests, start_engine, stop_engine);
}
