/* A port on any DPDK ethdev. */
#include "engine/dpdk.h"

#include "engine/ports/port_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUE_FRAMES     1024
#define WAIT_SOCKETS_MAX PORT_QUEUES_MAX

/** What a port that segments has to do: rte_eth_tx_prepare() makes the headers as it wants them. */
#define TSO_OFFLOADS                                                                               \
    (RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM)

struct port_ethdev {
    struct port port;
    uint16_t id;
    uint64_t offloads;                  /**< of transmission: RTE_ETH_TX_OFFLOAD_… in use */
    int wait_sockets[WAIT_SOCKETS_MAX]; /**< no interrupts: descriptors to poll, one per queue */
    unsigned wait_socket_count;
    _Atomic uint64_t refused; /**< frames that rte_eth_tx_prepare() would not have */
};

static struct port_ethdev *ethdev_of(struct port *port)
{
    return (struct port_ethdev *)(void *)port;
}

static unsigned at_most(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static int set_up_queues(struct port_ethdev *ethdev, const struct rte_eth_dev_info *info)
{
    int socket = rte_eth_dev_socket_id(ethdev->id);
    uint16_t receive_frames = QUEUE_FRAMES;
    uint16_t send_frames = QUEUE_FRAMES;
    int result = rte_eth_dev_adjust_nb_rx_tx_desc(ethdev->id, &receive_frames, &send_frames);
    if (result != 0)
        return result;
    for (uint16_t queue = 0; queue < (uint16_t)ethdev->port.queue_count; queue++) {
        struct rte_eth_rxconf rxconf = info->default_rxconf;
        struct rte_eth_txconf txconf = info->default_txconf;
        txconf.offloads |= ethdev->offloads & info->tx_queue_offload_capa;
        result = rte_eth_rx_queue_setup(ethdev->id, queue, receive_frames, (unsigned)socket,
                                        &rxconf, ethdev->port.mempool);
        if (result == 0)
            result =
                rte_eth_tx_queue_setup(ethdev->id, queue, send_frames, (unsigned)socket, &txconf);
        if (result != 0)
            return result;
    }
    return 0;
}

/** net_tap segments in software, but refuses whatever with its Ethernet header exceeds the MTU. */
static bool segments(const struct port_ethdev *ethdev, const struct rte_eth_dev_info *info)
{
    return (info->tx_offload_capa & TSO_OFFLOADS) == TSO_OFFLOADS &&
           strncmp(ethdev->port.name, "net_tap", strlen("net_tap")) != 0;
}

/** What the device can do of what we have use for. */
static void choose_offloads(struct port_ethdev *ethdev, const struct rte_eth_dev_info *info)
{
    if (segments(ethdev, info)) {
        ethdev->offloads = TSO_OFFLOADS;
        ethdev->port.gso_bytes_max = UINT32_MAX; /* as far as our buffers go */
    } else {
        ethdev->offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
    }
    ethdev->port.offloads_tcp_checksum = (ethdev->offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0;
}

static int configure(struct port_ethdev *ethdev, unsigned queues_wanted)
{
    struct port *port = &ethdev->port;
    struct rte_eth_dev_info info;
    int result = rte_eth_dev_info_get(ethdev->id, &info);
    if (result != 0)
        return result;
    port->queue_count = at_most(queues_wanted, at_most(info.max_rx_queues, info.max_tx_queues));
    if (port->queue_count == 0)
        return -ENODEV;
    choose_offloads(ethdev, &info);
    struct rte_eth_conf conf = {
        .rxmode = {.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_CHECKSUM},
        .txmode = {.offloads = ethdev->offloads},
        .intr_conf = {.rxq = 1},
    };
    if (port->queue_count > 1 && info.flow_type_rss_offloads != 0) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf =
            info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP);
    }
    uint16_t queues = (uint16_t)port->queue_count;
    port->interrupts = true;
    result = rte_eth_dev_configure(ethdev->id, queues, queues, &conf);
    if (result != 0) {
        port->interrupts = false;
        conf.intr_conf.rxq = 0;
        result = rte_eth_dev_configure(ethdev->id, queues, queues, &conf);
    }
    return result == 0 ? set_up_queues(ethdev, &info) : result;
}

/**
 * The drivers on AF_XDP and AF_PACKET have no receive interrupts, but their sockets can be polled:
 * they are the ones of these families among our own descriptors. They were opened in queue order.
 */
static void find_wait_sockets(struct port_ethdev *ethdev)
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
        if (ethdev->wait_socket_count < WAIT_SOCKETS_MAX)
            ethdev->wait_sockets[ethdev->wait_socket_count++] = (int)fd;
    }
    (void)closedir(directory);
}

/** net_tap offers its descriptors to poll, but has nothing to switch on. */
static void use_queue_descriptors(struct port_ethdev *ethdev)
{
    for (uint16_t queue = 0; queue < (uint16_t)ethdev->port.queue_count; queue++)
        ethdev->wait_sockets[queue] = rte_eth_dev_rx_intr_ctl_q_get_fd(ethdev->id, queue);
    ethdev->wait_socket_count = ethdev->port.queue_count;
}

static void find_wake_up(struct port_ethdev *ethdev)
{
    bool has_descriptors =
        ethdev->port.interrupts && rte_eth_dev_rx_intr_ctl_q_get_fd(ethdev->id, 0) >= 0;
    int result = has_descriptors ? rte_eth_dev_rx_intr_enable(ethdev->id, 0) : -ENOTSUP;
    if (result == 0) {
        (void)rte_eth_dev_rx_intr_disable(ethdev->id, 0);
        return;
    }
    ethdev->port.interrupts = false;
    if (has_descriptors && result == -ENOTSUP)
        use_queue_descriptors(ethdev);
    else
        find_wait_sockets(ethdev);
}

