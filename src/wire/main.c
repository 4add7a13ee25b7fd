/*
 * pno-wire: joins two network devices of its namespace by a wire that loses, delays, reorders,
 * duplicates, corrupts and limits (config.h). Frames pass whole, as the devices would send them, so
 * both their far ends must have segmentation and checksum offloads switched off.
 *
 * What busy ends send is not worth a wake-up for each frame. The kernel notes when a frame came, so
 * it may be taken later, as long as that is before it is due; and frames that are due within a tick
 * of each other go together, half a tick early or late at most.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "wire/direction.h"
#include "wire/schedule.h"

#define FRAME_MAX_BYTES     9234 /**< a jumbo frame with a VLAN tag */
#define SLOT_BYTES          9472
#define SLOT_COUNT          65536
#define BURST               64
#define BURSTS_MAX          16 /**< at a time: frames that are due must not wait for all that come */
#define SOCKET_BUFFER_BYTES (64 * 1024 * 1024)
#define NS_PER_S            1000000000ULL
#define TICK_MIN_NS         50000ULL
#define TICK_MAX_NS         200000ULL
#define UNSEEN_MAX_NS       1000000ULL /**< for so long frames that come may lie unseen */
#define STAMP_AGE_MAX_NS    NS_PER_S   /**< an older stamp is of before the clock was set */

#define ICMPV6              58
#define ICMPV6_ND_FIRST     133
#define ICMPV6_ND_LAST      137
#define IPV6_NEXT_HEADER_AT 20
#define ICMPV6_TYPE_AT      54

/** From one device to the other. */
struct lane {
    const char *from;
    int in;
    int out;
    struct wire_direction direction;
    struct wire_schedule schedule;
    uint8_t *slots;       /**< SLOT_COUNT of SLOT_BYTES; pages never used cost nothing */
    uint32_t *free_slots; /**< a stack: few slots in use touch few pages */
    size_t free_count;
    uint64_t entered_ns; /**< when the latest frame came */
    uint64_t not_sent;
};

/** How long to sleep. */
struct pace {
    uint64_t tick_ns;   /**< between wake-ups; 0: a frame may be due as it comes */
    uint64_t unseen_ns; /**< from a look at what has come to the next, at least a tick */
};

static volatile sig_atomic_t stopping;

static void stop(int signal_number)
{
    (void)signal_number;
    stopping = 1;
}

static uint64_t nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * NS_PER_S + (uint64_t)time->tv_nsec;
}

static uint64_t clock_now_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return nanoseconds(&now);
}

static uint64_t clock_ns(void)
{
    return clock_now_ns(CLOCK_MONOTONIC);
}

static uint64_t min_ns(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_ns(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A tenth of the delay, within bounds: so delays are right to 25 us, or a twentieth. */
static struct pace pace_of(const struct wire_config *config)
{
    uint64_t tick_ns = min_ns(max_ns(config->delay_ns / 10, TICK_MIN_NS), TICK_MAX_NS);
    tick_ns = min_ns(tick_ns, config->delay_ns);
    /* What comes unseen is due after the shortest delay; what overtakes, at once. */
    uint64_t unseen_ns = config->reorder > 0 ? 0 : config->delay_ns - config->jitter_ns;
    return (struct pace){tick_ns, max_ns(tick_ns, min_ns(unseen_ns, UNSEEN_MAX_NS))};
}

static int complain(const char *device, const char *what)
{
    fprintf(stderr, "pno-wire: %s: %s: %s\n", device, what, strerror(errno));
    return -1;
}

/* A packet socket on a device, or -1. */
static int open_device(const char *name)
{
    unsigned index = if_nametoindex(name);
    if (index == 0) {
        return complain(name, "no such device in this network namespace");
    }
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return complain(name, "cannot make a packet socket (this needs root)");
    }
    int one = 1;
    int bytes = SOCKET_BUFFER_BYTES;
    struct packet_mreq promiscuous = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC};
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
    (void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)complain(name, "cannot take its frames");
        close(fd);
        return -1;
    }
    return fd;
}

