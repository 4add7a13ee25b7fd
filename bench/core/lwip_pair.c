/*
 * Two lwIP stacks back to back, over a netif pair: their applications use the raw API, as lwIP
 * advises where speed matters.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "lwip_library.h"
#include "pair.h"

/** Connections set up at a time. */
#define SET_UP_BATCH 64
/** Frames on the wire to one end: more than any window. */
#define WIRE_FRAMES     1024
#define TICK_NS         (UINT64_C(1000000) * TCP_TMR_INTERVAL)
#define TIME_WAIT_TICKS (2 * TCP_MSL / TCP_TMR_INTERVAL + 8)
#define ETHERTYPE_BYTE  12
#define PROTOCOL_BYTE   23

/** What an application keeps of a connection. */
struct peer {
    struct end *end;
    struct tcp_pcb *pcb;
    uint64_t to_send_end; /**< stream offset up to which it wants to send */
    uint64_t sent, received;
    bool established, fin;
    bool answers;
};

struct end {
    struct lwip_library lwip;
    struct netif netif;
    struct end *other;
    struct tcp_pcb *idle; /**< while setting up: established connections, out of lwIP's list */
    uint32_t frame_first, frame_end; /**< on the wire to this end */
    struct pbuf *frames[WIRE_FRAMES];
};

static struct end client, server;
static uint64_t now_ns, next_tick_ns = TICK_NS;
static uint64_t segments;
static double idle_bytes;
static bool failed;

static struct peer *clients, *servers; /* of the established connections, by number */
static uint32_t accepted_count;
static struct peer open_close_client, open_close_server;

/* ---- Applications ------------------------------------------------------------------------- */

/** Give the stack as much as its send buffer takes. */
static void peer_send(struct peer *peer)
{
    while (peer->sent < peer->to_send_end) {
        uint64_t wanted = peer->to_send_end - peer->sent;
        uint64_t chunk = PAIR_PATTERN_BYTES - peer->sent % PAIR_PATTERN_BYTES;
        uint64_t room = tcp_sndbuf(peer->pcb);
        chunk = chunk < wanted ? chunk : wanted;
        chunk = chunk < room ? chunk : room;
        chunk = chunk < UINT16_MAX ? chunk : UINT16_MAX;
        if (chunk == 0 || peer->end->lwip.tcp_write(peer->pcb, pair_pattern(peer->sent),
                                                    (u16_t)chunk, TCP_WRITE_FLAG_COPY) != ERR_OK)
            break;
        peer->sent += chunk;
    }
}

static err_t on_sent(void *argument, struct tcp_pcb *pcb, u16_t length)
{
    (void)pcb, (void)length;
    peer_send(argument);
    return ERR_OK;
}

static err_t on_received(void *argument, struct tcp_pcb *pcb, struct pbuf *first, err_t error)
{
    struct peer *peer = argument;
    const struct lwip_library *lwip = &peer->end->lwip;
    if (error != ERR_OK)
        failed = true;
    if (first == NULL) {
        peer->fin = true;
        if (peer == &open_close_server && lwip->tcp_close(pcb) != ERR_OK)
            failed = true;
        return ERR_OK;
    }
    for (const struct pbuf *p = first; p != NULL; p = p->next) {
        if (!pair_take(peer->received, p->payload, p->len))
            failed = true;
        peer->received += p->len;
    }
    lwip->tcp_recved(pcb, first->tot_len);
    lwip->pbuf_free(first);
    if (peer->answers) {
        peer->to_send_end = peer->received;
        peer_send(peer);
    }
    return ERR_OK;
}

static void on_error(void *argument, err_t error)
{
    (void)argument, (void)error;
    failed = true;
}

static err_t on_connected(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct peer *peer = argument;
    (void)pcb;
    peer->established = error == ERR_OK;
    return ERR_OK;
}

static void peer_attach(struct peer *peer, struct end *end, struct tcp_pcb *pcb)
{
    *peer = (struct peer){.end = end, .pcb = pcb};
    end->lwip.tcp_arg(pcb, peer);
    end->lwip.tcp_recv(pcb, on_received);
    end->lwip.tcp_sent(pcb, on_sent);
    end->lwip.tcp_err(pcb, on_error);
}

/** argument: NULL for the established connections; else the peer of the others. */
static err_t on_accept(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct peer *peer = argument == NULL ? &servers[accepted_count++] : argument;
    if (error != ERR_OK) {
        failed = true;
        return error;
    }
    peer_attach(peer, &server, pcb);
    peer->answers = argument != NULL;
    return ERR_OK;
}

/* ---- Wire --------------------------------------------------------------------------------- */

/** The wire copies the frame into memory of the receiving end: of PBUF_RAM, since blocks of the
    packaged PBUF_POOL are smaller than a full frame (616 bytes) though they claim not to be. */
