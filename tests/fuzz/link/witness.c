#include "fuzz/link/witness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_core.h"
#include "fuzz/link/clock.h"

/** Rounds of the engine, a millisecond each, within which an answer must come. */
#define PATIENCE_ROUNDS 3000

#define SPEECH_BYTES 3000

static void fail(const char *what)
{
    (void)fprintf(stderr, "link-descriptors: the honest tenant: %s\n", what);
    abort();
}

static void push(struct witness *witness, struct link_descriptor *descriptor)
{
    if (!link_producer_push(&witness->host.processes[0].to_engine, descriptor))
        fail("its ring is full");
}

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 31 + (offset >> 8));
}

static void hear_data(struct witness *witness, const struct link_descriptor *event)
{
    const struct tenant *tenant = witness->host.tenant;
    if (event->socket.slot != witness->accepted.slot)
        fail("bytes came to a socket that nobody sent to");
    for (uint64_t i = 0; i < event->data.length; i++) {
        uint64_t offset = event->data.stream_offset + i;
        if (offset >= witness->sent)
            fail("bytes came that it has not sent");
        if (tenant->arena.base[event->data.arena_offset + i] != byte_at(offset))
            fail("a byte is wrong");
    }
    uint64_t end = event->data.stream_offset + event->data.length;
    if (event->data.stream_offset > witness->received)
        fail("bytes are missing");
    if (end > witness->received)
        witness->received = end;
    struct link_descriptor consumed = {.type = LINK_OP_CONSUMED, .socket = witness->accepted};
    consumed.data.stream_offset = witness->received;
    push(witness, &consumed);
}

static void hear(struct witness *witness, const struct link_descriptor *event)
{
    switch (event->type) {
    case LINK_EVENT_REPLY:
        if (event->error != 0)
            fail(strerror(event->error));
        witness->bound = true;
        witness->listening = witness->listening || event->request_id == 2;
        break;
    case LINK_EVENT_ESTABLISHED:
        witness->established = true;
        break;
    case LINK_EVENT_ACCEPT:
        witness->accepted =
            (struct link_socket_name){event->endpoints.accept_slot, event->accept_incarnation};
        struct link_descriptor taken = {.type = LINK_OP_ACCEPTED, .socket = witness->accepted};
        taken.option.value = witness->listener.slot;
        push(witness, &taken);
        break;
    case LINK_EVENT_SENT:
        if (event->socket.slot == witness->client.slot)
            witness->acknowledged = event->data.stream_offset;
        break;
    case LINK_EVENT_DATA:
        hear_data(witness, event);
        break;
    case LINK_EVENT_ERROR:
        fail("its connection failed");
        break;
    default:
        break;
    }
}

static void run(struct witness *witness, struct engine *engine)
{
    struct link_descriptor event;
    struct link_consumer *to_host = &witness->host.processes[0].to_host;
    fuzz_clock_advance(NS_PER_MS);
    (void)engine_core_round(engine->cores[0]);
    while (link_consumer_pop(to_host, &event))
        hear(witness, &event);
    link_consumer_report(to_host);
}

void witness_open(struct witness *witness, struct engine *engine, const struct ip_endpoint *server)
{
    memset(witness, 0, sizeof(*witness));
    fuzz_host_open(&witness->host, engine, 1);
    witness->server = *server;
    witness->listener = (struct link_socket_name){0, 1};
    witness->client = (struct link_socket_name){1, 1};
    struct link_descriptor descriptor = {
        .type = LINK_OP_BIND, .socket = witness->listener, .request_id = 1};
    descriptor.endpoints.local = server->address;
    descriptor.endpoints.local_port = server->port;
    push(witness, &descriptor);
    descriptor = (struct link_descriptor){
        .type = LINK_OP_LISTEN, .socket = witness->listener, .request_id = 2};
    descriptor.option.value = 8;
    push(witness, &descriptor);
    descriptor = (struct link_descriptor){.type = LINK_OP_CONNECT, .socket = witness->client};
    descriptor.endpoints.local = server->address;
    descriptor.endpoints.remote = server->address;
    descriptor.endpoints.remote_port = server->port;
    push(witness, &descriptor);
    for (unsigned i = 0; i < PATIENCE_ROUNDS; i++) {
        run(witness, engine);
        if (witness->established && witness->accepted.incarnation != 0)
            return;
    }
    fail("its connection was never established");
}

void witness_speak(struct witness *witness, struct engine *engine)
{
    const struct tenant *tenant = witness->host.tenant;
    /* All before has been acknowledged: its place can be used again. */
    uint64_t place = tenant->layout.host_region;
    for (uint64_t i = 0; i < SPEECH_BYTES; i++)
        tenant->arena.base[place + i] = byte_at(witness->sent + i);
    struct link_descriptor send = {.type = LINK_OP_SEND, .socket = witness->client};
    send.data.stream_offset = witness->sent;
    send.data.arena_offset = place;
    send.data.length = SPEECH_BYTES;
    witness->sent += SPEECH_BYTES;
    push(witness, &send);
    for (unsigned i = 0; witness->received < witness->sent || witness->acknowledged < witness->sent;
         i++) {
        if (i == PATIENCE_ROUNDS)
            fail("its bytes don't arrive");
        run(witness, engine);
    }
}