static uint8_t *slot_at(const struct lane *lane, uint32_t slot)
{
    return lane->slots + (size_t)slot * SLOT_BYTES;
}

static bool lane_init(struct lane *lane, const char *from, const struct wire_config *config,
                      unsigned number)
{
    lane->from = from;
    void *slots = mmap(NULL, (size_t)SLOT_COUNT * SLOT_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    lane->slots = slots == MAP_FAILED ? NULL : slots;
    lane->free_slots = calloc(SLOT_COUNT, sizeof(*lane->free_slots));
    if (lane->slots == NULL || lane->free_slots == NULL ||
        !wire_direction_init(&lane->direction, config, number) ||
        !wire_schedule_init(&lane->schedule, SLOT_COUNT)) {
        return false;
    }
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        lane->free_slots[lane->free_count++] = SLOT_COUNT - 1 - i;
    }
    return true;
}

static void lane_destroy(struct lane *lane)
{
    if (lane->slots != NULL) {
        munmap(lane->slots, (size_t)SLOT_COUNT * SLOT_BYTES);
    }
    free(lane->free_slots);
    wire_direction_destroy(&lane->direction);
    wire_schedule_destroy(&lane->schedule);
}

/* See wire_direction_enter(). */
static bool is_housekeeping(const uint8_t *frame, size_t bytes)
{
    unsigned type = (unsigned)frame[12] << 8 | frame[13];
    if (type == ETH_P_ARP) {
        return true;
    }
    return type == ETH_P_IPV6 && bytes > ICMPV6_TYPE_AT && frame[IPV6_NEXT_HEADER_AT] == ICMPV6 &&
           frame[ICMPV6_TYPE_AT] >= ICMPV6_ND_FIRST && frame[ICMPV6_TYPE_AT] <= ICMPV6_ND_LAST;
}

static void corrupt(uint8_t *frame, const struct wire_arrival *arrival)
{
    if (arrival->corrupted) {
        uint32_t bit = arrival->corrupted_bit;
        frame[ETH_HLEN + bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
}

/* A frame lies in `slot`: schedule its arrivals, or free the slot. */
static void lane_enter(struct lane *lane, uint64_t now_ns, uint32_t slot, uint32_t bytes)
{
    struct wire_fate fate = {0};
    uint8_t *frame = slot_at(lane, slot);
    if (bytes >= ETH_HLEN && bytes <= FRAME_MAX_BYTES) {
        wire_direction_enter(&lane->direction, now_ns, bytes, is_housekeeping(frame, bytes), &fate);
    }
    if (fate.arrivals == 2 && lane->free_count > 0) {
        uint32_t twin = lane->free_slots[--lane->free_count];
        memcpy(slot_at(lane, twin), frame, bytes);
        corrupt(slot_at(lane, twin), &fate.arrival[1]);
        wire_schedule_push(&lane->schedule, fate.arrival[1].at_ns, twin, bytes);
    }
    if (fate.arrivals == 0) {
        lane->free_slots[lane->free_count++] = slot;
        return;
    }
    corrupt(frame, &fate.arrival[0]);
    wire_schedule_push(&lane->schedule, fate.arrival[0].at_ns, slot, bytes);
}

static bool is_passing(int error)
{
    return error == EAGAIN || error == EINTR || error == ENOBUFS || error == ENETDOWN;
}

/* The kernel's stamp of a frame; 0: it has none. */
static uint64_t stamp_ns(struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
            return nanoseconds(&stamp);
        }
    }
    return 0;
}

/* When the frame entered, by the monotonic clock. Stamps are of the other, which can be set. */
static uint64_t entered_ns(struct lane *lane, uint64_t stamp, uint64_t now_ns, uint64_t real_ns)
{
    uint64_t age_ns = stamp <= real_ns ? real_ns - stamp : 0;
    uint64_t at_ns = age_ns < min_ns(STAMP_AGE_MAX_NS, now_ns) ? now_ns - age_ns : now_ns;
    lane->entered_ns = max_ns(lane->entered_ns, at_ns);
    return lane->entered_ns;
}

