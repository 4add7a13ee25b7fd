/*
 * A port of our own on packet sockets, one per queue: on any Linux interface, and with what DPDK's
 * drivers for kernel interfaces lack, segmentation and checksums both ways. A virtio_net_hdr with
 * each frame tells of them (PACKET_VNET_HDR): what the interface cannot do itself, the kernel does
 * on the way out; frames that it joined, or that a veth's other end never cut, come in whole.
 *
 * Small frames arrive in a ring that the kernel shares with us; what is larger than a slot waits in
 * the socket itself (PACKET_COPY_THRESH) and is received by a system call, one for up to 64 KB.
 * Frames leave by sendmmsg().
 *
 * The interface is ours alone: where the kernel has tcx (Linux 6.6), a program that drops
 * everything hangs at its entrance, behind the packet sockets, so that the kernel's own stack does
 * not look at each frame in vain, nor answers. It goes with the process.
 */
#include "engine/dpdk.h"

#include "engine/ports/port_internal.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/** The ring: what fits a slot with its header comes through it. 4 MiB for each queue. */
#define SLOT_BYTES  2048
#define SLOT_COUNT  2048
#define BLOCK_BYTES (64 * 1024)

/** What may wait in a socket: bulk in large frames, and frames on their way out. */
#define RECEIVE_QUEUE_BYTES (32 * 1024 * 1024)
#define SEND_QUEUE_BYTES    (4 * 1024 * 1024)

/** Of kernels newer than the headers that we are built with. */
#define FANOUT_IGNORE_OUTGOING 0x4000 /**< PACKET_FANOUT_FLAG_IGNORE_OUTGOING */
#define TCX_INGRESS            46     /**< BPF_TCX_INGRESS */
#define TCX_VERDICT_DROP       2      /**< TCX_DROP */

#define SEND_BURST           64
#define TCP_CHECKSUM_OFFSET  16
#define VLAN_IDENTIFIER_MASK 0x0fff

/** Written by the queue's thread, read by who asks for statistics. */
struct packet_counters {
    _Atomic uint64_t packets_in, packets_out, bytes_in, bytes_out;
    _Atomic uint64_t errors_in, errors_out, no_buffer;
};

struct packet_queue {
    int fd;
    uint8_t *ring;
    uint32_t next; /**< slot to look at next */
    struct packet_counters counters;
    _Atomic uint64_t missed; /**< as far as read: the kernel forgets them then */
};

struct port_packet {
    struct port port;
    unsigned interface;
    int drop_program, drop_link; /**< -1: none */
    struct packet_queue queues[PORT_QUEUES_MAX];
};

static struct port_packet *packet_of(struct port *port)
{
    return (struct port_packet *)(void *)port;
}

static void count(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

/* ---- Receiving ----------------------------------------------------------------------------- */

static struct tpacket2_hdr *slot_at(const struct packet_queue *queue, uint32_t index)
{
    return (struct tpacket2_hdr *)(void *)(queue->ring + (size_t)(index % SLOT_COUNT) * SLOT_BYTES);
}

static uint32_t slot_status(const struct tpacket2_hdr *slot)
{
    /* Acquire: the kernel has written the frame before it set the status. */
    return __atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE);
}

