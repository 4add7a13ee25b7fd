/* Option values, each set of them kept once as far as the latest few tell: most connections have
   what their listener has. A set never changes; it goes with its last connection. */
#include "core/tcp/connection.h"
#include "core/tcp/options.h"

struct tcp_option_set {
    struct tcp_options_set values; /**< first: what connections point to */
    uint32_t references;
};

size_t tcp_option_set_bytes(void)
{
    return sizeof(struct tcp_option_set);
}

const struct tcp_options_set *tcp_options_share(struct stack *stack,
                                                const struct tcp_options_set *values)
{
    struct tcp_option_sets *sets = stack_option_sets(stack);
    for (unsigned i = 0; i < TCP_OPTION_SETS_RECENT; i++) {
        struct tcp_option_set *set = sets->recent[i];
        if (set != NULL && memcmp(&set->values, values, sizeof(*values)) == 0) {
            set->references++;
            return &set->values;
        }
    }
    struct tcp_option_set *set = part_take(&sets->pool);
    memcpy(&set->values, values, sizeof(*values));
    set->references = 1;
    sets->recent[sets->next] = set;
    sets->next = (sets->next + 1) % TCP_OPTION_SETS_RECENT;
    return &set->values;
}

void tcp_options_hold(const struct tcp_options_set *values)
{
    ((struct tcp_option_set *)(uintptr_t)values)->references++;
}

void tcp_options_release(struct stack *stack, const struct tcp_options_set *values)
{
    struct tcp_option_sets *sets = stack_option_sets(stack);
    struct tcp_option_set *set = (struct tcp_option_set *)(uintptr_t)values;
    PNO_ASSERT(set->references > 0);
    if (--set->references > 0)
        return;
    for (unsigned i = 0; i < TCP_OPTION_SETS_RECENT; i++)
        if (sets->recent[i] == set)
            sets->recent[i] = NULL;
    part_give_back(&sets->pool, set);
}
