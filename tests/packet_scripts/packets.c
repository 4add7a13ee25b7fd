#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"
#include "machine.h"

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

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/** Call change for every option's first byte. */
static void for_each_option(uint8_t *options, uint32_t length,
                            void (*change)(uint8_t *option, void *context), void *context)
{
    for (uint32_t i = 0; i < length && options[i] != 0;) {
        if (options[i] == 1) {
            i++;
            continue;
        }
        if (i + 1 >= length || options[i + 1] < 2 || i + options[i + 1] > length)
            return;
        change(&options[i], context);
        i += options[i + 1];
    }
}

/* ---- Headers ------------------------------------------------------------------------------ */

static uint32_t put_ip(struct machine *machine, uint8_t *bytes, uint8_t protocol,
                       uint32_t l4_length, uint8_t tos, uint8_t ttl)
{
    uint8_t *ip = bytes + 14;
    memcpy(bytes, machine->config.mac, 6);
    memcpy(bytes + 6, (const uint8_t[]){2, 0, 0, 0, 0, 2}, 6);
    if (machine->is_ipv6) {
        put16(bytes + 12, 0x86dd);
        ip[0] = (uint8_t)(0x60 | tos >> 4);
        ip[1] = (uint8_t)(tos << 4);
        put16(ip + 4, l4_length);
        ip[6] = protocol;
        ip[7] = ttl;
        memcpy(ip + 8, machine->remote.bytes, 16);
        memcpy(ip + 24, machine->local.bytes, 16);
        return 54;
    }
    put16(bytes + 12, 0x0800);
    ip[0] = 0x45;
    ip[1] = tos;
    put16(ip + 2, 20 + l4_length);
    put16(ip + 6, 0x4000);
    ip[8] = ttl;
    ip[9] = protocol;
    memcpy(ip + 12, &machine->remote.bytes[12], 4);
    memcpy(ip + 16, &machine->local.bytes[12], 4);
    put16(ip + 10, (uint16_t)~frame_sum_fold(frame_sum(ip, 20, 0)));
    return 34;
}

static void flow_begin(struct machine *machine)
{
    machine->flow_known = true;
    machine->local_isn_known = false;
    machine->local_port = machine->bind_port;
    machine->remote_port = (uint16_t)(MACHINE_REMOTE_PORT + machine->flows_begun++);
    machine->local_offset = machine->local_syn_offset = machine->remote_offset = 0;
    machine->script_flow_label = machine->live_flow_label = 0;
    machine->peer_max_window = machine->peer_window_shift = 0;
    machine->timestamp_count = 0;
    machine->first_timestamp_known = false;
}

void machine_flow_begin(struct machine *machine, uint16_t local_port, uint16_t remote_port)
{
    flow_begin(machine);
    machine->local_port = local_port;
    machine->remote_port = remote_port;
}

/* ---- Inbound ------------------------------------------------------------------------------ */

struct echo_mapping {
    struct machine *machine;
    bool failed;
    bool begins; /**< a SYN may echo what it likes */
};

/** What the far end offers: a sender's bursts depend on it. */
static void note_window(struct machine *machine, const struct packet_spec *spec)
{
    uint32_t window = spec->window;
    if ((spec->flags & TCP_SYN) != 0) {
        machine->peer_window_shift = 0;
        for (uint32_t i = 0; i < spec->options_length && spec->options[i] != 0;) {
            const uint8_t *o = spec->options + i;
            if (o[0] == 3 && i + 2 < spec->options_length)
                machine->peer_window_shift = o[2] < 14 ? o[2] : 14;
            i += o[0] == 1 || o[1] < 2 ? 1 : o[1];
        }
    } else {
        window <<= machine->peer_window_shift;
    }
    bool is_offer = (spec->flags & (TCP_SYN | TCP_ACK)) != TCP_SYN;
    if (is_offer && window > machine->peer_max_window)
        machine->peer_max_window = window;
}