static void slot_give_back(struct packet_queue *queue, struct tpacket2_hdr *slot)
{
    /* Release: we have read the frame before the kernel may write the next. */
    __atomic_store_n(&slot->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    queue->next++;
}

/** What the kernel says of a frame, in DPDK's words. */
static void note_offloads(struct rte_mbuf *mbuf, const struct virtio_net_hdr *header)
{
    /* Not on the wire yet, so the checksum field holds the pseudo-header's sum alone. */
    if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        mbuf->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
    else if (header->flags & VIRTIO_NET_HDR_F_DATA_VALID)
        mbuf->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    uint8_t type = header->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
    if (type == VIRTIO_NET_HDR_GSO_TCPV4 || type == VIRTIO_NET_HDR_GSO_TCPV6) {
        mbuf->ol_flags |= RTE_MBUF_F_RX_LRO;
        mbuf->tso_segsz = header->gso_size;
    }
}

/** A frame that waits in the socket. @return NULL: it is gone, or too large even for that. */
static struct rte_mbuf *receive_large(const struct packet_queue *queue, struct rte_mbuf *mbuf)
{
    struct virtio_net_hdr header;
    mbuf->data_off = 0; /* all room there is: a joined frame may fill it */
    struct iovec parts[] = {
        {&header, sizeof(header)},
        {mbuf->buf_addr, mbuf->buf_len},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t length = recvmsg(queue->fd, &message, MSG_DONTWAIT | MSG_TRUNC);
    if (length < (ssize_t)sizeof(header) || (size_t)length - sizeof(header) > mbuf->buf_len)
        return NULL;
    mbuf->data_len = (uint16_t)((size_t)length - sizeof(header));
    mbuf->pkt_len = mbuf->data_len;
    note_offloads(mbuf, &header);
    return mbuf;
}

static void copy_small(const struct tpacket2_hdr *slot, struct rte_mbuf *mbuf)
{
    const uint8_t *frame = (const uint8_t *)slot + slot->tp_mac;
    struct virtio_net_hdr header;
    memcpy(&header, frame - sizeof(header), sizeof(header));
    mbuf->data_len = (uint16_t)slot->tp_snaplen;
    mbuf->pkt_len = slot->tp_snaplen;
    memcpy(rte_pktmbuf_mtod(mbuf, uint8_t *), frame, slot->tp_snaplen);
    note_offloads(mbuf, &header);
}

/** The kernel takes tags off; 0 is a mere priority. Frames of other networks are not for us. */
static bool has_foreign_vlan(const struct tpacket2_hdr *slot, uint32_t status)
{
    return (status & TP_STATUS_VLAN_VALID) && (slot->tp_vlan_tci & VLAN_IDENTIFIER_MASK) != 0;
}

/** The frame of one slot, into mbuf. @return NULL: there is none that can be used. */
static struct rte_mbuf *take_frame(struct packet_queue *queue, const struct tpacket2_hdr *slot,
                                   uint32_t status, struct rte_mbuf *mbuf)
{
    struct rte_mbuf *taken = mbuf;
    if (status & TP_STATUS_COPY)
        taken = receive_large(queue, mbuf);
    else if (slot->tp_snaplen == slot->tp_len && slot->tp_snaplen <= rte_pktmbuf_tailroom(mbuf))
        copy_small(slot, mbuf);
    else
        taken = NULL; /* no room in the socket for what the slot did not hold */
    if (taken == NULL)
        count(&queue->counters.errors_in, 1);
    return taken != NULL && !has_foreign_vlan(slot, status) ? taken : NULL;
}

static uint16_t receive(struct port *port, unsigned number, struct rte_mbuf **frames,
                        uint16_t frames_max)
{
    struct packet_queue *queue = &packet_of(port)->queues[number];
    uint64_t bytes = 0;
    uint16_t taken = 0;
    for (uint16_t seen = 0; seen < frames_max; seen++) {
        struct tpacket2_hdr *slot = slot_at(queue, queue->next);
        uint32_t status = slot_status(slot);
        if ((status & TP_STATUS_USER) == 0)
            break;
        struct rte_mbuf *mbuf =
            rte_pktmbuf_alloc(status & TP_STATUS_COPY ? port->large_mempool : port->mempool);
        if (mbuf == NULL) { /* it stays where it is, until there is one */
            count(&queue->counters.no_buffer, 1);
            break;
        }
        if (take_frame(queue, slot, status, mbuf) != NULL) {
            bytes += mbuf->pkt_len;
            frames[taken++] = mbuf;
        } else {
            rte_pktmbuf_free(mbuf);
        }
        slot_give_back(queue, slot);
    }
    if (taken > 0) {
        count(&queue->counters.packets_in, taken);
        count(&queue->counters.bytes_in, bytes);
    }
    return taken;
}

/* ---- Sending ------------------------------------------------------------------------------- */

/** What is left to the kernel, in its words. */
static struct virtio_net_hdr offload_header(const struct rte_mbuf *mbuf)
{
    struct virtio_net_hdr header = {0};
    if ((mbuf->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM)) == 0)
        return header;
    header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header.csum_start = (uint16_t)(mbuf->l2_len + mbuf->l3_len);
    header.csum_offset = TCP_CHECKSUM_OFFSET;
    if (mbuf->ol_flags & RTE_MBUF_F_TX_TCP_SEG) {
        header.gso_type = mbuf->ol_flags & RTE_MBUF_F_TX_IPV6 ? VIRTIO_NET_HDR_GSO_TCPV6
                                                              : VIRTIO_NET_HDR_GSO_TCPV4;
        header.hdr_len = (uint16_t)(header.csum_start + mbuf->l4_len);
        header.gso_size = mbuf->tso_segsz;
    }
    return header;
}

/** The interface has no room just now; anything else will not get better. */
static bool is_full(int error)
{
    return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == EINTR;
}

static uint16_t send_some(struct packet_queue *queue, struct rte_mbuf **frames,
                          uint16_t frame_count)
{
    struct mmsghdr messages[SEND_BURST];
    struct iovec parts[SEND_BURST][2];
    struct virtio_net_hdr headers[SEND_BURST];
    for (uint16_t i = 0; i < frame_count; i++) {
        headers[i] = offload_header(frames[i]);
        parts[i][0] = (struct iovec){&headers[i], sizeof(headers[i])};
        parts[i][1] = (struct iovec){rte_pktmbuf_mtod(frames[i], void *), frames[i]->data_len};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = parts[i], .msg_iovlen = 2}};
    }
    int sent = sendmmsg(queue->fd, messages, frame_count, MSG_DONTWAIT);
    uint64_t bytes = 0;
    if (sent < 0 && !is_full(errno)) {
        count(&queue->counters.errors_out, 1);
        rte_pktmbuf_free(frames[0]);
        return 1;
    }
    for (int i = 0; i < sent; i++) {
        bytes += frames[i]->data_len;
        rte_pktmbuf_free(frames[i]);
    }
    if (sent <= 0)
        return 0;
    count(&queue->counters.packets_out, (uint64_t)sent);
    count(&queue->counters.bytes_out, bytes);
    return (uint16_t)sent;
}

