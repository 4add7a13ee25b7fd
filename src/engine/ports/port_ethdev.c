/* A port on any DPDK ethdev. */
#include "engine/dpdk.h"

#include "engine/ports/port.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUE_FRAMES         1024
#define MBUFS_BASE           16384
#define MBUFS_PER_QUEUE      4096
#define FRAME_OVERHEAD_BYTES 64 /**< Ethernet, VLAN, alignment */
#define MBUF_CACHE           256
#define WAIT_SOCKETS_MAX     PORT_QUEUES_MAX

struct port {
    char name[64];
    uint16_t id;
    uint8_t mac[6];
    unsigned queue_count;
    struct rte_mempool *mempool;
    bool offloads_tcp_checksum;
    bool interrupts; /**< the device has receive interrupts, switched on around sleeping */
    int wait_sockets[WAIT_SOCKETS_MAX]; /**< else: descriptors to poll, one per queue */
    unsigned wait_socket_count;
};

static int fail(char *problem, size_t problem_bytes, const char *name, const char *what, int error)
{
    (void)snprintf(problem, problem_bytes, "port %s: %s: %s (--log debug shows DPDK's messages)",
                   name, what, strerror(-error));
    return error < 0 ? error : -EIO;
}

static unsigned at_most(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static int set_up_queues(struct port *port, const struct rte_eth_dev_info *info)
{
    int socket = rte_eth_dev_socket_id(port->id);
    uint16_t receive_frames = QUEUE_FRAMES;
    uint16_t send_frames = QUEUE_FRAMES;
    int result = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &receive_frames, &send_frames);
    if (result != 0)
        return result;
    for (uint16_t queue = 0; queue < (uint16_t)port->queue_count; queue++) {
        struct rte_eth_rxconf rxconf = info->default_rxconf;
        struct rte_eth_txconf txconf = info->default_txconf;
        if (port->offloads_tcp_checksum)
            txconf.offloads |= RTE_ETH_TX_OFFLOAD_TCP_CKSUM & info->tx_queue_offload_capa;
        result = rte_eth_rx_queue_setup(port->id, queue, receive_frames, (unsigned)socket, &rxconf,
                                        port->mempool);
        if (result == 0)
            result =
                rte_eth_tx_queue_setup(port->id, queue, send_frames, (unsigned)socket, &txconf);
        if (result != 0)
            return result;
    }
    return 0;
}

static int configure(struct port *port, unsigned queues_wanted)
{
    struct rte_eth_dev_info info;
    int result = rte_eth_dev_info_get(port->id, &info);
    if (result != 0)
        return result;
    port->queue_count = at_most(queues_wanted, at_most(info.max_rx_queues, info.max_tx_queues));
    if (port->queue_count == 0)
        return -ENODEV;
    port->offloads_tcp_checksum = (info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0;
    struct rte_eth_conf conf = {
        .rxmode = {.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_CHECKSUM},
        .intr_conf = {.rxq = 1},
    };
    if (port->offloads_tcp_checksum)
        conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
    if (port->queue_count > 1 && info.flow_type_rss_offloads != 0) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf =
            info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP);
    }
    uint16_t queues = (uint16_t)port->queue_count;
    port->interrupts = true;
    result = rte_eth_dev_configure(port->id, queues, queues, &conf);
    if (result != 0) {
        port->interrupts = false;
        conf.intr_conf.rxq = 0;
        result = rte_eth_dev_configure(port->id, queues, queues, &conf);
    }
    return result == 0 ? set_up_queues(port, &info) : result;
}

/**
 * The drivers on AF_XDP and AF_PACKET have no receive interrupts, but their sockets can be polled:
 * they are the ones of these families among our own descriptors. They were opened in queue order.
 */
static void find_wait_sockets(struct port *port)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL)
        return;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        char *end;
        long fd = strtol(entry->d_name, &end, 10);
        int domain = 0;
        socklen_t length = sizeof(domain);
        if (end == entry->d_name || *end != '\0' || fd == dirfd(directory) ||
            getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 ||
            (domain != AF_XDP && domain != AF_PACKET))
            continue;
        if (port->wait_socket_count < WAIT_SOCKETS_MAX)
            port->wait_sockets[port->wait_socket_count++] = (int)fd;
    }
    (void)closedir(directory);
}

/** net_tap offers its descriptors to poll, but has nothing to switch on. */
static void use_queue_descriptors(struct port *port)
{
    for (uint16_t queue = 0; queue < (uint16_t)port->queue_count; queue++)
        port->wait_sockets[queue] = rte_eth_dev_rx_intr_ctl_q_get_fd(port->id, queue);
    port->wait_socket_count = port->queue_count;
}