/* Take one burst of frames; the number taken, or -1 if the device is gone. */
static int lane_receive(struct lane *lane)
{
    struct mmsghdr messages[BURST];
    struct iovec vectors[BURST];
    _Alignas(struct cmsghdr) uint8_t stamps[BURST][CMSG_SPACE(sizeof(struct timespec))];
    unsigned count = lane->free_count < BURST ? (unsigned)lane->free_count : BURST;
    for (unsigned i = 0; i < count; i++) {
        uint32_t slot = lane->free_slots[lane->free_count - 1 - i];
        vectors[i] = (struct iovec){slot_at(lane, slot), SLOT_BYTES};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i],
                                                   .msg_iovlen = 1,
                                                   .msg_control = stamps[i],
                                                   .msg_controllen = sizeof(stamps[i])}};
    }
    int got = count > 0 ? recvmmsg(lane->in, messages, count, MSG_TRUNC, NULL) : 0;
    if (got < 0) {
        return is_passing(errno) ? 0 : complain(lane->from, "cannot receive");
    }
    uint32_t taken[BURST];
    for (int i = 0; i < got; i++) {
        taken[i] = lane->free_slots[--lane->free_count];
    }
    uint64_t now_ns = clock_ns();
    uint64_t real_ns = clock_now_ns(CLOCK_REALTIME);
    for (int i = 0; i < got; i++) {
        uint64_t at_ns = entered_ns(lane, stamp_ns(&messages[i].msg_hdr), now_ns, real_ns);
        lane_enter(lane, at_ns, taken[i], messages[i].msg_len);
    }
    return got;
}

/* Send one burst of what is due by then; the number sent. */
static int lane_deliver(struct lane *lane, uint64_t until_ns)
{
    struct mmsghdr messages[BURST];
    struct iovec vectors[BURST];
    uint32_t slots[BURST];
    unsigned count = 0;
    for (; count < BURST; count++) {
        const struct wire_scheduled *first = wire_schedule_first(&lane->schedule);
        if (first == NULL || first->at_ns > until_ns) {
            break;
        }
        struct wire_scheduled due = wire_schedule_pop(&lane->schedule);
        slots[count] = due.slot;
        vectors[count] = (struct iovec){slot_at(lane, due.slot), due.bytes};
        messages[count] =
            (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[count], .msg_iovlen = 1}};
    }
    unsigned sent = 0;
    while (sent < count) {
        int result = sendmmsg(lane->out, messages + sent, count - sent, 0);
        if (result <= 0) {
            lane->not_sent++; /* a device that is down, or full: as on any wire, a loss */
            result = 1;
        }
        sent += (unsigned)result;
    }
    for (unsigned i = 0; i < count; i++) {
        lane->free_slots[lane->free_count++] = slots[i];
    }
    return (int)count;
}

/* Take what has come, and send what is due; the number of both, or -1 if a device is gone. */
static int turn(struct lane lanes[2], const struct pace *pace)
{
    int done = 0;
    for (int i = 0; i < 2; i++) {
        int received = BURST;
        for (int burst = 0; burst < BURSTS_MAX && received == BURST; burst++) {
            received = lane_receive(&lanes[i]);
            if (received < 0) {
                return -1;
            }
            done += received;
        }
    }
    uint64_t until_ns = clock_ns() + pace->tick_ns / 2;
    for (int i = 0; i < 2; i++) {
        int sent = BURST;
        for (int burst = 0; burst < BURSTS_MAX && sent == BURST; burst++) {
            sent = lane_deliver(&lanes[i], until_ns);
            done += sent;
        }
    }
    return done;
}

/* Sleep until the next is due or a signal asks us to stop, and if there was nothing to do, also
   until a frame comes. */
