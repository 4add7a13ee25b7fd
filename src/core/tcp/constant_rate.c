/* A constant rate, whatever the path does: SO_MAX_PACING_RATE, or else the configuration's. */
#include "core/tcp/congestion.h"
#include "core/tcp/pacing.h"

static void constant_rate_init(struct stack *stack, struct tcp_connection *connection,
                               uint64_t now_ns)
{
    (void)now_ns;
    tcp_rate_based_set(connection, stack_get_config(stack)->tcp.constant_rate);
}

/** The rate as the option may have changed it; the window follows the round trip. */
static void constant_rate_control(struct tcp_connection *connection,
                                  const struct tcp_rate_sample *rs)
{
    (void)rs;
    tcp_rate_based_set(connection, connection->rare->pacing->rate);
}

static uint32_t constant_rate_ssthresh(struct tcp_connection *connection)
{
    return connection->congestion.ssthresh;
}

static void constant_rate_timeout(struct tcp_connection *connection)
{
    (void)connection;
}

const struct tcp_congestion_control tcp_congestion_constant_rate = {
    .name = "constant-rate",
    .init = constant_rate_init,
    .ssthresh = constant_rate_ssthresh,
    .control = constant_rate_control,
    .timeout = constant_rate_timeout,
    .sets_rate = true,
    .ignores_ecn = true,
};