static err_t link_output(struct netif *netif, struct pbuf *first)
{
    struct end *from = netif->state;
    struct end *to = from->other;
    struct pbuf *copy = to->lwip.pbuf_alloc(PBUF_RAW, first->tot_len, PBUF_RAM);
    if (copy == NULL || copy->next != NULL || to->frame_end - to->frame_first == WIRE_FRAMES) {
        failed = true;
        return ERR_MEM;
    }
    uint8_t *at = copy->payload;
    for (const struct pbuf *p = first; p != NULL; p = p->next) {
        memcpy(at, p->payload, p->len);
        at += p->len;
    }
    to->frames[to->frame_end++ % WIRE_FRAMES] = copy;
    return ERR_OK;
}

static void deliver(struct end *end, struct pbuf *frame)
{
    const uint8_t *bytes = frame->payload;
    now_ns += PAIR_FRAME_NS;
    if (bytes[ETHERTYPE_BYTE] == ETHTYPE_IP >> 8 && bytes[ETHERTYPE_BYTE + 1] == 0 &&
        bytes[PROTOCOL_BYTE] == IP_PROTO_TCP)
        segments++;
    if (end->netif.input(frame, &end->netif) != ERR_OK)
        failed = true;
}

static void tick(void)
{
    next_tick_ns += TICK_NS;
    client.lwip.tcp_tmr();
    server.lwip.tcp_tmr();
}

static uint32_t deliver_burst(struct end *end)
{
    uint32_t count = end->frame_end - end->frame_first;
    if (count > PAIR_BURST_FRAMES)
        count = PAIR_BURST_FRAMES;
    for (uint32_t i = 0; i < count; i++)
        deliver(end, end->frames[end->frame_first++ % WIRE_FRAMES]);
    return count;
}

/** A burst each way. @return frames moved. */
static uint32_t exchange(void)
{
    uint32_t moved = deliver_burst(&server);
    moved += deliver_burst(&client);
    if (now_ns >= next_tick_ns)
        tick();
    return moved;
}

/** Nothing on the wire: go on to the next timer. */
static void jump(void)
{
    now_ns = next_tick_ns;
    tick();
}

static bool run_until_received(const struct peer *peer, uint64_t offset)
{
    while (peer->received < offset && !failed)
        if (exchange() == 0)
            jump();
    return !failed;
}

static bool run_until(const bool *flag)
{
    while (!*flag && !failed)
        if (exchange() == 0)
            jump();
    return !failed;
}

static void run_until_quiet(void)
{
    while (exchange() > 0)
        ;
}

/* ---- Setting up --------------------------------------------------------------------------- */

static err_t netif_begin(struct netif *netif)
{
    struct end *end = netif->state;
    netif->name[0] = 'b';
    netif->name[1] = 'c';
    netif->mtu = PAIR_MTU;
    netif->hwaddr_len = ETH_HWADDR_LEN;
    memcpy(netif->hwaddr, (const uint8_t[6]){2, 0, 0, 0, 0, end == &client ? 1 : 2}, 6);
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
    netif->output = end->lwip.etharp_output;
    netif->linkoutput = link_output;
    return ERR_OK;
}

static ip_addr_t address_of(const struct end *end)
{
    static const uint8_t addresses[2][4] = {{PAIR_CLIENT_IPV4_OCTETS}, {PAIR_SERVER_IPV4_OCTETS}};
    const uint8_t *bytes = addresses[end == &client ? 0 : 1];
    ip_addr_t address;
    IP_ADDR4(&address, bytes[0], bytes[1], bytes[2], bytes[3]);
    return address;
}

static bool end_create(struct end *end, struct end *other)
{
    ip_addr_t address = address_of(end);
    ip4_addr_t mask, gateway = {0};
    IP4_ADDR(&mask, 255, 255, 255, 0);
    end->other = other;
    end->lwip.lwip_init();
    if (end->lwip.netif_add(&end->netif, ip_2_ip4(&address), &mask, &gateway, end, netif_begin,
                            end->lwip.ethernet_input) == NULL)
        return false;
    end->lwip.netif_set_default(&end->netif);
    end->lwip.netif_set_up(&end->netif);
    end->lwip.netif_set_link_up(&end->netif);
    return true;
}

static bool listen_on(uint16_t port, struct peer *user)
{
    ip_addr_t address = address_of(&server);
    struct tcp_pcb *pcb = server.lwip.tcp_new();
    if (pcb == NULL || server.lwip.tcp_bind(pcb, &address, port) != ERR_OK ||
        (pcb = server.lwip.tcp_listen_with_backlog(pcb, 255)) == NULL)
        return false;
    server.lwip.tcp_arg(pcb, user);
    server.lwip.tcp_accept(pcb, on_accept);
    return true;
}

/** local_port 0: chosen by lwIP. */
static bool open_connection(struct peer *peer, uint16_t local_port, uint16_t remote_port)
{
    ip_addr_t local = address_of(&client), remote = address_of(&server);
    struct tcp_pcb *pcb = client.lwip.tcp_new();
    if (pcb == NULL)
        return false;
    peer_attach(peer, &client, pcb);
    if (local_port != 0 && client.lwip.tcp_bind(pcb, &local, local_port) != ERR_OK)
        return false;
    return client.lwip.tcp_connect(pcb, &remote, remote_port, on_connected) == ERR_OK;
}