static void wait_for_work(struct lane lanes[2], const struct pace *pace, bool busy,
                          const sigset_t *while_waiting)
{
    uint64_t due_ns = UINT64_MAX;
    for (int i = 0; i < 2; i++) {
        const struct wire_scheduled *first = wire_schedule_first(&lanes[i].schedule);
        if (first != NULL) {
            due_ns = min_ns(due_ns, first->at_ns);
        }
    }
    uint64_t now_ns = clock_ns();
    if (busy) {
        due_ns = max_ns(min_ns(due_ns, now_ns + pace->unseen_ns), now_ns + pace->tick_ns);
    }
    uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
    struct timespec left = {.tv_sec = (time_t)(left_ns / NS_PER_S),
                            .tv_nsec = (long)(left_ns % NS_PER_S)};
    struct pollfd events[2];
    for (int i = 0; i < 2; i++) {
        /* Without room the frames wait in the socket. */
        bool watched = !busy && lanes[i].free_count > 0;
        events[i] = (struct pollfd){.fd = watched ? lanes[i].in : -1, .events = POLLIN};
    }
    (void)ppoll(events, busy ? 0 : 2, due_ns == UINT64_MAX ? NULL : &left, while_waiting);
}

static int work(struct lane lanes[2], const struct pace *pace, const sigset_t *while_waiting)
{
    while (!stopping) {
        int done = turn(lanes, pace);
        if (done < 0) {
            return EXIT_FAILURE;
        }
        wait_for_work(lanes, pace, done > 0, while_waiting);
    }
    return EXIT_SUCCESS;
}

static void print_counters(const struct lane *lane)
{
    const struct wire_counters *counters = &lane->direction.counters;
    printf("from %s: entered %llu lost %llu overflowed %llu duplicated %llu corrupted %llu "
           "overtaking %llu not_sent %llu\n",
           lane->from, (unsigned long long)counters->entered, (unsigned long long)counters->lost,
           (unsigned long long)counters->overflowed, (unsigned long long)counters->duplicated,
           (unsigned long long)counters->corrupted, (unsigned long long)counters->overtaking,
           (unsigned long long)lane->not_sent);
}

/* A wire's delays must not depend on what else the machine does; good to have, not needed. */
static void become_prompt(void)
{
    struct sched_param priority = {.sched_priority = 1};
    (void)sched_setscheduler(0, SCHED_FIFO, &priority);
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

static void block_signals(sigset_t *before)
{
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, before);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        puts("usage: pno-wire " WIRE_CONFIG_HELP " DEVICE DEVICE\n"
             "Join two devices of this network namespace by an impaired wire, until SIGTERM.");
        return EXIT_SUCCESS;
    }
    if (argc != 4) {
        fputs("pno-wire: say the wire's settings and two devices ('pno-wire --help')\n", stderr);
        return 2;
    }
    struct wire_config config;
    char problem[512];
    if (!wire_config_parse(argv[1], &config, problem, sizeof(problem))) {
        fprintf(stderr, "pno-wire: %s\n", problem);
        return 2;
    }
    sigset_t before;
    block_signals(&before);
    struct lane lanes[2] = {0};
    int near = open_device(argv[2]);
    int far = near < 0 ? -1 : open_device(argv[3]);
    int status = EXIT_FAILURE;
    if (far >= 0 && lane_init(&lanes[0], argv[2], &config, 0) &&
        lane_init(&lanes[1], argv[3], &config, 1)) {
        lanes[0].in = lanes[1].out = near;
        lanes[1].in = lanes[0].out = far;
        become_prompt();
        puts("ready");
        (void)fflush(stdout);
        struct pace pace = pace_of(&config);
        status = work(lanes, &pace, &before);
        print_counters(&lanes[0]);
        print_counters(&lanes[1]);
    }
    lane_destroy(&lanes[0]);
    lane_destroy(&lanes[1]);
    return status;
}