static void read_mac(struct port_ethdev *ethdev)
{
    struct rte_ether_addr mac;
    if (rte_eth_macaddr_get(ethdev->id, &mac) == 0)
        memcpy(ethdev->port.mac, mac.addr_bytes, sizeof(ethdev->port.mac));
}

/* ---- Operations ---------------------------------------------------------------------------- */

static uint16_t receive(struct port *port, unsigned queue, struct rte_mbuf **frames, uint16_t count)
{
    return rte_eth_rx_burst(ethdev_of(port)->id, (uint16_t)queue, frames, count);
}

static uint16_t send_frames(struct port *port, unsigned queue, struct rte_mbuf **frames,
                            uint16_t count)
{
    uint16_t id = ethdev_of(port)->id;
    if (port->gso_bytes_max == 0)
        return rte_eth_tx_burst(id, (uint16_t)queue, frames, count);
    uint16_t ready = rte_eth_tx_prepare(id, (uint16_t)queue, frames, count);
    if (ready == 0 && count > 0) { /* the device will never take this one */
        atomic_fetch_add_explicit(&ethdev_of(port)->refused, 1, memory_order_relaxed);
        rte_pktmbuf_free(frames[0]);
        return 1;
    }
    return rte_eth_tx_burst(id, (uint16_t)queue, frames, ready);
}

static unsigned wait_descriptors(struct port *port, unsigned queue, int *descriptors, unsigned max)
{
    const struct port_ethdev *ethdev = ethdev_of(port);
    if (port->interrupts) {
        int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(ethdev->id, (uint16_t)queue);
        if (fd < 0)
            return 0;
        descriptors[0] = fd;
        return 1;
    }
    /* One socket per queue, in order; when they don't match up, any may concern this queue. */
    if (ethdev->wait_socket_count == port->queue_count) {
        descriptors[0] = ethdev->wait_sockets[queue];
        return 1;
    }
    unsigned count = at_most(ethdev->wait_socket_count, max);
    memcpy(descriptors, ethdev->wait_sockets, count * sizeof(descriptors[0]));
    return count;
}

static void arm(struct port *port, unsigned queue)
{
    (void)rte_eth_dev_rx_intr_enable(ethdev_of(port)->id, (uint16_t)queue);
}

static void disarm(struct port *port, unsigned queue)
{
    (void)rte_eth_dev_rx_intr_disable(ethdev_of(port)->id, (uint16_t)queue);
}

static void read_statistics(const struct port *port, struct port_statistics *statistics)
{
    const struct port_ethdev *ethdev = (const struct port_ethdev *)(const void *)port;
    struct rte_eth_stats stats;
    if (rte_eth_stats_get(ethdev->id, &stats) != 0)
        return;
    *statistics = (struct port_statistics){
        .packets_in = stats.ipackets,
        .packets_out = stats.opackets,
        .bytes_in = stats.ibytes,
        .bytes_out = stats.obytes,
        .missed = stats.imissed,
        .errors_in = stats.ierrors,
        .errors_out = stats.oerrors + atomic_load_explicit(&ethdev->refused, memory_order_relaxed),
        .no_buffer = stats.rx_nombuf,
    };
}

static void close_device(struct port *port)
{
    (void)rte_eth_dev_stop(ethdev_of(port)->id);
    (void)rte_eth_dev_close(ethdev_of(port)->id);
}

static const struct port_operations operations = {
    .receive = receive,
    .send = send_frames,
    .wait_descriptors = wait_descriptors,
    .arm = arm,
    .disarm = disarm,
    .read_statistics = read_statistics,
    .close = close_device,
};

int port_ethdev_open(struct port **out, const char *name, unsigned queues_wanted, uint16_t mtu,
                     char *problem, size_t problem_bytes)
{
    struct port_ethdev *ethdev = calloc(1, sizeof(*ethdev));
    if (ethdev == NULL)
        return port_fail(problem, problem_bytes, name, "cannot be opened", -ENOMEM);
    struct port *port = &ethdev->port;
    port->operations = &operations;
    (void)snprintf(port->name, sizeof(port->name), "%.*s", (int)strcspn(name, ","), name);
    bool is_software = strncmp(port->name, "net_", 4) == 0;
    uint16_t id = (uint16_t)rte_eth_find_next_owned_by(0, RTE_ETH_DEV_NO_OWNER);
    int result = id < RTE_MAX_ETHPORTS ? 0 : -ENODEV;
    const char *what = "no such device";
    if (result == 0) {
        ethdev->id = id;
        what = "no memory for frames";
        result = port_make_mempools(port, queues_wanted, mtu, is_software);
    }
    if (result == 0) {
        what = "cannot be configured (does another program use it?)";
        result = configure(ethdev, queues_wanted);
    }
    if (result == 0) {
        what = "no memory for large frames";
        result = port_make_mempools(port, queues_wanted, mtu, is_software);
    }
    if (result == 0) {
        /* Many virtual devices cannot change their MTU: the interface's own then stands. */
        (void)rte_eth_dev_set_mtu(ethdev->id, mtu);
        what = "cannot be started";
        result = rte_eth_dev_start(ethdev->id);
    }
    if (result != 0) {
        port_free_mempools(port);
        free(ethdev);
        return port_fail(problem, problem_bytes, name, what, result);
    }
    (void)rte_eth_allmulticast_enable(ethdev->id);
    read_mac(ethdev);
    find_wake_up(ethdev);
    *out = port;
    return 0;
}
