/* What options do, beyond what reads back; and what is read of a connection. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

static void use_up_descriptors(void)
{
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        say_result("setrlimit", -1);
    while (dup(STDIN_FILENO) >= 0)
        ;
    say_result("dup", dup(STDIN_FILENO));
}

/* Nothing of it needs a descriptor. */
static void options_without_descriptors(const struct case_context *context)
{
    int pair[2];
    int one = 1;
    char byte;
    struct timeval timeout = {.tv_usec = 40000};
    struct linger linger = {.l_onoff = 1, .l_linger = 3};
    make_pair(context, pair);
    use_up_descriptors();
    for (int i = 0; i < 2; i++) {
        int fd = pair[i];
        int number = 20;
        say_result("SO_RCVTIMEO",
                   setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)));
        say_result("SO_SNDTIMEO",
                   setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)));
        say_result("SO_LINGER", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
        say_result("SO_REUSEADDR", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
        say_result("SO_OOBINLINE", setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)));
        say_result("SO_KEEPALIVE", setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)));
        say_result("SO_RCVLOWAT", setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one)));
        say_result("TCP_NODELAY", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
        say_result("TCP_KEEPIDLE", setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &number, 4));
        say_result("TCP_USER_TIMEOUT",
                   setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &number, sizeof(number)));
        say_result("TCP_NOTSENT_LOWAT",
                   setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &number, sizeof(number)));
        say_result("read", read(fd, &byte, 1));
    }
    close_pair(pair);
}

static void timeouts_read_back(const struct case_context *context)
{
    static const struct timeval timeouts[] = {{0, 0},       {0, 1},   {0, 999999}, {1, 500},
                                              {3, 1000000}, {0, -1},  {-1, 0},     {-5, 5},
                                              {100, 7000},  {0, 4000}};
    static const int names[] = {SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW};
    int pair[2];
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        for (size_t name = 0; name < 4; name++) {
            for (size_t t = 0; t < sizeof(timeouts) / sizeof(timeouts[0]); t++) {
                struct timeval got = {77, 77};
                socklen_t length = sizeof(got);
                say_result("set", setsockopt(pair[i], SOL_SOCKET, names[name], &timeouts[t],
                                             sizeof(timeouts[t])));
                say_result("get", getsockopt(pair[i], SOL_SOCKET, names[name], &got, &length));
                say("  %ld s %ld us, length %d", (long)got.tv_sec, (long)got.tv_usec, (int)length);
            }
            struct timeval timeout = {0};
            say_result("short", setsockopt(pair[i], SOL_SOCKET, names[name], &timeout, 8));
        }
    }
    close_pair(pair);
}

static void newer_name_of_a_timeout(const struct case_context *context)
{
    int pair[2];
    char byte;
    struct timeval timeout = {.tv_usec = 30000};
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        say_result("set", setsockopt(pair[i], SOL_SOCKET, SO_RCVTIMEO_NEW, &timeout, 16));
        say_result("read", read(pair[i], &byte, 1));
    }
    close_pair(pair);
}

static void linger_reads_back(const struct case_context *context)
{
    static const struct linger lingers[] = {{1, 5}, {0, 9}, {7, 2}, {0, 0}, {1, 0}};
    int pair[2];
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        for (size_t l = 0; l < sizeof(lingers) / sizeof(lingers[0]); l++) {
            struct linger got;
            socklen_t length = sizeof(got);
            setsockopt(pair[i], SOL_SOCKET, SO_LINGER, &lingers[l], sizeof(lingers[l]));
            getsockopt(pair[i], SOL_SOCKET, SO_LINGER, &got, &length);
            say("%d %d", got.l_onoff, got.l_linger);
        }
    }
    close_pair(pair);
}

static void peer_name_as_an_option(const struct case_context *context)
{
    int pair[2];
    struct sockaddr_storage name, option;
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        socklen_t length = sizeof(name);
        getpeername(pair[i], (struct sockaddr *)&name, &length);
        socklen_t option_length = length;
        say_result("SO_PEERNAME",
                   getsockopt(pair[i], SOL_SOCKET, SO_PEERNAME, &option, &option_length));
        say("same: %d", option_length == length && memcmp(&name, &option, length) == 0);
    }
    close_pair(pair);
}