static void find_wake_up(struct port *port)
{
    bool has_descriptors = port->interrupts && rte_eth_dev_rx_intr_ctl_q_get_fd(port->id, 0) >= 0;
    int result = has_descriptors ? rte_eth_dev_rx_intr_enable(port->id, 0) : -ENOTSUP;
    if (result == 0) {
        (void)rte_eth_dev_rx_intr_disable(port->id, 0);
        return;
    }
    port->interrupts = false;
    if (has_descriptors && result == -ENOTSUP)
        use_queue_descriptors(port);
    else
        find_wait_sockets(port);
}

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
static struct rte_mempool *make_mempool(unsigned mbufs, uint16_t bytes, bool software_port)
{
    if (!software_port)
        return rte_pktmbuf_pool_create("frames", mbufs, MBUF_CACHE, 0, bytes, SOCKET_ID_ANY);
    struct rte_pktmbuf_pool_private options = {.mbuf_data_room_size = bytes};
    struct rte_mempool *pool = rte_mempool_create_empty(
        "frames", mbufs, (unsigned)sizeof(struct rte_mbuf) + bytes, MBUF_CACHE, sizeof(options),
        SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
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

int port_open(struct port **out, const char *name, unsigned queues_wanted, uint16_t mtu,
              char *problem, size_t problem_bytes)
{
    struct port *port = calloc(1, sizeof(*port));
    if (port == NULL)
        return fail(problem, problem_bytes, name, "cannot be opened", -ENOMEM);
    (void)snprintf(port->name, sizeof(port->name), "%.*s", (int)strcspn(name, ","), name);
    uint16_t id = (uint16_t)rte_eth_find_next_owned_by(0, RTE_ETH_DEV_NO_OWNER);
    int result = id < RTE_MAX_ETHPORTS ? 0 : -ENODEV;
    const char *what = "no such device";
    if (result == 0) {
        port->id = id;
        what = "no memory for frames";
        port->mempool = make_mempool(MBUFS_BASE + MBUFS_PER_QUEUE * queues_wanted, mbuf_bytes(mtu),
                                     strncmp(port->name, "net_", 4) == 0);
        result = port->mempool != NULL ? 0 : -ENOMEM;
    }
    if (result == 0) {
        what = "cannot be configured (does another program use it?)";
        result = configure(port, at_most(queues_wanted, PORT_QUEUES_MAX));
    }
    if (result == 0) {
        /* Many virtual devices cannot change their MTU: the interface's own then stands. */
        (void)rte_eth_dev_set_mtu(port->id, mtu);
        what = "cannot be started";
        result = rte_eth_dev_start(port->id);
    }
    if (result != 0) {
        rte_mempool_free(port->mempool);
        free(port);
        return fail(problem, problem_bytes, name, what, result);
    }
    (void)rte_eth_allmulticast_enable(port->id);
    struct rte_ether_addr mac;
    if (rte_eth_macaddr_get(port->id, &mac) == 0)
        memcpy(port->mac, mac.addr_bytes, sizeof(port->mac));
    find_wake_up(port);
    *out = port;
    return 0;
}

void port_close(struct port *port)
{
    (void)rte_eth_dev_stop(port->id);
    (void)rte_eth_dev_close(port->id);
    rte_mempool_free(port->mempool);
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

uint16_t port_receive(struct port *port, unsigned queue, struct rte_mbuf **frames, uint16_t count)
{
    return rte_eth_rx_burst(port->id, (uint16_t)queue, frames, count);
}

uint16_t port_send(struct port *port, unsigned queue, struct rte_mbuf **frames, uint16_t count)
{
    return rte_eth_tx_burst(port->id, (uint16_t)queue, frames, count);
}

unsigned port_wait_descriptors(struct port *port, unsigned queue, int *descriptors, unsigned max)
{
    if (port->interrupts) {
        int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(port->id, (uint16_t)queue);
        if (fd < 0 || max == 0)
            return 0;
        descriptors[0] = fd;
        return 1;
    }
    /* One socket per queue, in order; when they don't match up, any may concern this queue. */
    if (port->wait_socket_count == port->queue_count && max > 0) {
        descriptors[0] = port->wait_sockets[queue];
        return 1;
    }
    unsigned count = at_most(port->wait_socket_count, max);
    memcpy(descriptors, port->wait_sockets, count * sizeof(descriptors[0]));
    return count;
}

bool port_has_interrupts(const struct port *port)
{
    return port->interrupts;
}

void port_arm(struct port *port, unsigned queue)
{
    if (port->interrupts)
        (void)rte_eth_dev_rx_intr_enable(port->id, (uint16_t)queue);
}

void port_disarm(struct port *port, unsigned queue)
{
    if (port->interrupts)
        (void)rte_eth_dev_rx_intr_disable(port->id, (uint16_t)queue);
}

void port_read_statistics(const struct port *port, struct port_statistics *statistics)
{
    struct rte_eth_stats stats;
    *statistics = (struct port_statistics){0};
    if (rte_eth_stats_get(port->id, &stats) != 0)
        return;
    *statistics = (struct port_statistics){
        .packets_in = stats.ipackets,
        .packets_out = stats.opackets,
        .bytes_in = stats.ibytes,
        .bytes_out = stats.obytes,
        .missed = stats.imissed,
        .errors_in = stats.ierrors,
        .errors_out = stats.oerrors,
        .no_buffer = stats.rx_nombuf,
    };
}
