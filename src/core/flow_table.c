/*
 * Connections by 4-tuple: chained buckets, at least as many as connections, hashed with a secret
 * key so that peers cannot choose to collide.
 */
#include <errno.h>

#include "base/assert.h"
#include "core/stack_state.h"

/** Two addresses, and ports with a purpose. */
#define FLOW_WORDS_V6 5

static uint64_t load64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint32_t load32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

/** The last word of a flow, with what the hash is for. */
static inline uint64_t ports_word(const struct tcp_flow *flow, uint32_t purpose)
{
    return (uint64_t)purpose << 32 | (uint64_t)flow->local_port << 16 | flow->remote_port;
}

/** The first word of an IPv4 flow, of two. */
static inline uint64_t addresses_word_v4(const struct tcp_flow *flow)
{
    return (uint64_t)load32(&flow->local.bytes[12]) << 32 | load32(&flow->remote.bytes[12]);
}

/** An IPv6 flow as words to hash, with what the hash is for. */
static void flow_words_v6(const struct tcp_flow *flow, uint32_t purpose,
                          uint64_t words[FLOW_WORDS_V6])
{
    words[0] = load64(&flow->local.bytes[0]);
    words[1] = load64(&flow->local.bytes[8]);
    words[2] = load64(&flow->remote.bytes[0]);
    words[3] = load64(&flow->remote.bytes[8]);
    words[4] = ports_word(flow, purpose);
}