/* A v6 socket with a v4 peer becomes a v4 socket. */
static void address_form(const struct case_context *context)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    struct sockaddr_storage name;
    socklen_t length = sizeof(address);
    int family = AF_INET, got = 0;
    if (context->family != AF_INET6)
        return;
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
    int listener = make_socket(context, 0);
    bind(listener, (struct sockaddr *)&address, sizeof(address));
    listen(listener, 1);
    getsockname(listener, (struct sockaddr *)&address, &length);
    int fd = make_socket(context, 0);
    say_result("not connected", setsockopt(fd, IPPROTO_IPV6, IPV6_ADDRFORM, &family, 4));
    say_result("connect", connect(fd, (struct sockaddr *)&address, sizeof(address)));
    int accepted = accept(listener, NULL, NULL);
    int fds[2] = {fd, accepted};
    for (int i = 0; i < 2; i++) {
        length = sizeof(got);
        say_result("get", getsockopt(fds[i], IPPROTO_IPV6, IPV6_ADDRFORM, &got, &length));
        say("form %d", got);
        say_result("set", setsockopt(fds[i], IPPROTO_IPV6, IPV6_ADDRFORM, &family, 4));
        length = sizeof(name);
        getpeername(fds[i], (struct sockaddr *)&name, &length);
        say("peer's family %d, length %d", name.ss_family, (int)length);
        length = sizeof(got);
        getsockopt(fds[i], SOL_SOCKET, SO_DOMAIN, &got, &length);
        say("domain %d", got);
    }
    say_result("write", write(fd, "x", 1));
    wait_for(accepted, POLLIN);
    say_result("read", read(accepted, &name, 1));
    close(accepted);
    close(fd);
    close(listener);
    int pair[2];
    make_pair(context, pair);
    say_result("of a v6 peer", setsockopt(pair[0], IPPROTO_IPV6, IPV6_ADDRFORM, &family, 4));
    say_result("of a v6 peer", setsockopt(pair[1], IPPROTO_IPV6, IPV6_ADDRFORM, &family, 4));
    close_pair(pair);
}

/* What a connection that has carried a known exchange says of itself. */
static void info_of_a_quiet_connection(const struct case_context *context)
{
    int pair[2];
    char bytes[1000] = "";
    make_pair(context, pair);
    (void)!write(pair[0], bytes, 1000);
    (void)!recv(pair[1], bytes, 1000, MSG_WAITALL);
    (void)!write(pair[1], bytes, 300);
    (void)!recv(pair[0], bytes, 300, MSG_WAITALL);
    usleep(300000);
    for (int i = 0; i < 2; i++) {
        struct tcp_info info;
        socklen_t length = sizeof(info);
        memset(&info, 0, sizeof(info));
        getsockopt(pair[i], IPPROTO_TCP, TCP_INFO, &info, &length);
        say("state %u, ca_state %u, retransmits %u, probes %u, backoff %u", info.tcpi_state,
            info.tcpi_ca_state, info.tcpi_retransmits, info.tcpi_probes, info.tcpi_backoff);
        say("options %x", info.tcpi_options & ~8u); /* ECN is the peers' choice */
        say("unacked %u, sacked %u, lost %u, retrans %u, fackets %u, total_retrans %u",
            info.tcpi_unacked, info.tcpi_sacked, info.tcpi_lost, info.tcpi_retrans,
            info.tcpi_fackets, info.tcpi_total_retrans);
        say("bytes acked %llu, received %llu, sent %llu, retrans %llu",
            (unsigned long long)info.tcpi_bytes_acked, (unsigned long long)info.tcpi_bytes_received,
            (unsigned long long)info.tcpi_bytes_sent, (unsigned long long)info.tcpi_bytes_retrans);
        say("data segments out %u, in %u, notsent %u", info.tcpi_data_segs_out,
            info.tcpi_data_segs_in, info.tcpi_notsent_bytes);
        say("dsack %u, reord_seen %u, ooopack %u, reordering %u", info.tcpi_dsack_dups,
            info.tcpi_reord_seen, info.tcpi_rcv_ooopack, info.tcpi_reordering);
        say("delivered %u, delivered_ce %u", info.tcpi_delivered, info.tcpi_delivered_ce);
        say("ssthresh %u, app limited %u", info.tcpi_snd_ssthresh,
            info.tcpi_delivery_rate_app_limited);
        say("limited by window %llu, by buffer %llu", (unsigned long long)info.tcpi_rwnd_limited,
            (unsigned long long)info.tcpi_sndbuf_limited);
        say("rto %d, rtt %d, min_rtt %d, rttvar %d, pacing %d, wnd %d, mss %d, advmss %d",
            info.tcpi_rto >= 200000 && info.tcpi_rto<300000, info.tcpi_rtt> 0,
            info.tcpi_min_rtt > 0, info.tcpi_rttvar > 0, info.tcpi_max_pacing_rate == UINT64_MAX,
            info.tcpi_snd_wnd > 0, info.tcpi_snd_mss >= 512, info.tcpi_advmss >= 512);
        say("quiet for %d %d %d", info.tcpi_last_data_sent >= 250, info.tcpi_last_data_recv >= 250,
            info.tcpi_last_ack_recv >= 200);
        say("windows scaled %d %d", info.tcpi_snd_wscale > 0, info.tcpi_rcv_wscale > 0);
    }
    close_pair(pair);
}