/** lwIP searches all its connections for every port taken and SYN received, so that opening
    100,000 would take an hour: while setting up they lie aside. */
static void set_aside(struct end *end)
{
    struct tcp_pcb **last = end->lwip.tcp_active_pcbs;
    while (*last != NULL)
        last = &(*last)->next;
    *last = end->idle;
    end->idle = *end->lwip.tcp_active_pcbs;
    *end->lwip.tcp_active_pcbs = NULL;
}

static bool open_all(uint32_t connections)
{
    for (uint32_t i = 0; i < connections; i++) {
        uint32_t port = PAIR_CLIENT_PORT_FIRST + i % PAIR_CLIENTS_PER_PORT;
        uint32_t server_port = PAIR_SERVER_PORT_FIRST + i / PAIR_CLIENTS_PER_PORT;
        if (!open_connection(&clients[i], (uint16_t)port, (uint16_t)server_port))
            return false;
        while (accepted_count <= i && !failed)
            if (exchange() == 0)
                jump();
        if (failed)
            return false;
        if (i % SET_UP_BATCH == SET_UP_BATCH - 1) {
            run_until_quiet();
            set_aside(&client);
            set_aside(&server);
        }
    }
    run_until_quiet();
    set_aside(&client);
    set_aside(&server);
    *client.lwip.tcp_active_pcbs = client.idle;
    *server.lwip.tcp_active_pcbs = server.idle;
    return !failed;
}

static bool lwip_set_up(uint32_t connections)
{
    struct lwip_library libraries[2];
    clients = calloc(connections, sizeof(*clients));
    servers = calloc(connections, sizeof(*servers));
    if (clients == NULL || servers == NULL || !lwip_library_load(libraries, 2))
        return false;
    client.lwip = libraries[0];
    server.lwip = libraries[1];
    if (!end_create(&client, &server) || !end_create(&server, &client))
        return false;
    for (unsigned i = 0; i < PAIR_SERVER_PORTS; i++)
        if (!listen_on((uint16_t)(PAIR_SERVER_PORT_FIRST + i), NULL))
            return false;
    if (!listen_on(PAIR_OPEN_CLOSE_PORT, &open_close_server))
        return false;
    run_until_quiet();
    size_t before = mallinfo2().uordblks;
    if (!open_all(connections))
        return false;
    idle_bytes = (double)(mallinfo2().uordblks - before) / 2 / connections;
    return true;
}

/* ---- Work --------------------------------------------------------------------------------- */

static bool client_send(struct peer *peer, uint64_t bytes)
{
    peer->to_send_end += bytes;
    peer_send(peer);
    return client.lwip.tcp_output(peer->pcb) == ERR_OK;
}

static bool lwip_bulk(uint32_t connection, uint64_t bytes)
{
    struct peer *from = &clients[connection];
    return client_send(from, bytes) && run_until_received(&servers[connection], from->to_send_end);
}

static bool lwip_echo(uint32_t connection)
{
    struct peer *from = &clients[connection];
    servers[connection].answers = true;
    return client_send(from, PAIR_ECHO_BYTES) && run_until_received(from, from->to_send_end);
}

static bool lwip_open_close(void)
{
    struct peer *peer = &open_close_client;
    if (!open_connection(peer, 0, PAIR_OPEN_CLOSE_PORT) || !run_until(&peer->established) ||
        !client_send(peer, PAIR_ECHO_BYTES) || !run_until_received(peer, PAIR_ECHO_BYTES) ||
        client.lwip.tcp_close(peer->pcb) != ERR_OK)
        return false;
    run_until_quiet();
    return open_close_server.fin && !failed;
}

/** Its timers look at every connection at every tick: the idle ones lie aside meanwhile. */
static bool lwip_rest(void)
{
    struct tcp_pcb *client_idle = *client.lwip.tcp_active_pcbs;
    struct tcp_pcb *server_idle = *server.lwip.tcp_active_pcbs;
    *client.lwip.tcp_active_pcbs = NULL;
    *server.lwip.tcp_active_pcbs = NULL;
    for (unsigned i = 0; i < TIME_WAIT_TICKS; i++)
        jump();
    *client.lwip.tcp_active_pcbs = client_idle;
    *server.lwip.tcp_active_pcbs = server_idle;
    return !failed;
}

static uint64_t lwip_segments(void)
{
    return segments;
}

static double lwip_bytes_per_idle_connection(void)
{
    return idle_bytes;
}

const struct pair_operations lwip_pair = {
    .name = "lwip",
    .set_up = lwip_set_up,
    .bulk = lwip_bulk,
    .echo = lwip_echo,
    .open_close = lwip_open_close,
    .rest = lwip_rest,
    .segments = lwip_segments,
    .bytes_per_idle_connection = lwip_bytes_per_idle_connection,
};