static uint16_t send_frames(struct port *port, unsigned number, struct rte_mbuf **frames,
                            uint16_t frame_count)
{
    struct packet_queue *queue = &packet_of(port)->queues[number];
    uint16_t done = 0;
    while (done < frame_count) {
        uint16_t left = (uint16_t)(frame_count - done);
        uint16_t sent = send_some(queue, frames + done, left < SEND_BURST ? left : SEND_BURST);
        if (sent == 0)
            break;
        done = (uint16_t)(done + sent);
    }
    return done;
}

/* ---- The rest of the operations ------------------------------------------------------------ */

static unsigned wait_descriptors(struct port *port, unsigned number, int *descriptors, unsigned max)
{
    (void)max;
    descriptors[0] = packet_of(port)->queues[number].fd;
    return 1;
}

static uint64_t value(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void read_statistics(const struct port *port, struct port_statistics *statistics)
{
    struct port_packet *packet = (struct port_packet *)(uintptr_t)port;
    for (unsigned i = 0; i < port->queue_count; i++) {
        struct packet_queue *queue = &packet->queues[i];
        struct tpacket_stats lost = {0};
        socklen_t length = sizeof(lost);
        if (getsockopt(queue->fd, SOL_PACKET, PACKET_STATISTICS, &lost, &length) == 0)
            atomic_fetch_add_explicit(&queue->missed, lost.tp_drops, memory_order_relaxed);
        statistics->packets_in += value(&queue->counters.packets_in);
        statistics->packets_out += value(&queue->counters.packets_out);
        statistics->bytes_in += value(&queue->counters.bytes_in);
        statistics->bytes_out += value(&queue->counters.bytes_out);
        statistics->missed += value(&queue->missed);
        statistics->errors_in += value(&queue->counters.errors_in);
        statistics->errors_out += value(&queue->counters.errors_out);
        statistics->no_buffer += value(&queue->counters.no_buffer);
    }
}

static void close_queue(struct packet_queue *queue)
{
    if (queue->ring != NULL)
        (void)munmap(queue->ring, (size_t)SLOT_COUNT * SLOT_BYTES);
    if (queue->fd >= 0)
        (void)close(queue->fd);
}

static void close_packet(struct port *port)
{
    struct port_packet *packet = packet_of(port);
    if (packet->drop_link >= 0)
        (void)close(packet->drop_link);
    if (packet->drop_program >= 0)
        (void)close(packet->drop_program);
    for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
        close_queue(&packet->queues[i]);
}

static const struct port_operations operations = {
    .receive = receive,
    .send = send_frames,
    .wait_descriptors = wait_descriptors,
    .read_statistics = read_statistics,
    .close = close_packet,
};

/* ---- Opening ------------------------------------------------------------------------------- */

static int set_option(int fd, int option, int flag)
{
    return setsockopt(fd, SOL_PACKET, option, &flag, sizeof(flag)) == 0 ? 0 : -errno;
}

/** As much as we are allowed to. */
static void set_queue_bytes(int fd, int forced, int asked, int bytes)
{
    if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, asked, &bytes, sizeof(bytes));
}

