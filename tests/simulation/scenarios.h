/**
 * @file scenarios.h
 * What a run is about: each scenario draws its settings by chance, with stress on one thing.
 */
#ifndef PNO_SIMULATION_SCENARIOS_H
#define PNO_SIMULATION_SCENARIOS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stack.h"
#include "wire.h"

struct world;

#define SETTINGS_HOSTS_MAX 3

/** Chances are in parts per thousand. */
struct host_settings {
    struct tcp_defaults tcp;
    uint16_t mtu;
    uint32_t gso_bytes_max;
    uint32_t intervals_max, sent_records_max, connections_max;
    uint64_t late_max_ns;    /**< how late the embedder may call stack_advance() */
    uint64_t batch_delay_ns; /**< how long events and frames may lie before they are taken */
    uint64_t placement_max_ns;
    unsigned placement_delayed, payload_refused;
};

struct settings {
    unsigned host_count;
    bool is_ipv6;
    struct wire_settings wires[SETTINGS_HOSTS_MAX];
    struct host_settings hosts[SETTINGS_HOSTS_MAX];
    uint64_t heal_after_ns;
    unsigned connections;
    uint64_t connection_spacing_ns;
    uint32_t backlog;
    uint64_t accept_delay_max_ns;
    uint64_t bytes_min, bytes_max;      /**< of a stream */
    unsigned endings;                   /**< enum end_mix bits: which endings may be drawn */
    unsigned read_styles, write_styles; /**< bits by enum */
    uint64_t pause_max_ns;
    uint32_t receive_buffer, send_buffer; /**< fixed by socket option, 0 = auto-tuned */
    unsigned simultaneous, refused_port, to_self, fixed_port;
    unsigned changes_options, options_random;
    uint64_t idle_max_ns;
    bool keepalive;
    bool errors_permitted; /**< the wire may be bad enough to kill connections */
    bool dies;             /**< the wire never works again after heal_after_ns */
    bool lossless;         /**< no frame is lost or late: nothing may time out */
    bool restarts;
    bool attacked; /**< by forged segments */
    bool gives_up; /**< programs wait for a server only so long: a full back-log may forget them */
    unsigned more; /**< of writes with MSG_MORE */
    unsigned urgent;             /**< of writes that end in an urgent byte */
    uint64_t defer_accept_ns;    /**< TCP_DEFER_ACCEPT */
    bool through_before_healing; /**< what is wrong with the wire must hold nobody up for good */
    uint8_t features[2];         /**< enum-like numbers of feature_by_number(), 1 + each; 0: none */
    bool wraps_sequence, wraps_timestamp;
    bool wraps_accepted; /**< the accepting side's numbers, else the opening side's */
};

/** Bits of settings.endings. */
enum end_mix {
    END_MIX_CLEAN = 1,
    END_MIX_CLOSE_EARLY = 2,
    END_MIX_ABORT = 4,
    END_MIX_CLOSE_WHEN_DONE = 8,
    END_MIX_NEVER = 16,
};

struct scenario {
    const char *name;
    const char *what;
    void (*draw)(struct world *world, struct settings *settings);
    bool wraps; /**< the clock is set so that numbers wrap */
};

const struct scenario *scenario_by_name(const char *name);
const struct scenario *scenario_by_number(unsigned number); /**< NULL past the last */

/** Settings that every scenario starts from: two hosts, a plain wire, ordinary programs. */
void settings_draw_base(struct world *world, struct settings *settings);

#endif