/* Room for a quarter of what larger_buffer() gives. */
static void small_buffer(int fd)
{
    int bytes = 40000;
    say_result("SO_SNDBUF", setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)));
}

static void larger_buffer(int fd)
{
    int bytes = 160000;
    say_result("SO_SNDBUF", setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)));
}

/* Until neither the peer nor the send buffer takes more; the next window probe is far. */
static void fill_for_good(int fd)
{
    static char bytes[1 << 16];
    for (int quiet = 0; quiet < 7; quiet++) {
        while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
            quiet = 0;
        poll(NULL, 0, 100);
    }
}

static void larger_buffer_is_an_event(const struct case_context *context)
{
    int pair[2];
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    make_pair(context, pair);
    small_buffer(pair[0]);
    fill_for_good(pair[0]);
    int set = epoll_create1(0);
    say_result("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, pair[0], &event));
    say_result("epoll_wait", epoll_wait(set, &event, 1, 0));
    larger_buffer(pair[0]);
    say_result("epoll_wait", epoll_wait(set, &event, 1, 0));
    say_events("events", event.events);
    say_result("epoll_wait", epoll_wait(set, &event, 1, CASE_QUIET_MS));
    char byte = 0;
    say_result("send", send(pair[0], &byte, 1, MSG_DONTWAIT));
    close(set);
    close_pair(pair);
}

static void *send_byte(void *argument)
{
    const int *fd = argument;
    char byte = 0;
    bool sent = send(*fd, &byte, 1, MSG_NOSIGNAL) == 1;
    return sent ? argument : NULL;
}

static void larger_buffer_wakes_a_writer(const struct case_context *context)
{
    int pair[2];
    pthread_t writer;
    struct timespec until;
    make_pair(context, pair);
    small_buffer(pair[0]);
    fill_for_good(pair[0]);
    pthread_create(&writer, NULL, send_byte, &pair[0]);
    poll(NULL, 0, CASE_QUIET_MS);
    larger_buffer(pair[0]);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 400000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    void *sent = NULL;
    bool woken = pthread_timedjoin_np(writer, &sent, &until) == 0;
    say("woken at once: %d, sent: %d", woken, sent != NULL);
    if (!woken) {
        shutdown(pair[0], SHUT_RDWR);
        pthread_join(writer, NULL);
    }
    close_pair(pair);
}

const struct socket_case cases_option_effects[] = {
    {"options_without_descriptors", options_without_descriptors},
    {"timeouts_read_back", timeouts_read_back},
    {"newer_name_of_a_timeout", newer_name_of_a_timeout},
    {"linger_reads_back", linger_reads_back},
    {"peer_name_as_an_option", peer_name_as_an_option},
    {"address_form", address_form},
    {"info_of_a_quiet_connection", info_of_a_quiet_connection},
    {"larger_buffer_is_an_event", larger_buffer_is_an_event},
    {"larger_buffer_wakes_a_writer", larger_buffer_wakes_a_writer},
    {0},
};