static int map_ring(struct packet_queue *queue)
{
    struct tpacket_req request = {
        .tp_block_size = BLOCK_BYTES,
        .tp_block_nr = SLOT_COUNT / (BLOCK_BYTES / SLOT_BYTES),
        .tp_frame_size = SLOT_BYTES,
        .tp_frame_nr = SLOT_COUNT,
    };
    if (setsockopt(queue->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) != 0)
        return -errno;
    void *ring = mmap(NULL, (size_t)SLOT_COUNT * SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                      queue->fd, 0);
    if (ring == MAP_FAILED)
        return -errno;
    queue->ring = ring;
    return 0;
}

static int open_queue(const struct port_packet *packet, struct packet_queue *queue)
{
    struct packet_mreq all = {.mr_ifindex = (int)packet->interface, .mr_type = PACKET_MR_ALLMULTI};
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = rte_cpu_to_be_16(ETH_P_ALL),
                                  .sll_ifindex = (int)packet->interface};
    queue->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (queue->fd < 0)
        return -errno;
    set_queue_bytes(queue->fd, SO_RCVBUFFORCE, SO_RCVBUF, RECEIVE_QUEUE_BYTES);
    set_queue_bytes(queue->fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_QUEUE_BYTES);
    int result = set_option(queue->fd, PACKET_VERSION, TPACKET_V2);
    if (result == 0)
        result = set_option(queue->fd, PACKET_VNET_HDR, 1);
    if (result == 0)
        result = set_option(queue->fd, PACKET_COPY_THRESH, SLOT_BYTES);
    if (result == 0)
        result = set_option(queue->fd, PACKET_IGNORE_OUTGOING, 1);
    if (result == 0)
        result = map_ring(queue);
    if (result == 0 &&
        (setsockopt(queue->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) != 0 ||
         bind(queue->fd, (struct sockaddr *)&address, sizeof(address)) != 0))
        result = -errno;
    return result;
}

