/**
 * @file port_internal.h
 * What all kinds of port have in common, for the files that make them: port_ethdev.c and
 * port_packet.c. Their own structures begin with a struct port.
 */
#ifndef PNO_ENGINE_PORT_INTERNAL_H
#define PNO_ENGINE_PORT_INTERNAL_H

#include "engine/ports/port.h"

/** How a kind of port does what port.h promises. */
struct port_operations {
    uint16_t (*receive)(struct port *port, unsigned queue, struct rte_mbuf **frames,
                        uint16_t count);
    uint16_t (*send)(struct port *port, unsigned queue, struct rte_mbuf **frames, uint16_t count);
    unsigned (*wait_descriptors)(struct port *port, unsigned queue, int *descriptors, unsigned max);
    void (*arm)(struct port *port, unsigned queue); /**< only called if it interrupts */
    void (*disarm)(struct port *port, unsigned queue);
    void (*read_statistics)(const struct port *port, struct port_statistics *statistics);
    void (*close)(struct port *port); /**< all but its mempools and the structure itself */
};

struct port {
    const struct port_operations *operations;
    char name[64];
    uint8_t mac[6];
    unsigned queue_count;
    bool offloads_tcp_checksum;
    bool interrupts; /**< it has receive interrupts, switched on around sleeping */
    uint32_t gso_bytes_max;
    struct rte_mempool *mempool;
    struct rte_mempool *large_mempool;
};

/** Room in a large mbuf; an mbuf's length has 16 bits. */
#define PORT_LARGE_ROOM 65528

/** Fill in `problem`. @return error, a negative errno. */
int port_fail(char *problem, size_t problem_bytes, const char *name, const char *what, int error);

/**
 * Make the mempools that are missing and wanted: frames of the MTU, and large ones if
 * gso_bytes_max, which it sets to what fits.
 * @param without_gaps  see port.c.
 */
int port_make_mempools(struct port *port, unsigned queues, uint16_t mtu, bool without_gaps);

/** Free what port_make_mempools() made. */
void port_free_mempools(struct port *port);

/* The kinds. Both return 0 or a negative errno, with `problem` filled in. */

int port_ethdev_open(struct port **port, const char *name, unsigned queues_wanted, uint16_t mtu,
                     char *problem, size_t problem_bytes);
int port_packet_open(struct port **port, const char *name, unsigned queues_wanted, uint16_t mtu,
                     char *problem, size_t problem_bytes);

#endif
