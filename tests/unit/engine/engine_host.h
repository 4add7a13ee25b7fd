/**
 * @file engine_host.h
 * An engine with nobody on its wire, and hosts that speak the link to it: what the tests of whole
 * sockets run on. Connections go to the engine's own address and turn round inside.
 */
#ifndef PNO_TESTS_UNIT_ENGINE_ENGINE_HOST_H
#define PNO_TESTS_UNIT_ENGINE_ENGINE_HOST_H

#include <stdbool.h>

#include "engine/engine_core.h"
#include "engine/tenant.h"

#define HOST_EVENTS_KEPT 4096

/** One process of a tenant with one channel, and the events of core 0 it has taken off its ring. */
struct host {
    struct tenant *tenant;
    struct process *process;
    struct channel *channel;
    struct link_producer to_engine[LINK_CORES_MAX];
    struct link_consumer to_host;
    struct link_descriptor events[HOST_EVENTS_KEPT];
    unsigned event_count, events_seen;
    uint32_t next_request_id;
};

/** Start the engine with so many cores, which may share a CPU; once per program. */
struct engine *engine_host_start(unsigned core_count);
void engine_host_stop(void);

/** The engine's own IPv4 address. */
struct ip_address engine_host_address(void);

/** A new tenant with one process. */
void host_open(struct host *host);

/** A process forked from parent. */
void host_fork(struct host *host, const struct host *parent);

/** The process dies. */
void host_kill(struct host *host);

/** A tenant whose processes have died is taken down, as the control thread does; waits for it. */
void host_take_down(struct tenant *tenant);

void host_push(struct host *host, struct link_descriptor *descriptor);

/** To another core than the first. @return false: its ring is full. */
bool host_try_push_to(struct host *host, unsigned core, struct link_descriptor *descriptor);

/** Take what is in the ring. */
void host_drain(struct host *host);

/**
 * The next event of this type for this slot, waiting up to some seconds; events of other kinds are
 * passed over. The test fails when it does not come.
 */
struct link_descriptor host_expect(struct host *host, enum link_event type, uint32_t slot);

/** That no event of this type for this slot came since the last expectation. */
void host_expect_none(struct host *host, enum link_event type, uint32_t slot);

/** Push a request and wait for its answer. */
struct link_descriptor host_call(struct host *host, struct link_descriptor *request);

/** A listener in the slot; @return its port. */
uint16_t host_listen(struct host *host, uint32_t slot);

/** Connect the slot to the port; @return what the engine answers. */
struct link_descriptor host_connect(struct host *host, uint32_t slot, uint16_t port);

/** Accept on the listener. @return the connection's name. */
struct link_socket_name host_accept(struct host *host, uint32_t listener_slot);

/** Put bytes into the host region at `place` and send them. */
void host_send(struct host *host, struct link_socket_name name, uint64_t stream_offset,
               uint64_t place, const void *bytes, uint32_t length);

void host_close(struct host *host, struct link_socket_name name, uint64_t read_offset,
                uint8_t flags);

/** The bytes of a DATA event. */
const uint8_t *host_bytes(const struct host *host, const struct link_descriptor *event);

/** The one incarnation that these tests give their host slots. */
static inline struct link_socket_name host_name(uint32_t slot)
{
    return (struct link_socket_name){.slot = slot, .incarnation = 1};
}

#endif
