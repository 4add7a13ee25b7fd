#include "core/ip/path_mtu.h"

#include "core/ip/routes.h"
#include "core/ip/wire.h"

struct path_mtu_entry {
    struct ip_address remote;
    uint64_t expires_ns; /**< 0: unused */
    uint16_t mtu;
};

_Static_assert((PATH_MTU_ENTRIES & (PATH_MTU_ENTRIES - 1)) == 0, "entries are masked");

size_t path_mtu_entry_bytes(void)
{
    return sizeof(struct path_mtu_entry);
}

static struct path_mtu_entry *entry_of(struct stack *stack, const struct ip_address *remote)
{
    uint64_t words[3] = {0}; /* the last one's upper byte does not count */
    memcpy(words, remote->bytes, 16);
    return &stack
                ->path_mtu[siphash_1_3_words(&stack->table_key, words, 3) & (PATH_MTU_ENTRIES - 1)];
}

uint16_t stack_path_mtu(struct stack *stack, const struct ip_address *remote, uint64_t now_ns)
{
    if (route_is_inside(stack, remote))
        return IP_PACKET_BYTES_MAX;
    if (!stack->path_mtu_learnt)
        return stack->config.mtu;
    const struct path_mtu_entry *entry = entry_of(stack, remote);
    if (entry->expires_ns <= now_ns || !ip_address_equal(&entry->remote, remote))
        return stack->config.mtu;
    return entry->mtu;
}

/** The next lower plateau of RFC 1191 §7.1, for routers that do not say. */
static uint32_t plateau_below(uint32_t bytes)
{
    static const uint16_t plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 576};
    for (unsigned i = 0; i < sizeof(plateaus) / sizeof(plateaus[0]); i++)
        if (plateaus[i] < bytes)
            return plateaus[i];
    return PATH_MTU_MIN_V4;
}

uint16_t path_mtu_learn(struct stack *stack, const struct ip_address *remote, uint32_t mtu,
                        uint32_t packet_bytes, uint64_t now_ns)
{
    bool is_v4 = ip_address_is_v4(remote);
    uint16_t present = stack_path_mtu(stack, remote, now_ns);

    if (mtu == 0 && is_v4)
        mtu = plateau_below(packet_bytes);
    if (mtu < PATH_MTU_MIN_V4 && is_v4)
        mtu = PATH_MTU_MIN_V4;
    if (mtu >= present || (mtu < PATH_MTU_MIN_V6 && !is_v4))
        return present;
    *entry_of(stack, remote) = (struct path_mtu_entry){
        .remote = *remote, .expires_ns = now_ns + PATH_MTU_LIFE_NS, .mtu = (uint16_t)mtu};
    stack->path_mtu_learnt = true;
    return (uint16_t)mtu;
}