static void map_inbound_option(uint8_t *option, void *context)
{
    struct echo_mapping *mapping = context;
    struct machine *machine = mapping->machine;
    if (option[0] == 5) {
        for (unsigned i = 2; i + 4 <= option[1]; i += 4)
            put32(option + i, get32(option + i) + machine->local_offset);
    } else if (option[0] == 8 && option[1] == 10) {
        uint32_t script = get32(option + 6);
        for (unsigned i = machine->timestamp_count; i-- > 0;) {
            if (machine->timestamps[i].script == script) {
                put32(option + 6, machine->timestamps[i].live);
                return;
            }
        }
        if (machine->first_timestamp_known)
            put32(option + 6,
                  script - machine->first_script_timestamp + machine->first_live_timestamp);
        else if (script != 0 && !mapping->begins)
            mapping->failed = true;
    }
}

/** As from a port that joins segments: however long, it is one. */
static struct frame *inbound_frame(struct machine *machine, const struct packet_spec *spec,
                                   struct echo_mapping *mapping)
{
    bool is_syn = (spec->flags & TCP_SYN) != 0;
    uint32_t length = spec->length;
    uint32_t header = 20 + spec->options_length;
    struct frame *frame = frame_new(54 + header + length);
    uint32_t l4 = put_ip(machine, frame->bytes, 6, header + length, spec->tos,
                         spec->has_ttl ? spec->ttl : 255);
    if (machine->is_ipv6 && spec->has_flow_label)
        put32(frame->bytes + 14,
              (6u << 28) | (uint32_t)spec->tos << 20 | (spec->flow_label & 0xfffff));
    uint8_t *tcp = frame->bytes + l4;
    put16(tcp, spec->source_port != 0 ? spec->source_port : machine->remote_port);
    put16(tcp + 2, spec->destination_port != 0 ? spec->destination_port : machine->local_port);
    put32(tcp + 4, spec->seq + (is_syn ? 0 : machine->remote_offset));
    if ((spec->flags & TCP_ACK) != 0)
        put32(tcp + 8, spec->ack + (is_syn ? machine->local_syn_offset : machine->local_offset));
    tcp[12] = (uint8_t)(header / 4 << 4 | spec->flags >> 8);
    tcp[13] = (uint8_t)spec->flags;
    put16(tcp + 14, spec->window);
    put16(tcp + 18, spec->urgent);
    memcpy(tcp + 20, spec->options, spec->options_length);
    for_each_option(tcp + 20, spec->options_length, map_inbound_option, mapping);
    frame->length = l4 + header + length;
    struct frame_view view = {.is_ipv6 = machine->is_ipv6, .l3_offset = 14, .l4_offset = l4};
    frame_finish_tcp(frame->bytes, frame->length, &view);
    return frame;
}