/** Several queues share the interface's frames, a flow staying with one. */
static int join_fanout(struct port_packet *packet, struct packet_queue *queue, int *group)
{
    int first = PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_UNIQUEID | FANOUT_IGNORE_OUTGOING;
    if (packet->port.queue_count == 1)
        return 0;
    int argument = *group < 0 ? first << 16 : *group;
    int result = set_option(queue->fd, PACKET_FANOUT, argument);
    socklen_t length = sizeof(*group);
    if (result == 0 && *group < 0 &&
        (getsockopt(queue->fd, SOL_PACKET, PACKET_FANOUT, group, &length) != 0))
        result = -errno;
    *group &= (int)~((unsigned)PACKET_FANOUT_FLAG_UNIQUEID << 16);
    return result;
}

static int bpf_call(int command, union bpf_attr *attributes)
{
    return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

/** Nothing depends on it: without, frames just cost the kernel more. */
static void keep_from_kernel(struct port_packet *packet)
{
    struct bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = TCX_VERDICT_DROP},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_SCHED_CLS,
                           .insn_cnt = 2,
                           .insns = (uint64_t)(uintptr_t)program,
                           .license = (uint64_t)(uintptr_t) "BSD"};
    packet->drop_program = bpf_call(BPF_PROG_LOAD, &load);
    if (packet->drop_program < 0)
        return;
    union bpf_attr link = {.link_create = {.prog_fd = (uint32_t)packet->drop_program,
                                           .target_ifindex = packet->interface,
                                           .attach_type = TCX_INGRESS}};
    packet->drop_link = bpf_call(BPF_LINK_CREATE, &link);
}

static int find_interface(struct port_packet *packet, const char *arguments)
{
    const char *given = strstr(arguments, ",iface=");
    struct ifreq request = {0};
    if (given == NULL)
        return -EINVAL;
    given += strlen(",iface=");
    size_t length = strcspn(given, ",");
    if (length == 0 || length >= sizeof(request.ifr_name))
        return -ENODEV;
    memcpy(request.ifr_name, given, length);
    packet->interface = if_nametoindex(request.ifr_name);
    if (packet->interface == 0)
        return -ENODEV;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int result = ioctl(fd, SIOCGIFHWADDR, &request) == 0 ? 0 : -errno;
    (void)close(fd);
    memcpy(packet->port.mac, request.ifr_hwaddr.sa_data, sizeof(packet->port.mac));
    return result;
}

static int open_queues(struct port_packet *packet)
{
    int group = -1;
    int result = 0;
    for (unsigned i = 0; i < packet->port.queue_count && result == 0; i++) {
        result = open_queue(packet, &packet->queues[i]);
        if (result == 0)
            result = join_fanout(packet, &packet->queues[i], &group);
    }
    return result;
}

int port_packet_open(struct port **out, const char *name, unsigned queues_wanted, uint16_t mtu,
                     char *problem, size_t problem_bytes)
{
    struct port_packet *packet = calloc(1, sizeof(*packet));
    if (packet == NULL)
        return port_fail(problem, problem_bytes, name, "cannot be opened", -ENOMEM);
    struct port *port = &packet->port;
    *port = (struct port){.operations = &operations,
                          .queue_count = queues_wanted,
                          .offloads_tcp_checksum = true,
                          .gso_bytes_max = UINT32_MAX};
    (void)snprintf(port->name, sizeof(port->name), "%.*s", (int)strcspn(name, ","), name);
    packet->drop_program = packet->drop_link = -1;
    for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
        packet->queues[i].fd = -1;
    const char *what = "no such interface";
    int result = find_interface(packet, name);
    if (result == 0) {
        what = "no memory for frames";
        result = port_make_mempools(port, queues_wanted, mtu, true);
    }
    if (result == 0) {
        what = "cannot open packet sockets";
        result = open_queues(packet);
    }
    if (result != 0) {
        port_close(port);
        return port_fail(problem, problem_bytes, name, what, result);
    }
    keep_from_kernel(packet);
    *out = port;
    return 0;
}
