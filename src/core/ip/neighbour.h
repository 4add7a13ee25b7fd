/**
 * @file neighbour.h
 * The neighbour cache of both families, with the states of RFC 4861 §7.3 (which Linux uses for ARP
 * too). The messages themselves are made and understood in arp.c and neighbour_discovery.c.
 *
 * Nobody's frames are queued for an unresolved neighbour: connections wait in its list with what
 * they have to say unsaid, and packets of the stack's own wait in bounded number.
 */
#ifndef PNO_CORE_IP_NEIGHBOUR_H
#define PNO_CORE_IP_NEIGHBOUR_H

#include "core/stack_state.h"

enum neighbour_state {
    NEIGHBOUR_INCOMPLETE, /**< asked by broadcast or multicast, no answer yet */
    NEIGHBOUR_REACHABLE,
    NEIGHBOUR_STALE,
    NEIGHBOUR_DELAY, /**< used while stale: soon asked, unless TCP makes progress */
    NEIGHBOUR_PROBE, /**< asked by unicast */
    NEIGHBOUR_FAILED /**< does not answer; asked again after a while, when wanted */
};

/** How long a proof of reachability holds (RFC 4861 §10). */
#define NEIGHBOUR_REACHABLE_NS (30 * NS_PER_S)

struct neighbour {
    struct neighbour *hash_next;
    struct list_node waiting;    /**< connections, by struct tcp_links.output */
    struct packet_queue packets; /**< that wait */
    struct ip_address address;
    uint64_t deadline_ns;  /**< of INCOMPLETE, DELAY, PROBE, FAILED */
    uint64_t confirmed_ns; /**< last proof of reachability */
    uint64_t used_ns;
    uint64_t updated_ns; /**< when the MAC address was last set */
    uint32_t packet_count;
    uint8_t mac[6];
    uint8_t state; /**< enum neighbour_state */
    uint8_t probes;
    bool in_use;
};

enum neighbour_verdict {
    NEIGHBOUR_READY, /**< send; *neighbour NULL: it turns round inside */
    NEIGHBOUR_WAIT,  /**< being resolved: wait in *neighbour */
    NEIGHBOUR_DEAD,  /**< no route, or no answer lately: drop */
};

void neighbours_init(struct stack *stack);
size_t neighbour_bytes(void);
void neighbours_advance(struct stack *stack, uint64_t now_ns);
void neighbours_check(struct stack *stack);

/** Route to a destination and resolve the next hop, asking for it when need be. */
enum neighbour_verdict neighbour_for(struct stack *stack, const struct ip_address *destination,
                                     uint64_t now_ns, struct neighbour **neighbour);

/** neighbour_use() of one that is not known to be just there. */
enum neighbour_verdict neighbour_use_unsure(struct stack *stack, struct neighbour *neighbour,
                                            uint64_t now_ns);

/** Is this one (NULL: inside) fit to be sent to now? Notes the use. */
static inline enum neighbour_verdict neighbour_use(struct stack *stack, struct neighbour *neighbour,
                                                   uint64_t now_ns)
{
    if (neighbour == NULL)
        return NEIGHBOUR_READY;
    neighbour->used_ns = now_ns;
    if (neighbour->state == NEIGHBOUR_REACHABLE &&
        now_ns - neighbour->confirmed_ns <= NEIGHBOUR_REACHABLE_NS)
        return NEIGHBOUR_READY;
    return neighbour_use_unsure(stack, neighbour, now_ns);
}

/** Half a pointer's size: bytes from the table's beginning, counted from 1; 0: NULL. */
static inline uint32_t neighbour_reference(const struct stack *stack,
                                           const struct neighbour *neighbour)
{
    if (neighbour == NULL)
        return 0;
    return (uint32_t)((const uint8_t *)neighbour - (const uint8_t *)stack->neighbours.entries) + 1;
}

static inline struct neighbour *neighbour_referred(const struct stack *stack, uint32_t reference)
{
    if (reference == 0)
        return NULL;
    return (struct neighbour *)(void *)((uint8_t *)stack->neighbours.entries + (reference - 1));
}

struct neighbour *neighbour_find(struct stack *stack, const struct ip_address *address);

/** Hold the packet until the neighbour is resolved; drops it when too many wait. */
void neighbour_park_packet(struct stack *stack, struct neighbour *neighbour, struct packet *packet);

/**
 * The neighbour said where it is, without having been asked: STALE unless known to be just there.
 * @param create  make an entry when there is none (someone who wants to talk to us).
 */
void neighbour_heard(struct stack *stack, const struct ip_address *address, const uint8_t mac[6],
                     bool create, uint64_t now_ns);

/** It answered our question: REACHABLE. Unknown ones are ignored. */
void neighbour_answered(struct stack *stack, struct neighbour *neighbour, const uint8_t mac[6],
                        uint64_t now_ns);

/** Proof of reachability without an address (NA without option, TCP progress). */
void neighbour_confirm(struct neighbour *neighbour, uint64_t now_ns);

#endif
