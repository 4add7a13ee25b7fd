/**
 * @file script.h
 * A packetdrill script as data: options, then events in order, each with its line and time. Parsing
 * only; what an event means is in runner.c, packets.c and sockets.c.
 */
#ifndef PNO_PACKET_SCRIPTS_SCRIPT_H
#define PNO_PACKET_SCRIPTS_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/segment.h"

/** An argument of a system call. */
enum node_kind {
    NODE_ANY, /**< ... */
    NODE_INTEGER,
    NODE_WORD,
    NODE_STRING,
    NODE_OR,    /**< children joined by | */
    NODE_NOT,   /**< ~child */
    NODE_SHIFT, /**< these: two children */
    NODE_PRODUCT,
    NODE_SUM,
    NODE_DIFFERENCE,
    NODE_LIST,   /**< [a, b] */
    NODE_STRUCT, /**< {a, b} */
    NODE_FIELD,  /**< text = child */
    NODE_CALL,   /**< text(children) */
};

struct node {
    enum node_kind kind;
    int64_t value;
    char *text;
    struct node *children; /**< first; the others by next */
    struct node *next;
};

struct system_call {
    char *name;
    struct node *arguments;
    bool blocks;     /**< given as start...end */
    int64_t end_ns;  /**< as written: absolute or since the start */
    bool result_any; /**< = ... or = ? */
    struct node *result;
    char *error; /**< errno's name, or NULL */
};

enum packet_kind { PACKET_TCP, PACKET_ICMP };

struct packet_spec {
    enum packet_kind kind;
    bool inbound;
    bool has_ack, has_window, options_any, has_ttl, has_flow_label;
    bool checks_ecn, checks_ect01, checks_tos;
    uint16_t flags; /**< as on the wire, and accurate ECN's AE in the ninth bit */
    uint8_t tos, ttl;
    uint32_t flow_label;
    uint32_t seq, length, ack, window, urgent;
    uint16_t source_port, destination_port; /**< 0 = of the flow */
    uint32_t options_length;
    uint8_t options[TCP_OPTIONS_MAX + 4];
    const char *icmp_type, *icmp_code;
    uint32_t icmp_mtu;
    uint16_t icmp_id;
    bool echoes_sequence;
    uint32_t echoed_seq, echoed_length;
};

enum event_kind { EVENT_PACKET, EVENT_CALL, EVENT_COMMAND, EVENT_CODE };
enum time_kind { TIME_ABSOLUTE, TIME_RELATIVE, TIME_ANY };

struct script_event {
    struct script_event *next;
    unsigned line;
    enum time_kind time_kind;
    bool has_range;
    int64_t time_ns, time_end_ns;
    enum event_kind kind;
    struct packet_spec packet;
    struct system_call call;
    char *text; /**< of a command or of code */
};

struct script_option {
    struct script_option *next;
    unsigned line;
    char *name, *value; /**< value may be NULL */
};

struct script {
    struct script_option *options;
    struct script_event *events;
    char *init_command; /**< or NULL */
    unsigned init_line;
};

/** What went wrong, and where. */
struct script_error {
    unsigned line;
    char text[400];
};

/**
 * @param given  options from the command line, which come before the script's own; or NULL.
 * @return 0, or -1 with error filled in. The script is never freed: the process runs few.
 */
int script_parse(const char *text, struct script_option *given, struct script *script,
                 struct script_error *error);

/** What --define=NAME=VALUE, the last one, says of a name; NULL when nothing does. */
const char *script_definition(const struct script_option *options, const char *name);

void script_error_set(struct script_error *error, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
