#include "attack.h"

#include <stdlib.h>
#include <string.h>

#include "core/tcp/receive.h"
#include "trace.h"
#include "world.h"

/** A forged segment, in the peer's name. */
struct forgery {
    uint32_t seq, ack;
    uint8_t flags;
    uint32_t payload_length;
    bool has_timestamp;
    uint32_t timestamp;
};

static void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static void put32(uint8_t *p, uint32_t value)
{
    put16(p, value >> 16);
    put16(p + 2, value & 0xffff);
}

static uint32_t put_ip(uint8_t *bytes, const struct ip_endpoint *from, const struct ip_endpoint *to,
                       uint32_t l4_length)
{
    uint8_t *ip = bytes + 14;
    (void)l4_length; /* frame_finish_tcp() writes lengths and checksums */
    if (!ip_address_is_v4(&from->address)) {
        put16(bytes + 12, 0x86dd);
        ip[0] = 0x60;
        ip[6] = 6;
        ip[7] = 64;
        memcpy(ip + 8, from->address.bytes, 16);
        memcpy(ip + 24, to->address.bytes, 16);
        return 14 + 40;
    }
    put16(bytes + 12, 0x0800);
    ip[0] = 0x45;
    ip[8] = 64;
    ip[9] = 6;
    memcpy(ip + 12, &from->address.bytes[12], 4);
    memcpy(ip + 16, &to->address.bytes[12], 4);
    return 14 + 20;
}

static void send_forgery(struct world *world, struct endpoint *victim,
                         const struct forgery *forgery)
{
    struct ip_endpoint local, remote;
    tcp_endpoints(victim->connection, &local, &remote);
    uint32_t header = forgery->has_timestamp ? 32 : 20;
    struct frame *frame = frame_new(14 + 40 + header + forgery->payload_length);
    memcpy(frame->bytes, victim->host->config.mac, 6);
    memcpy(frame->bytes + 6, (const uint8_t[]){2, 0, 0, 0, 0, 99}, 6);
    uint32_t l4 = put_ip(frame->bytes, &remote, &local, header + forgery->payload_length);
    uint8_t *tcp = frame->bytes + l4;
    put16(tcp, remote.port);
    put16(tcp + 2, local.port);
    put32(tcp + 4, forgery->seq);
    put32(tcp + 8, forgery->ack);
    tcp[12] = (uint8_t)(header / 4 << 4);
    tcp[13] = forgery->flags;
    put16(tcp + 14, (uint32_t)random_below(&world->random, 65536));
    if (forgery->has_timestamp) {
        memcpy(tcp + 20, (const uint8_t[]){1, 1, 8, 10}, 4);
        put32(tcp + 24, forgery->timestamp);
        put32(tcp + 28, victim->tsval);
    }
    frame->length = l4 + header + forgery->payload_length;
    frame->forged = true;
    frame->from = (uint8_t)world->settings.host_count;
    struct frame_view view = {
        .is_ipv6 = !ip_address_is_v4(&local.address), .l3_offset = 14, .l4_offset = l4};
    frame_finish_tcp(frame->bytes, frame->length, &view);
    trace_frame(world, victim->host->index, "forged", frame);
    world->coverage.forgeries++;
    host_receive(world, victim->host, frame, false);
    free(frame);
}

/** Near, but not exact: what RFC 5961 is about. */
static uint32_t near_miss(struct world *world)
{
    uint32_t distance = (uint32_t)random_log_between(&world->random, 2, 60000);
    return random_chance(&world->random, 700) ? distance : 0u - distance;
}

static void draw_forgery(struct world *world, const struct endpoint *victim,
                         const struct endpoint *peer, struct forgery *forgery)
{
    uint32_t expected =
        peer->iss + 1 + (uint32_t)tcp_received_offset(victim->connection) + victim->fin_arrived;
    uint32_t sent = victim->iss + 1 + (uint32_t)victim->written;
    /* Of nothing that was ever sent, or of what was sent long before this connection. */
    uint32_t bad_ack = random_chance(&world->random, 500)
                           ? sent + (uint32_t)random_log_between(&world->random, 2, 1 << 30)
                           : victim->iss - (1u << 30);
    /* A SYN may revive what is in TIME_WAIT (RFC 1122 §4.2.2.13): none for who sent its FIN. */
    uint64_t kind = random_below(&world->random, victim->shut_down ? 4 : 5);
    switch (kind) {
    case 0:
        *forgery = (struct forgery){.seq = expected + near_miss(world), .flags = TCP_RST};
        /* Who knows what was SACKed is not blind. */
        forgery->seq += tcp_sack_ends_at(victim->connection, seq_of(forgery->seq));
        break;
    case 4:
        *forgery = (struct forgery){.seq = expected + near_miss(world), .flags = TCP_SYN};
        break;
    case 1:
        *forgery = (struct forgery){.seq = expected, .ack = bad_ack, .flags = TCP_ACK | TCP_FIN};
        break;
    case 2: {
        /* Beyond the window offered, by more than rounding to the largest scale can hide. */
        uint32_t edge = peer->iss + 1 + (uint32_t)victim->offered_edge;
        *forgery = (struct forgery){.seq = edge, .ack = victim->iss + 1, .flags = TCP_ACK};
        forgery->seq += (uint32_t)random_between(&world->random, 20000, 60000);
        forgery->ack += (uint32_t)tcp_acked_offset(victim->connection);
        forgery->payload_length = (uint32_t)random_between(&world->random, 1, 500);
        break;
    }
    default:
        *forgery = (struct forgery){.seq = expected, .ack = bad_ack, .flags = TCP_ACK | TCP_PSH};
        forgery->payload_length = (uint32_t)random_between(&world->random, 0, 500);
    }
    if (victim->tsval_known && random_chance(&world->random, 500)) {
        forgery->has_timestamp = true;
        forgery->timestamp =
            victim->tsecr + (uint32_t)random_log_between(&world->random, 1, 1 << 28);
    }
}

static struct endpoint *draw_victim(struct world *world)
{
    struct endpoint *chosen = NULL;
    unsigned seen = 0;
    for (struct endpoint *e = world->endpoints; e != NULL; e = e->next) {
        const struct endpoint *peer = e->pair->endpoints[1 - e->side];
        bool alive = e->connection != NULL && e->established && e->iss_known && peer != NULL &&
                     peer->iss_known && !e->pair->reset_is_due;
        if (alive && random_below(&world->random, ++seen) == 0)
            chosen = e;
    }
    return chosen;
}

static void attack(struct world *world, void *context)
{
    (void)context;
    struct endpoint *victim = draw_victim(world);
    if (victim != NULL) {
        struct forgery forgery;
        draw_forgery(world, victim, victim->pair->endpoints[1 - victim->side], &forgery);
        send_forgery(world, victim, &forgery);
    }
    if (!world_healed(world))
        world_schedule(
            world, world->now_ns + random_log_between(&world->random, NS_PER_US, 200 * NS_PER_MS),
            attack, NULL);
}

void attack_begin(struct world *world)
{
    attack(world, NULL);
}