static int tcp_in(struct machine *machine, const struct script_event *event)
{
    const struct packet_spec *spec = &event->packet;
    if (!machine->flow_known && spec->source_port == 0)
        flow_begin(machine); /* whatever it is, it goes to who is bound */
    bool alive = machine->under_test != NULL && machine->under_test->established;
    if ((spec->flags & TCP_SYN) != 0 && !alive)
        machine->remote_offset = spec->seq;
    note_window(machine, spec);
    if (spec->length > UINT16_MAX - 120) {
        script_error_set(machine->problem, event->line, "a packet longer than IP's");
        return -1;
    }
    bool begins = (spec->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
    struct echo_mapping mapping = {.machine = machine, .begins = begins};
    struct frame *frame = inbound_frame(machine, spec, &mapping);
    if (!mapping.failed)
        machine_inject(machine, frame);
    free(frame);
    if (mapping.failed) {
        script_error_set(machine->problem, event->line,
                         "the echoed timestamp was never sent before");
        return -1;
    }
    machine_pump(machine);
    return 0;
}

struct icmp_name {
    const char *type, *code;
    uint8_t type_value, code_value;
};

static bool icmp_numbers(const struct packet_spec *spec, bool is_ipv6, uint8_t *type, uint8_t *code)
{
    static const struct icmp_name v4[] = {
        {"unreachable", NULL, 3, 0},
        {"time_exceeded", NULL, 11, 0},
        {"unreachable", "net_unreachable", 3, 0},
        {"unreachable", "host_unreachable", 3, 1},
        {"unreachable", "protocol_unreachable", 3, 2},
        {"unreachable", "port_unreachable", 3, 3},
        {"unreachable", "frag_needed", 3, 4},
        {"unreachable", "source_route_failed", 3, 5},
        {"unreachable", "net_unknown", 3, 6},
        {"unreachable", "host_unknown", 3, 7},
        {"unreachable", "source_host_isolated", 3, 8},
        {"unreachable", "net_prohibited", 3, 9},
        {"unreachable", "host_prohibited", 3, 10},
        {"unreachable", "net_unreachable_for_tos", 3, 11},
        {"unreachable", "host_unreachable_for_tos", 3, 12},
        {"unreachable", "packet_filtered", 3, 13},
        {"unreachable", "precedence_violation", 3, 14},
        {"unreachable", "precedence_cutoff", 3, 15},
        {"source_quench", NULL, 4, 0},
        {"redirect", NULL, 5, 0},
        {"time_exceeded", "exceeded_ttl", 11, 0},
        {"parameter_problem", NULL, 12, 0},
        {"echo_reply", NULL, 0, 0},
        {"timestamp_request", NULL, 13, 0},
        {"timestamp_reply", NULL, 14, 0},
        {"information_request", NULL, 15, 0},
        {"information_reply", NULL, 16, 0},
        {"address_mask_request", NULL, 17, 0},
        {"address_mask_reply", NULL, 18, 0},
    };
    static const struct icmp_name v6[] = {
        {"unreachable", NULL, 1, 0},
        {"time_exceeded", NULL, 3, 0},
        {"unreachable", "no_route", 1, 0},
        {"unreachable", "admin_prohibited", 1, 1},
        {"unreachable", "not_neighbour", 1, 2},
        {"unreachable", "address_unreachable", 1, 3},
        {"unreachable", "port_unreachable", 1, 4},
        {"unreachable", "net_unreachable", 1, 0},
        {"packet_too_big", NULL, 2, 0},
        {"time_exceeded", "exceeded_ttl", 3, 0},
        {"time_exceeded", "exceeded_hop_limit", 3, 0},
        {"time_exceeded", "exceeded_frag_time", 3, 1},
        {"parameter_problem", NULL, 4, 0},
        {"parameter_problem", "header_field", 4, 0},
        {"parameter_problem", "unknown_next_header", 4, 1},
        {"parameter_problem", "unknown_option", 4, 2},
        {"echo_reply", NULL, 129, 0},
    };
    const struct icmp_name *names = is_ipv6 ? v6 : v4;
    unsigned count = is_ipv6 ? sizeof(v6) / sizeof(v6[0]) : sizeof(v4) / sizeof(v4[0]);
    for (unsigned i = 0; i < count; i++) {
        bool same_code = spec->icmp_code == NULL
                             ? names[i].code == NULL
                             : names[i].code != NULL && strcmp(names[i].code, spec->icmp_code) == 0;
        if (strcmp(names[i].type, spec->icmp_type) == 0 && same_code) {
            *type = names[i].type_value;
            *code = names[i].code_value;
            return true;
        }
    }
    return false;
}

/** An ICMP error about a segment of the flow: its IP header and the first 20 bytes of TCP. */
static int icmp_in(struct machine *machine, const struct script_event *event)
{
    const struct packet_spec *spec = &event->packet;
    uint8_t type, code, bytes[256] = {0};
    if (!icmp_numbers(spec, machine->is_ipv6, &type, &code)) {
        script_error_set(machine->problem, event->line, "an ICMP message that can't be run");
        return -1;
    }
    uint32_t ip_bytes = machine->is_ipv6 ? 40 : 20;
    uint32_t length = 8 + ip_bytes + 20;
    uint32_t l4 = put_ip(machine, bytes, machine->is_ipv6 ? 58 : 1, length, 0, 255);
    uint8_t *message = bytes + l4, *quote = message + 8, inner[128] = {0};
    put_ip(machine, inner, 6, 20 + spec->echoed_length, 0, 64);
    memcpy(quote, inner + 14, ip_bytes);
    if (machine->is_ipv6) {
        memcpy(quote + 8, machine->local.bytes, 16);
        memcpy(quote + 24, machine->remote.bytes, 16);
    } else {
        memcpy(quote + 12, &machine->local.bytes[12], 4);
        memcpy(quote + 16, &machine->remote.bytes[12], 4);
        put16(quote + 10, 0);
        put16(quote + 10, (uint16_t)~frame_sum_fold(frame_sum(quote, 20, 0)));
    }
    put16(quote + ip_bytes, machine->local_port);
    put16(quote + ip_bytes + 2, machine->remote_port);
    put32(quote + ip_bytes + 4, spec->echoed_seq + machine->local_offset);
    quote[ip_bytes + 12] = 5 << 4;
    message[0] = type;
    message[1] = code;
    put32(message + 4, spec->icmp_id != 0 ? (uint32_t)spec->icmp_id << 16 : spec->icmp_mtu);
    uint64_t sum = machine->is_ipv6 ? frame_sum(bytes + 22, 32, 0) + length + 58 : 0;
    put16(message + 2, (uint16_t)~frame_sum_fold(frame_sum(message, length, sum)));
    struct frame *frame = frame_new(l4 + length);
    memcpy(frame->bytes, bytes, l4 + length);
    machine_inject(machine, frame);
    machine_pump(machine);
    free(frame);
    return 0;
}

int machine_packet_in(struct machine *machine, const struct script_event *event)
{
    return event->packet.kind == PACKET_ICMP ? icmp_in(machine, event) : tcp_in(machine, event);
}

/* ---- Outbound ----------------------------------------------------------------------------- */

bool machine_frame_is_under_test(const struct machine *machine, const struct frame *frame)
{
    struct frame_view view;
    frame_parse(frame->bytes, frame->length, &view);
    if (view.kind != FRAME_TCP)
        return false;
    return !machine->flow_known || (view.source_port == machine->local_port &&
                                    view.destination_port == machine->remote_port);
}

static void flags_text(uint16_t flags, char text[10])
{
    static const char letters[] = "FSRP.UEWA";
    unsigned n = 0;
    for (unsigned i = 0; i < 9; i++) {
        if ((flags & (1u << i)) != 0)
            text[n++] = letters[i];
    }
    if (n == 0)
        text[n++] = '-';
    text[n] = '\0';
}

static void options_text(const uint8_t *options, uint32_t length, char *text, size_t size)
{
    size_t n = (size_t)snprintf(text, size, "<");
    for (uint32_t i = 0; i < length && n + 40 < size;) {
        const uint8_t *o = options + i;
        const char *comma = i == 0 ? "" : ",";
        uint32_t step = o[0] <= 1 || o[1] < 2 ? 1 : o[1];
        if (o[0] <= 1)
            n += (size_t)snprintf(text + n, size - n, "%s%s", comma, o[0] == 1 ? "nop" : "eol");
        else if (o[0] == 2)
            n += (size_t)snprintf(text + n, size - n, "%smss %u", comma, o[2] << 8 | o[3]);
        else if (o[0] == 3)
            n += (size_t)snprintf(text + n, size - n, "%swscale %u", comma, o[2]);
        else if (o[0] == 4)
            n += (size_t)snprintf(text + n, size - n, "%ssackOK", comma);
        else if (o[0] == 8)
            n += (size_t)snprintf(text + n, size - n, "%sTS val %u ecr %u", comma, get32(o + 2),
                                  get32(o + 6));
        else if (o[0] == 5)
            n += (size_t)snprintf(text + n, size - n, "%ssack", comma);
        else
            n += (size_t)snprintf(text + n, size - n, "%s%s", comma,
                                  o[0] == 34    ? "FO "
                                  : o[0] == 19  ? "md5 "
                                  : o[0] == 254 ? "FOEXP "
                                  : o[0] == 172 ? "ECN e0b… "
                                  : o[0] == 174 ? "ECN e1b… "
                                                : "? ");
        bool in_hex = o[0] == 34 || o[0] == 19 || o[0] == 254 || o[0] == 172 || o[0] == 174;
        for (uint32_t j = o[0] == 254 ? 4 : 2; in_hex && j < o[1] && n + 3 < size; j++)
            n += (size_t)snprintf(text + n, size - n, "%02x", o[j]);
        for (uint32_t j = 2; o[0] == 5 && j + 8 <= o[1] && n + 40 < size; j += 8)
            n += (size_t)snprintf(text + n, size - n, " %u:%u", get32(o + j), get32(o + j + 4));
        i += step;
    }
    snprintf(text + n, size - n, ">");
}

/** A frame as the script would write it. */
struct seen {
    uint16_t flags;
    uint8_t tos, ttl;
    uint32_t seq, length, ack, window, urgent;
    uint32_t flow_label;
    uint32_t options_length;
    uint8_t options[TCP_OPTIONS_MAX];
};

static void seen_text(const struct seen *seen, char *text, size_t size)
{
    char flags[10], options[200] = "";
    flags_text(seen->flags, flags);
    if (seen->options_length != 0)
        options_text(seen->options, seen->options_length, options, sizeof(options));
    snprintf(text, size, "%s %u:%u(%u) ack %u win %u %s", flags, seen->seq,
             seen->seq + seen->length, seen->length, seen->ack, seen->window, options);
}

static void map_outbound_option(uint8_t *option, void *context)
{
    struct machine *machine = context;
    for (unsigned i = 2; option[0] == 5 && i + 4u <= option[1]; i += 4)
        put32(option + i, get32(option + i) - machine->remote_offset);
    if (option[0] == 8 && option[1] == 10 && machine->first_timestamp_known)
        put32(option + 2,
              get32(option + 2) - machine->first_live_timestamp + machine->first_script_timestamp);
}

struct timestamp_pair {
    bool found;
    uint32_t value;
};

static void find_timestamp(uint8_t *option, void *context)
{
    struct timestamp_pair *pair = context;
    if (option[0] == 8 && option[1] == 10) {
        pair->found = true;
        pair->value = get32(option + 2);
    }
}

/** Remember which of the wire's timestamps the script's one stands for. */
static void learn_timestamp(struct machine *machine, const struct packet_spec *spec,
                            const struct frame_view *view)
{
    uint8_t options[TCP_OPTIONS_MAX + 4];
    struct timestamp_pair pair = {0};
    memcpy(options, spec->options, sizeof(options));
    for_each_option(options, spec->options_length, find_timestamp, &pair);
    if (!pair.found || !view->options.has_timestamps)
        return;
    if (!machine->first_timestamp_known) {
        machine->first_timestamp_known = true;
        machine->first_script_timestamp = pair.value;
        machine->first_live_timestamp = view->options.timestamp_value;
    }
    if (machine->timestamp_count == MACHINE_TS_MAP_MAX) {
        memmove(machine->timestamps, machine->timestamps + 1,
                sizeof(machine->timestamps) - sizeof(machine->timestamps[0]));
        machine->timestamp_count--;
    }
    machine->timestamps[machine->timestamp_count].script = pair.value;
    machine->timestamps[machine->timestamp_count++].live = view->options.timestamp_value;
}

/** A flow's first frame tells ports and where its sequence numbers begin. */
static void learn_flow(struct machine *machine, const struct packet_spec *spec,
                       const struct frame_view *view)
{
    if (!machine->flow_known) {
        flow_begin(machine);
        machine->local_port = view->source_port;
        machine->remote_port = view->destination_port;
    }
    if ((view->flags & TCP_SYN) != 0 && (spec->flags & TCP_SYN) != 0) {
        machine->local_offset = view->seq;
        machine->local_syn_offset = view->seq - spec->seq;
        machine->local_isn_known = true;
    }
    learn_timestamp(machine, spec, view);
}

static void see(struct machine *machine, const struct frame *frame, const struct frame_view *view,
                struct seen *seen)
{
    const uint8_t *l3 = frame->bytes + view->l3_offset;
    bool is_syn = (view->flags & TCP_SYN) != 0;
    memset(seen, 0, sizeof(*seen));
    seen->flags = (uint16_t)(view->flags | (frame->bytes[view->l4_offset + 12] & 1) << 8);
    seen->flow_label = view->is_ipv6 ? get32(l3) & 0xfffff : 0;
    seen->tos = view->ip_tos;
    seen->ttl = view->ip_ttl;
    seen->seq = view->seq - (is_syn ? machine->local_syn_offset : machine->local_offset);
    seen->length = view->payload_length;
    seen->ack =
        (view->flags & TCP_ACK) != 0 ? view->ack - (is_syn ? 0 : machine->remote_offset) : 0;
    seen->window = view->window;
    seen->urgent = view->urgent_pointer;
    seen->options_length = view->options_length;
    memcpy(seen->options, frame->bytes + view->l4_offset + 20, view->options_length);
    for_each_option(seen->options, seen->options_length, map_outbound_option, machine);
}

/** Options as packetdrill compares them: all but timestamps byte by byte. */
struct timestamp {
    uint32_t value;
    uint32_t echo;
};

static void take_timestamp(uint8_t *option, void *context)
{
    struct timestamp *taken = context;
    if (option[0] != 8 || option[1] != 10)
        return;
    *taken = (struct timestamp){.value = get32(option + 2), .echo = get32(option + 6)};
    memset(option + 2, 0, 8);
}

/** Within the tolerance, which grows with the script's time, when the script says how fast values
 * tick. What is echoed is compared with --strict_timestamps only. */
static bool timestamps_agree(const struct machine *machine, const struct timestamp *script,
                             const struct timestamp *live)
{
    uint64_t percent_ns = (uint64_t)(machine->tolerance_percent / 100 *
                                     (double)(machine->now_ns - machine->start_ns));
    uint64_t slack_ns = percent_ns > machine->tolerance_ns ? percent_ns : machine->tolerance_ns;
    uint64_t off = (uint64_t)llabs((int32_t)(live->value - script->value));
    return off * machine->timestamp_tick_us * NS_PER_US <= slack_ns &&
           (!machine->strict_timestamps || live->echo == script->echo);
}

static bool options_agree(const struct machine *machine, const struct packet_spec *spec,
                          const struct seen *seen)
{
    uint8_t expected[TCP_OPTIONS_MAX + 4], actual[TCP_OPTIONS_MAX];
    struct timestamp script = {0}, live = {0};
    if (spec->options_any)
        return true;
    if (spec->options_length != seen->options_length)
        return false;
    memcpy(expected, spec->options, seen->options_length);
    memcpy(actual, seen->options, seen->options_length);
    for_each_option(expected, spec->options_length, take_timestamp, &script);
    for_each_option(actual, spec->options_length, take_timestamp, &live);
    return memcmp(expected, actual, spec->options_length) == 0 &&
           timestamps_agree(machine, &script, &live);
}

/** A label of the script stands for what the flow has then; another must be another. */
static bool flow_label_agrees(struct machine *machine, uint32_t script, uint32_t live)
{
    if (script == 0)
        return true;
    if (live == 0)
        return false;
    bool is_same = script == machine->script_flow_label;
    if (machine->script_flow_label != 0 && is_same != (live == machine->live_flow_label))
        return false;
    machine->script_flow_label = script;
    machine->live_flow_label = live;
    return true;
}

static const char *difference_between(struct machine *machine, const struct packet_spec *spec,
                                      const struct seen *seen, bool in_burst)
{
    /* CWR is in the first segment of a burst only (RFC 3168 §6.1.2). */
    const uint16_t at_beginning = machine->partly_seen > 0 ? TCP_CWR : 0;
    const uint16_t at_end = TCP_FIN | TCP_PSH | at_beginning;
    const uint16_t left_open = (in_burst ? TCP_PSH : 0) | at_beginning;
    uint32_t left = spec->length - machine->partly_seen;
    bool is_last = seen->length == left;
    if (seen->length > left || (seen->length == 0 && left != 0) ||
        (machine->strict_segments && !is_last))
        return "length";
    if (seen->seq != spec->seq + machine->partly_seen)
        return "sequence number";
    if ((seen->flags & ~at_end) != (spec->flags & ~at_end))
        return "flags";
    if (is_last && ((seen->flags ^ spec->flags) & ~left_open) != 0)
        return "flags";
    if ((seen->flags & TCP_ACK) != 0 && seen->ack != spec->ack)
        return "acknowledgement";
    if (spec->has_window && seen->window != spec->window)
        return "window";
    if (seen->urgent != spec->urgent)
        return "urgent pointer";
    if (!options_agree(machine, spec, seen))
        return "options";
    if ((spec->checks_ecn && (seen->tos & 3) != (spec->tos & 3)) ||
        (spec->checks_ect01 && (seen->tos & 3) != 1 && (seen->tos & 3) != 2))
        return "ECN";
    if (spec->checks_tos && seen->tos != spec->tos)
        return "TOS";
    if (spec->has_ttl && seen->ttl != spec->ttl)
        return "TTL";
    if (spec->has_flow_label && !flow_label_agrees(machine, spec->flow_label, seen->flow_label))
        return "flow label";
    return NULL;
}

int machine_packet_out(struct machine *machine, const struct script_event *event,
                       const struct live_frame *live, bool *complete)
{
    const struct packet_spec *spec = &event->packet;
    struct frame_view view;
    struct seen seen;
    if (spec->kind != PACKET_TCP) {
        script_error_set(machine->problem, event->line, "an outbound ICMP message can't be run");
        return -1;
    }
    frame_parse(live->frame->bytes, live->frame->length, &view);
    if (!view.checksums_good) {
        script_error_set(machine->problem, event->line, "a wrong checksum was sent");
        return -1;
    }
    learn_flow(machine, spec, &view);
    see(machine, live->frame, &view, &seen);
    const char *difference = difference_between(machine, spec, &seen, live->in_burst);
    if (difference != NULL) {
        char actual[300], expected[300];
        struct seen wanted = {.flags = spec->flags,
                              .seq = spec->seq + machine->partly_seen,
                              .length = spec->length - machine->partly_seen,
                              .ack = spec->ack,
                              .window = spec->has_window ? spec->window : seen.window,
                              .options_length = spec->options_length};
        memcpy(wanted.options, spec->options,
               spec->options_length < TCP_OPTIONS_MAX ? spec->options_length : TCP_OPTIONS_MAX);
        seen_text(&seen, actual, sizeof(actual));
        seen_text(&wanted, expected, sizeof(expected));
        script_error_set(machine->problem, event->line, "%s: expected %s, sent %s", difference,
                         expected, actual);
        return -1;
    }
    machine->partly_seen += seen.length;
    *complete = machine->partly_seen == spec->length;
    if (*complete)
        machine->partly_seen = 0;
    return 0;
}
