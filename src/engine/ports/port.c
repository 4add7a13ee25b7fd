/* What all ports have in common: buffers, and the way to each kind's own. */
#include "engine/dpdk.h"

#include "engine/ports/port_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/stack.h"

#define MBUFS_BASE           16384
#define MBUFS_PER_QUEUE      4096
#define LARGE_MBUFS          512 /**< two transmit queues' worth, copies under way included */
#define FRAME_OVERHEAD_BYTES 64  /**< Ethernet, VLAN, alignment */
#define MBUF_CACHE           256
#define LARGE_MBUF_CACHE     32

static const char own_prefix[] = "packet";

bool port_is_own(const char *name)
{
    return strcspn(name, ",") == strlen(own_prefix) &&
           strncmp(name, own_prefix, strlen(own_prefix)) == 0;
}

int port_fail(char *problem, size_t problem_bytes, const char *name, const char *what, int error)
{
    (void)snprintf(problem, problem_bytes, "port %s: %s: %s (--log debug shows DPDK's messages)",
                   name, what, strerror(-error));
    return error < 0 ? error : -EIO;
}

/* ---- Buffers ------------------------------------------------------------------------------- */

/** A frame lies in one mbuf. */
static uint16_t mbuf_bytes(uint16_t mtu)
{
    unsigned frame = (unsigned)mtu + FRAME_OVERHEAD_BYTES;
    unsigned room = frame > RTE_MBUF_DEFAULT_DATAROOM ? frame : RTE_MBUF_DEFAULT_DATAROOM;
    return (uint16_t)(RTE_PKTMBUF_HEADROOM + room);
}

/**
 * Buffers for frames. A software port gets them without gaps: by default DPDK keeps objects from
 * crossing pages, while net_af_xdp registers with the kernel as much memory as they need without
 * gaps; the kernel silently ignores frames beyond it.
 */
static struct rte_mempool *make_mempool(const char *name, unsigned mbufs, unsigned cache,
                                        uint16_t bytes, bool without_gaps)
{
    if (!without_gaps)
        return rte_pktmbuf_pool_create(name, mbufs, cache, 0, bytes, SOCKET_ID_ANY);
    struct rte_pktmbuf_pool_private options = {.mbuf_data_room_size = bytes};
    struct rte_mempool *pool =
        rte_mempool_create_empty(name, mbufs, (unsigned)sizeof(struct rte_mbuf) + bytes, cache,
                                 sizeof(options), SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
    if (pool == NULL)
        return NULL;
    rte_pktmbuf_pool_init(pool, &options);
    if (rte_mempool_populate_default(pool) < 0) {
        rte_mempool_free(pool);
        return NULL;
    }
    (void)rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
    return pool;
}

int port_make_mempools(struct port *port, unsigned queues, uint16_t mtu, bool without_gaps)
{
    if (port->mempool == NULL)
        port->mempool = make_mempool("frames", MBUFS_BASE + MBUFS_PER_QUEUE * queues, MBUF_CACHE,
                                     mbuf_bytes(mtu), without_gaps);
    if (port->mempool == NULL)
        return -ENOMEM;
    if (port->gso_bytes_max == 0 || port->large_mempool != NULL)
        return 0;
    port->large_mempool =
        make_mempool("large", LARGE_MBUFS, LARGE_MBUF_CACHE, PORT_LARGE_ROOM, without_gaps);
    port->gso_bytes_max = PORT_LARGE_ROOM - RTE_PKTMBUF_HEADROOM - STACK_HEADER_MAX;
    return port->large_mempool != NULL ? 0 : -ENOMEM;
}

void port_free_mempools(struct port *port)
{
    rte_mempool_free(port->mempool);
    rte_mempool_free(port->large_mempool);
}

/* ---- Whatever the kind --------------------------------------------------------------------- */

int port_open(struct port **port, const char *name, unsigned queues_wanted, uint16_t mtu,
              char *problem, size_t problem_bytes)
{
    unsigned queues = queues_wanted < PORT_QUEUES_MAX ? queues_wanted : PORT_QUEUES_MAX;
    if (port_is_own(name))
        return port_packet_open(port, name, queues, mtu, problem, problem_bytes);
    return port_ethdev_open(port, name, queues, mtu, problem, problem_bytes);
}

void port_close(struct port *port)
{
    port->operations->close(port);
    port_free_mempools(port);
    free(port);
}

const char *port_name(const struct port *port)
{
    return port->name;
}

const uint8_t *port_mac(const struct port *port)
{
    return port->mac;
}

unsigned port_queue_count(const struct port *port)
{
    return port->queue_count;
}

struct rte_mempool *port_mempool(const struct port *port)
{
    return port->mempool;
}

bool port_offloads_tcp_checksum(const struct port *port)
{
    return port->offloads_tcp_checksum;
}

uint32_t port_gso_bytes_max(const struct port *port)
{
    return port->gso_bytes_max;
}

struct rte_mempool *port_large_mempool(const struct port *port)
{
    return port->large_mempool;
}

uint16_t port_receive(struct port *port, unsigned queue, struct rte_mbuf **frames, uint16_t count)
{
    return port->operations->receive(port, queue, frames, count);
}

uint16_t port_send(struct port *port, unsigned queue, struct rte_mbuf **frames, uint16_t count)
{
    return port->operations->send(port, queue, frames, count);
}

unsigned port_wait_descriptors(struct port *port, unsigned queue, int *descriptors, unsigned max)
{
    return max == 0 ? 0 : port->operations->wait_descriptors(port, queue, descriptors, max);
}

bool port_has_interrupts(const struct port *port)
{
    return port->interrupts;
}

void port_arm(struct port *port, unsigned queue)
{
    if (port->interrupts)
        port->operations->arm(port, queue);
}

void port_disarm(struct port *port, unsigned queue)
{
    if (port->interrupts)
        port->operations->disarm(port, queue);
}

void port_read_statistics(const struct port *port, struct port_statistics *statistics)
{
    *statistics = (struct port_statistics){0};
    port->operations->read_statistics(port, statistics);
}
