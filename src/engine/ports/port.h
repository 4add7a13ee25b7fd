/**
 * @file port.h
 * A wire: where frames come from and go to. Bursts of mbufs, one receive and one transmit queue
 * per user, and a way to sleep until frames come. Not a stack: nothing here looks into a frame.
 *
 * A port may cut what it sends into segments and complete their checksums, and join segments that
 * it receives; mbufs say so by DPDK's flags, whether the port is an ethdev (port_ethdev.c) or a
 * packet socket (port_packet.c).
 */
#ifndef PNO_ENGINE_PORT_H
#define PNO_ENGINE_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PORT_QUEUES_MAX 8

struct rte_mbuf;
struct rte_mempool;
struct port;

struct port_statistics {
    uint64_t packets_in, packets_out, bytes_in, bytes_out;
    uint64_t missed, errors_in, errors_out, no_buffer;
};

/**
 * Whether a port of these arguments is our own ("packet,iface=IF"), with no device for DPDK to
 * probe.
 */
bool port_is_own(const char *name);

/**
 * Configure and start the one device that DPDK probed, or our own.
 * @param name          the device arguments; the part before the first comma names the port.
 * @param queues_wanted  one per engine core; the port may have fewer.
 * @param problem       filled with one line on failure.
 */
int port_open(struct port **port, const char *name, unsigned queues_wanted, uint16_t mtu,
              char *problem, size_t problem_bytes);
void port_close(struct port *port);

const char *port_name(const struct port *port);
const uint8_t *port_mac(const struct port *port);

/** Queue pairs there are, 1..queues_wanted; queue i may be used by one thread at a time. */
unsigned port_queue_count(const struct port *port);

/** Frames to send come from here. Thread-safe. */
struct rte_mempool *port_mempool(const struct port *port);

/** The port completes TCP checksums itself (mbufs flagged RTE_MBUF_F_TX_TCP_CKSUM). */
bool port_offloads_tcp_checksum(const struct port *port);

/** TCP payload of a frame that the port cuts into segments itself (mbufs flagged
    RTE_MBUF_F_TX_TCP_SEG), at most; 0: it doesn't. */
uint32_t port_gso_bytes_max(const struct port *port);

/** Such frames come from here: one mbuf holds the largest. NULL unless port_gso_bytes_max(). */
struct rte_mempool *port_large_mempool(const struct port *port);

uint16_t port_receive(struct port *port, unsigned queue, struct rte_mbuf **frames, uint16_t count);

/** @return how many were taken; the rest stays the caller's. */
uint16_t port_send(struct port *port, unsigned queue, struct rte_mbuf **frames, uint16_t count);

/**
 * Descriptors to sleep on: readable while frames wait (level-triggered), or with interrupts
 * (port_has_interrupts()) an event per interrupt.
 * @return how many; 0: this port cannot wake anybody, sleep in short steps.
 */
unsigned port_wait_descriptors(struct port *port, unsigned queue, int *descriptors, unsigned max);

/** The port interrupts when told to: arm it, look for frames once more, sleep, disarm it. */
bool port_has_interrupts(const struct port *port);
void port_arm(struct port *port, unsigned queue);
void port_disarm(struct port *port, unsigned queue);

void port_read_statistics(const struct port *port, struct port_statistics *statistics);

#endif