/** Both halves of a product, one over the other. */
static inline uint64_t fold_multiply(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

void flow_table_init(struct stack *stack)
{
    static const uint8_t purpose[] = "flow table";
    for (unsigned i = 0; i < FLOW_KEY_WORDS; i++) /* of as many different beginnings of it */
        stack->flow_key[i] = siphash_2_4(&stack->table_key, purpose, sizeof(purpose) - i);
    stack->flow_key[FLOW_KEY_WORDS - 1] |= 1;
}

/** Apart, as the other, so that IPv4 does not pay for their registers. */
static __attribute__((noinline)) uint32_t table_hash_v6(const struct stack *stack,
                                                        const struct tcp_flow *flow)
{
    uint64_t words[FLOW_WORDS_V6];
    flow_words_v6(flow, 0, words);
    return (uint32_t)siphash_1_3_words(&stack->table_key, words, FLOW_WORDS_V6);
}

static __attribute__((noinline)) uint64_t
flow_hash_v6(struct stack *stack, const struct tcp_flow *flow, enum flow_hash_purpose purpose)
{
    uint64_t words[FLOW_WORDS_V6];
    flow_words_v6(flow, purpose, words);
    return siphash_2_4_words(&stack->secret_key, words, FLOW_WORDS_V6);
}

/** IPv4: multiplied by secret numbers, which nobody can work out, since all that shows outside of a
    hash is which listener of a group it chose (and Linux's is weaker: jhash, under a secret). IPv6
    tells the peer much of it, as flow label: SipHash. */
uint32_t flow_table_hash(const struct stack *stack, const struct tcp_flow *flow)
{
    const uint64_t *key = stack->flow_key;
    if (!ip_address_is_v4(&flow->remote))
        return table_hash_v6(stack, flow);
    uint64_t hash = fold_multiply(addresses_word_v4(flow) ^ key[0], ports_word(flow, 0) ^ key[1]);
    return (uint32_t)fold_multiply(hash ^ key[2], key[3]);
}

uint64_t stack_flow_hash(struct stack *stack, const struct tcp_flow *flow,
                         enum flow_hash_purpose purpose)
{
    if (!ip_address_is_v4(&flow->remote))
        return flow_hash_v6(stack, flow, purpose);
    const uint64_t words[] = {addresses_word_v4(flow), ports_word(flow, purpose)};
    return siphash_2_4_words(&stack->secret_key, words, 2);
}

/** memcmp() of the same, which compilers do not inline at this size. */
static bool flow_equal(const struct tcp_flow *a, const struct tcp_flow *b)
{
    uint64_t difference = load64(&a->remote.bytes[8]) ^ load64(&b->remote.bytes[8]);
    difference |= load64(&a->remote.bytes[0]) ^ load64(&b->remote.bytes[0]);
    difference |= load64(&a->local.bytes[8]) ^ load64(&b->local.bytes[8]);
    difference |= load64(&a->local.bytes[0]) ^ load64(&b->local.bytes[0]);
    difference |= (uint64_t)(a->local_port ^ b->local_port);
    difference |= (uint64_t)(a->remote_port ^ b->remote_port);
    return difference == 0;
}

static struct tcp_connection *find(const struct stack *stack, const struct tcp_flow *flow,
                                   uint32_t hash)
{
    uint32_t reference = stack->flow_buckets[hash & stack->flow_mask];
    while (reference != 0) {
        struct tcp_connection *connection = connection_referred(stack, reference);
        const struct tcp_links *links = connection_links(stack, connection);
        if (links->hash == hash && flow_equal(connection_flow(stack, connection), flow))
            return connection;
        reference = links->hash_next;
    }
    return NULL;
}

struct tcp_connection *flow_table_find(struct stack *stack, const struct tcp_flow *flow,
                                       uint32_t *hash)
{
    uint32_t flow_hash = flow_table_hash(stack, flow);
    struct tcp_connection *connection = find(stack, flow, flow_hash);
    if (connection == NULL)
        stack->missed_flow = (struct missed_flow){*flow, flow_hash};
    if (hash != NULL)
        *hash = flow_hash;
    return connection;
}

bool flow_is_found(const struct stack *stack, const struct tcp_flow *flow)
{
    struct tcp_connection *connection = stack->flow_found;
    return connection != NULL && flow_equal(connection_flow(stack, connection), flow);
}

struct tcp_connection *stack_flow_find(struct stack *stack, const struct tcp_flow *flow)
{
    return flow_table_find(stack, flow, NULL);
}

int stack_flow_insert(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_links *links = connection_links(stack, connection);
    const struct tcp_flow *flow = connection_flow(stack, connection);
    bool was_missed = flow_equal(&stack->missed_flow.flow, flow);
    uint32_t hash = was_missed ? stack->missed_flow.hash : flow_table_hash(stack, flow);

    PNO_ASSERT(links->in_use && !links->in_flow_table);
    if (find(stack, flow, hash) != NULL)
        return -EADDRINUSE;

    uint32_t *bucket = &stack->flow_buckets[hash & stack->flow_mask];
    links->hash = hash;
    links->hash_next = *bucket;
    links->in_flow_table = true;
    links->is_ipv6 = !ip_address_is_v4(&flow->remote);
    *bucket = connection_reference(stack, connection);
    stack->flow_found = connection; /* the next segment is likely to be its */
    ports_connection_enter(stack, connection);
    return 0;
}

void stack_flow_remove(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_links *links = connection_links(stack, connection);
    if (!links->in_flow_table)
        return;

    uint32_t reference = connection_reference(stack, connection);
    uint32_t *link = &stack->flow_buckets[links->hash & stack->flow_mask];
    while (*link != reference) {
        PNO_ASSERT(*link != 0);
        link = &connection_links(stack, connection_referred(stack, *link))->hash_next;
    }
    *link = links->hash_next;
    links->hash_next = 0;
    links->in_flow_table = false;
    if (stack->flow_found == connection)
        stack->flow_found = NULL;
    if (stack->usual_flow.connection == connection)
        usual_flow_forget(&stack->usual_flow);
    if (stack->usual_header.connection == connection) {
        stack->usual_header.connection = NULL;
        stack->usual_header.options = NULL;
    }
    ports_connection_leave(stack, connection);
}

void flow_table_check(struct stack *stack)
{
    uint32_t inserted = 0;
    uint32_t found = 0;
    for (uint32_t i = 0; i < stack->connections_fresh; i++)
        inserted += connection_links(stack, connection_at(stack, i))->in_flow_table;
    for (uint32_t bucket = 0; bucket <= stack->flow_mask; bucket++) {
        uint32_t reference = stack->flow_buckets[bucket];
        while (reference != 0) {
            struct tcp_connection *connection = connection_referred(stack, reference);
            struct tcp_links *links = connection_links(stack, connection);
            PNO_ASSERT(links->in_use && links->in_flow_table);
            PNO_ASSERT((links->hash & stack->flow_mask) == bucket);
            PNO_ASSERT(links->hash == flow_table_hash(stack, connection_flow(stack, connection)));
            found++;
            reference = links->hash_next;
        }
    }
    PNO_ASSERT(found == inserted);
    PNO_ASSERT(stack->flow_found == NULL ||
               connection_links(stack, stack->flow_found)->in_flow_table);
    struct tcp_connection *usual = stack->usual_flow.connection;
    PNO_ASSERT(usual == NULL ? !stack->usual_flow.is_known
                             : connection_links(stack, usual)->in_flow_table);
    PNO_ASSERT(stack->usual_header.options == NULL || stack->usual_header.connection != NULL);
}
