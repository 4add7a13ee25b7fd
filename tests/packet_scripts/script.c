#include "script.h"

#include <ctype.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"

struct parser {
    const char *at;
    unsigned line;
    struct script_error *error;
    const struct script *script; /**< for what --define gave */
    unsigned depth;              /**< of nested expressions */
    bool in_arguments;
    jmp_buf failed;
};

/** Three years. */
#define SECONDS_MAX 1e8

/** Deeper nesting is no script but an attempt on our stack. */
#define DEPTH_MAX 64

void script_error_set(struct script_error *error, unsigned line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->line = line;
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
}

static _Noreturn void fail(struct parser *p, const char *what)
{
    char near[24];
    unsigned n = 0;
    while (n < sizeof(near) - 1 && p->at[n] != '\0' && p->at[n] != '\n') {
        near[n] = p->at[n];
        n++;
    }
    near[n] = '\0';
    script_error_set(p->error, p->line, "%s near '%s'", what, near);
    longjmp(p->failed, 1);
}

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (memory == NULL)
        abort();
    return memory;
}

static char *copy_text(const char *start, const char *end)
{
    char *text = allocate((size_t)(end - start) + 1);
    memcpy(text, start, (size_t)(end - start));
    return text;
}

static char *joined(char *first, char *second)
{
    size_t length = strlen(first);
    char *text = allocate(length + strlen(second) + 1);
    memcpy(text, first, length);
    memcpy(text + length, second, strlen(second));
    free(first);
    free(second);
    return text;
}

/* ---- Words -------------------------------------------------------------------------------- */

static void skip_to(struct parser *p, const char *end)
{
    for (; p->at < end; p->at++)
        p->line += *p->at == '\n';
}

/** White space and comments. */
static void skip(struct parser *p)
{
    for (;;) {
        while (isspace((unsigned char)*p->at))
            skip_to(p, p->at + 1);
        if (strncmp(p->at, "//", 2) == 0 || (*p->at == '#' && p->at[1] == '!')) {
            skip_to(p, p->at + strcspn(p->at, "\n"));
        } else if (strncmp(p->at, "/*", 2) == 0) {
            const char *end = strstr(p->at, "*/");
            if (end == NULL)
                fail(p, "comment without end");
            skip_to(p, end + 2);
        } else {
            return;
        }
    }
}

static bool accept(struct parser *p, const char *token)
{
    skip(p);
    size_t length = strlen(token);
    if (strncmp(p->at, token, length) != 0)
        return false;
    if (isalpha((unsigned char)token[length - 1]) &&
        (isalnum((unsigned char)p->at[length]) || p->at[length] == '_'))
        return false;
    p->at += length;
    return true;
}

static void expect(struct parser *p, const char *token)
{
    char what[64];
    if (!accept(p, token)) {
        snprintf(what, sizeof(what), "expected '%s'", token);
        fail(p, what);
    }
}

static bool at_word(struct parser *p)
{
    skip(p);
    return isalpha((unsigned char)*p->at) || *p->at == '_';
}

static char *word(struct parser *p)
{
    if (!at_word(p))
        fail(p, "expected a word");
    const char *start = p->at;
    while (isalnum((unsigned char)*p->at) || *p->at == '_')
        p->at++;
    return copy_text(start, p->at);
}

static int64_t integer(struct parser *p)
{
    skip(p);
    char *end;
    bool hex = strncmp(p->at, "0x", 2) == 0;
    int64_t value = hex ? (int64_t)strtoull(p->at, &end, 16) : strtoll(p->at, &end, 10);
    if (end == p->at)
        fail(p, "expected a number");
    p->at = end;
    return value;
}

static bool at_integer(struct parser *p)
{
    skip(p);
    return isdigit((unsigned char)*p->at) || (*p->at == '-' && isdigit((unsigned char)p->at[1]));
}

static int64_t seconds(struct parser *p)
{
    skip(p);
    char *end;
    double value = strtod(p->at, &end);
    /* "0...0.1": the first number ends before the ellipsis. */
    const char *dots = strstr(p->at, "...");
    if (dots != NULL && end > dots) {
        char *head = copy_text(p->at, dots);
        value = strtod(head, NULL);
        free(head);
        end = (char *)(uintptr_t)dots;
    }
    if (end == p->at)
        fail(p, "expected a time");
    if (!(value > -SECONDS_MAX && value < SECONDS_MAX))
        fail(p, "a time out of range");
    p->at = end;
    return (int64_t)(value * 1e9 + (value < 0 ? -0.5 : 0.5));
}

static char *quoted(struct parser *p, char quote)
{
    const char *start = ++p->at;
    while (*p->at != quote) {
        if (*p->at == '\0')
            fail(p, "string without end");
        if (*p->at == '\\' && p->at[1] != '\0')
            p->at++;
        skip_to(p, p->at + 1);
    }
    return copy_text(start, p->at++);
}

/* ---- Definitions -------------------------------------------------------------------------- */

const char *script_definition(const struct script_option *options, const char *name)
{
    size_t length = strlen(name);
    const char *value = NULL;
    for (const struct script_option *o = options; o != NULL; o = o->next) {
        if (strcmp(o->name, "define") == 0 && o->value != NULL &&
            strncmp(o->value, name, length) == 0 && o->value[length] == '=')
            value = o->value + length + 1;
    }
    return value;
}

/** A word, or what it is defined as. */
static const char *defined_word(struct parser *p)
{
    char *name = word(p);
    const char *value = script_definition(p->script->options, name);
    if (value == NULL)
        return name;
    free(name);
    return value;
}

/* ---- Expressions -------------------------------------------------------------------------- */

static struct node *expression(struct parser *p);

static struct node *new_node(enum node_kind kind)
{
    struct node *node = allocate(sizeof(*node));
    node->kind = kind;
    return node;
}

static struct node *list_until(struct parser *p, const char *end)
{
    struct node *first = NULL, **tail = &first;
    if (accept(p, end))
        return NULL;
    do {
        *tail = expression(p);
        tail = &(*tail)->next;
    } while (accept(p, ","));
    expect(p, end);
    return first;
}

static struct node *word_expression(struct parser *p)
{
    struct node *node = new_node(NODE_WORD);
    node->text = word(p);
    const char *value = script_definition(p->script->options, node->text);
    if (value != NULL) {
        node->text = copy_text(value, value + strlen(value));
        char *end;
        node->value = strtoll(value, &end, 0);
        if (*end == '\0' && end != value)
            node->kind = NODE_INTEGER;
    }
    if (accept(p, "(")) {
        node->kind = NODE_CALL;
        node->children = list_until(p, ")");
    }
    if (accept(p, "=")) {
        node->kind = NODE_FIELD;
        node->children = expression(p);
    }
    return node;
}

static struct node *primary(struct parser *p)
{
    struct node *node;
    skip(p);
    if (accept(p, "...")) {
        return new_node(NODE_ANY);
    } else if (accept(p, "[")) {
        node = new_node(NODE_LIST);
        node->children = list_until(p, "]");
    } else if (accept(p, "{")) {
        node = new_node(NODE_STRUCT);
        node->children = list_until(p, "}");
    } else if (*p->at == '"') {
        node = new_node(NODE_STRING);
        node->text = quoted(p, '"');
        while (skip(p), *p->at == '"')
            node->text = joined(node->text, quoted(p, '"'));
        accept(p, "...");
    } else if (at_integer(p)) {
        node = new_node(NODE_INTEGER);
        node->value = integer(p);
    } else if (accept(p, "(")) {
        node = expression(p);
        expect(p, ")");
    } else if (accept(p, "~")) {
        node = new_node(NODE_NOT);
        node->children = primary(p);
    } else {
        node = word_expression(p);
    }
    return node;
}

/** a << b, a * b, a + b: of the few that scripts use, left to right. */
static struct node *arithmetic(struct parser *p)
{
    static const struct {
        const char *token;
        enum node_kind kind;
    } operators[] = {
        {"<<", NODE_SHIFT}, {"*", NODE_PRODUCT}, {"+", NODE_SUM}, {"-", NODE_DIFFERENCE}};
    struct node *left = primary(p);
    if (!p->in_arguments)
        return left; /* after a result, '+' begins the next event */
    for (unsigned i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        if (!accept(p, operators[i].token))
            continue;
        struct node *whole = new_node(operators[i].kind);
        whole->children = left;
        left->next = primary(p);
        left = whole;
        i = UINT_MAX; /* look again for any of them */
    }
    return left;
}

static struct node *expression(struct parser *p)
{
    if (p->depth == DEPTH_MAX)
        fail(p, "an expression nested too deep");
    p->depth++;
    struct node *first = arithmetic(p);
    if (!accept(p, "|")) {
        p->depth--;
        return first;
    }
    struct node *join = new_node(NODE_OR);
    struct node **tail = &first->next;
    join->children = first;
    do {
        *tail = arithmetic(p);
        tail = &(*tail)->next;
    } while (accept(p, "|"));
    p->depth--;
    return join;
}

static void system_call(struct parser *p, struct system_call *call)
{
    call->name = word(p);
    expect(p, "(");
    p->in_arguments = true;
    call->arguments = list_until(p, ")");
    p->in_arguments = false;
    expect(p, "=");
    if (accept(p, "...") || accept(p, "?"))
        call->result_any = true;
    else
        call->result = expression(p);
    skip(p);
    if (isupper((unsigned char)*p->at)) {
        call->error = word(p);
        skip(p);
    }
    if (*p->at == '(') {
        const char *end = strchr(p->at, ')');
        if (end == NULL)
            fail(p, "note without end");
        skip_to(p, end + 1);
    }
}

/* ---- Packets ------------------------------------------------------------------------------ */

static void put_option(struct parser *p, struct packet_spec *packet, const uint8_t *bytes,
                       uint32_t length)
{
    if (packet->options_length + length > TCP_OPTIONS_MAX)
        fail(p, "too many TCP options");
    memcpy(packet->options + packet->options_length, bytes, length);
    packet->options_length += length;
}

static void put32(uint8_t *bytes, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void sack_option(struct parser *p, struct packet_spec *packet)
{
    uint8_t bytes[TCP_OPTIONS_MAX] = {5, 2};
    while (at_integer(p) && bytes[1] + 8 <= TCP_OPTIONS_MAX) {
        put32(bytes + bytes[1], (uint32_t)integer(p));
        expect(p, ":");
        put32(bytes + bytes[1] + 4, (uint32_t)integer(p));
        bytes[1] = (uint8_t)(bytes[1] + 8);
    }
    put_option(p, packet, bytes, bytes[1]);
}

static void timestamp_option(struct parser *p, struct packet_spec *packet)
{
    uint8_t bytes[10] = {8, 10};
    expect(p, "val");
    put32(bytes + 2, (uint32_t)integer(p));
    expect(p, "ecr");
    put32(bytes + 6, (uint32_t)integer(p));
    put_option(p, packet, bytes, sizeof(bytes));
}

/** Kind, length, then bytes in hexadecimal digits, or the name of what defines them. */
static void hex_option(struct parser *p, struct packet_spec *packet, const uint8_t *head,
                       uint8_t head_length)
{
    uint8_t bytes[TCP_OPTIONS_MAX];
    uint8_t length = head_length;
    memcpy(bytes, head, head_length);
    skip(p);
    const char *start = p->at, *digits = start;
    char *name = NULL;
    while (isxdigit((unsigned char)*p->at))
        p->at++;
    if (isalnum((unsigned char)*p->at) || *p->at == '_') {
        p->at = start;
        name = word(p);
        digits = script_definition(p->script->options, name);
        if (digits == NULL)
            fail(p, "an option's bytes that are not defined");
        free(name);
    }
    for (; isxdigit((unsigned char)*digits) && isxdigit((unsigned char)digits[1]); digits += 2) {
        const char pair[3] = {digits[0], digits[1], '\0'};
        if (length == sizeof(bytes))
            fail(p, "too many TCP options");
        bytes[length++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    bytes[1] = length;
    put_option(p, packet, bytes, length);
}

static void put24(uint8_t *bytes, int64_t value)
{
    for (unsigned i = 0; i < 3; i++)
        bytes[i] = (uint8_t)(value >> (16 - 8 * i));
}

/** ECN e0b N ceb N e1b N, or e1b first: the later counters may be left out (RFC 9768 §3.2.3). */
static void accurate_ecn_option(struct parser *p, struct packet_spec *packet)
{
    static const char *const orders[2][3] = {{"e0b", "ceb", "e1b"}, {"e1b", "ceb", "e0b"}};
    unsigned order = accept(p, "e1b");
    uint8_t bytes[11] = {order == 0 ? 172 : 174, 2};
    if (order == 0)
        expect(p, "e0b");
    for (unsigned i = 0; i == 0 || (i < 3 && accept(p, orders[order][i])); i++) {
        put24(bytes + bytes[1], integer(p));
        bytes[1] = (uint8_t)(bytes[1] + 3);
    }
    put_option(p, packet, bytes, bytes[1]);
}

static void tcp_option(struct parser *p, struct packet_spec *packet)
{
    if (accept(p, "nop")) {
        put_option(p, packet, (const uint8_t[]){1}, 1);
    } else if (accept(p, "eol")) {
        put_option(p, packet, (const uint8_t[]){0}, 1);
    } else if (accept(p, "mss")) {
        int64_t mss = integer(p);
        put_option(p, packet, (const uint8_t[]){2, 4, (uint8_t)(mss >> 8), (uint8_t)mss}, 4);
    } else if (accept(p, "wscale")) {
        put_option(p, packet, (const uint8_t[]){3, 3, (uint8_t)integer(p)}, 3);
    } else if (accept(p, "sackOK")) {
        put_option(p, packet, (const uint8_t[]){4, 2}, 2);
    } else if (accept(p, "sack")) {
        sack_option(p, packet);
    } else if (accept(p, "TS")) {
        timestamp_option(p, packet);
    } else if (accept(p, "FOEXP")) {
        hex_option(p, packet, (const uint8_t[]){254, 0, 0xf9, 0x89}, 4);
    } else if (accept(p, "FO")) {
        hex_option(p, packet, (const uint8_t[]){34, 0}, 2);
    } else if (accept(p, "md5")) {
        hex_option(p, packet, (const uint8_t[]){19, 0}, 2);
    } else if (accept(p, "ECN")) {
        accurate_ecn_option(p, packet);
    } else {
        fail(p, "TCP option that can't be run");
    }
}

static void tcp_options(struct parser *p, struct packet_spec *packet)
{
    if (accept(p, "...")) {
        packet->options_any = true;
    } else if (!accept(p, ">")) {
        do {
            tcp_option(p, packet);
        } while (accept(p, ","));
    } else {
        return;
    }
    expect(p, ">");
    while (packet->options_length % 4 != 0)
        packet->options[packet->options_length++] = 0;
}

static void ip_info_item(struct parser *p, struct packet_spec *packet)
{
    static const struct {
        const char *name;
        uint8_t tos;
    } ecn[] = {{"noecn", 0}, {"ect0", 2}, {"ect1", 1}, {"ce", 3}};
    for (unsigned i = 0; i < sizeof(ecn) / sizeof(ecn[0]); i++) {
        if (!accept(p, ecn[i].name))
            continue;
        packet->checks_ecn = true;
        packet->tos = (uint8_t)(packet->tos | ecn[i].tos);
        return;
    }
    if (accept(p, "ect01")) {
        packet->checks_ect01 = true;
        packet->tos = 2;
    } else if (accept(p, "tos") || accept(p, "class")) {
        packet->checks_tos = true;
        packet->tos = (uint8_t)(packet->tos | integer(p));
    } else if (accept(p, "ttl") || accept(p, "hlim")) {
        packet->has_ttl = true;
        packet->ttl = (uint8_t)integer(p);
    } else if (accept(p, "flowlabel")) {
        packet->has_flow_label = true;
        packet->flow_label = (uint32_t)integer(p);
    } else {
        fail(p, "IP header information that can't be run");
    }
}

static void ip_info(struct parser *p, struct packet_spec *packet)
{
    if (!accept(p, "[") && !accept(p, "("))
        return;
    do {
        ip_info_item(p, packet);
    } while (accept(p, ","));
    if (!accept(p, "]"))
        expect(p, ")");
}

/** FSRP.UEW and A (accurate ECN's), or - for none; a digit is ACE, three bits (A, W, E). */
static void tcp_flags(struct parser *p, struct packet_spec *packet)
{
    static const char letters[] = "FSRP.UEWA";
    bool any = false;
    skip(p);
    if (accept(p, "-"))
        return;
    for (; *p->at != '\0' && !isspace((unsigned char)*p->at); p->at++, any = true) {
        const char *letter = strchr(letters, *p->at);
        if (letter != NULL)
            packet->flags |= (uint16_t)(1u << (letter - letters));
        else if (*p->at >= '0' && *p->at <= '7')
            packet->flags |= (uint16_t)((*p->at - '0') << 6);
        else
            fail(p, "TCP flags that can't be run");
    }
    if (!any)
        fail(p, "expected TCP flags");
}

static void sequence(struct parser *p, uint32_t *seq, uint32_t *length)
{
    *seq = (uint32_t)integer(p);
    expect(p, ":");
    uint32_t end = (uint32_t)integer(p);
    expect(p, "(");
    *length = (uint32_t)integer(p);
    expect(p, ")");
    if (*seq + *length != end)
        fail(p, "sequence numbers and length differ");
}

/** [1:1001(1000)]: of the segment that an ICMP message is about. */
static void echoed_segment(struct parser *p, struct packet_spec *packet)
{
    if (!accept(p, "["))
        return;
    if (accept(p, "udp") || accept(p, "raw"))
        fail(p, "an ICMP message about another protocol, which can't be run");
    packet->echoes_sequence = true;
    sequence(p, &packet->echoed_seq, &packet->echoed_length);
    expect(p, "]");
}

static void icmp_packet(struct parser *p, struct packet_spec *packet)
{
    packet->kind = PACKET_ICMP;
    packet->icmp_type = defined_word(p);
    if (at_word(p) && strncmp(p->at, "mtu ", 4) != 0 && strncmp(p->at, "id ", 3) != 0)
        packet->icmp_code = defined_word(p);
    if (accept(p, "mtu"))
        packet->icmp_mtu = (uint32_t)integer(p);
    if (accept(p, "id"))
        packet->icmp_id = (uint16_t)integer(p);
    echoed_segment(p, packet);
}

/** Digits followed by '>' are a port; by a space, accurate ECN's ACE. */
static bool at_port(struct parser *p)
{
    skip(p);
    const char *at = p->at + strspn(p->at, "0123456789");
    return at != p->at && at[strspn(at, " \t")] == '>';
}

static void tcp_packet(struct parser *p, struct packet_spec *packet)
{
    if (at_port(p)) {
        packet->source_port = (uint16_t)integer(p);
        expect(p, ">");
        packet->destination_port = (uint16_t)integer(p);
    }
    tcp_flags(p, packet);
    sequence(p, &packet->seq, &packet->length);
    if (accept(p, "ack")) {
        packet->has_ack = true;
        packet->ack = (uint32_t)integer(p);
    }
    if (accept(p, "win")) {
        packet->has_window = true;
        packet->window = (uint32_t)integer(p);
    }
    if (accept(p, "urg"))
        packet->urgent = (uint32_t)integer(p);
    if (accept(p, "<"))
        tcp_options(p, packet);
}

static void packet_spec(struct parser *p, struct packet_spec *packet)
{
    packet->inbound = accept(p, "<");
    if (!packet->inbound)
        expect(p, ">");
    skip(p);
    if (*p->at == '[' && isdigit((unsigned char)p->at[1]))
        echoed_segment(p, packet);
    else
        ip_info(p, packet);
    if (accept(p, "icmpv6") || accept(p, "icmp"))
        icmp_packet(p, packet);
    else if (accept(p, "udp") || accept(p, "ipv4") || accept(p, "ipv6") || accept(p, "gre") ||
             accept(p, "mpls"))
        fail(p, "a kind of packet that can't be run");
    else
        tcp_packet(p, packet);
}

/* ---- Events ------------------------------------------------------------------------------- */

static void event_time(struct parser *p, struct script_event *event)
{
    if (accept(p, "*")) {
        event->time_kind = TIME_ANY;
        return;
    }
    event->time_kind = accept(p, "+") ? TIME_RELATIVE : TIME_ABSOLUTE;
    event->time_ns = event->time_end_ns = seconds(p);
    if (accept(p, "~")) {
        event->has_range = true;
        accept(p, "+");
        event->time_end_ns = seconds(p);
    }
}

static char *code(struct parser *p)
{
    const char *end = strstr(p->at, "}%");
    if (end == NULL)
        fail(p, "code without end");
    char *text = copy_text(p->at, end);
    skip_to(p, end + 2);
    return text;
}

static struct script_event *script_event(struct parser *p)
{
    struct script_event *event = allocate(sizeof(*event));
    event_time(p, event);
    skip(p);
    event->line = p->line;
    if (*p->at == '<' || *p->at == '>') {
        event->kind = EVENT_PACKET;
        packet_spec(p, &event->packet);
    } else if (*p->at == '`') {
        event->kind = EVENT_COMMAND;
        event->text = quoted(p, '`');
    } else if (accept(p, "%{")) {
        event->kind = EVENT_CODE;
        event->text = code(p);
    } else {
        event->kind = EVENT_CALL;
        if (accept(p, "...")) {
            event->call.blocks = true;
            event->call.end_ns = seconds(p);
        }
        system_call(p, &event->call);
    }
    return event;
}

/** A word, "in quotes", or NAME= and either of them or a command in back quotes. */
static char *option_value(struct parser *p)
{
    const char *start = p->at;
    if (*start == '"')
        return quoted(p, '"');
    const char *end = start + strcspn(start, "\n \t\r\"`");
    if (*end != '"' && *end != '`') {
        p->at = end;
        return copy_text(start, end);
    }
    p->at = end;
    return joined(copy_text(start, end), quoted(p, *end));
}

static struct script_option *script_option(struct parser *p)
{
    struct script_option *option = allocate(sizeof(*option));
    option->line = p->line;
    const char *start = p->at + 2, *end = start + strcspn(start, "=\n \t\r");
    option->name = copy_text(start, end);
    p->at = end;
    if (*end == '=') {
        p->at++;
        option->value = option_value(p);
    }
    return option;
}

int script_parse(const char *text, struct script_option *given, struct script *script,
                 struct script_error *error)
{
    struct parser *p = allocate(sizeof(*p));
    p->at = text;
    p->line = 1;
    p->error = error;
    p->script = script;
    memset(script, 0, sizeof(*script));
    script->options = given;
    if (setjmp(p->failed) != 0) {
        free(p);
        return -1;
    }
    struct script_option **option_tail = &script->options;
    while (*option_tail != NULL)
        option_tail = &(*option_tail)->next;
    struct script_event **event_tail = &script->events;
    for (skip(p); *p->at != '\0'; skip(p)) {
        if (strncmp(p->at, "--", 2) == 0) {
            *option_tail = script_option(p);
            option_tail = &(*option_tail)->next;
        } else if (*p->at == '`') {
            unsigned line = p->line;
            char *command = quoted(p, '`');
            if (script->init_command == NULL && script->events == NULL) {
                script->init_command = command;
                script->init_line = line;
            }
        } else {
            *event_tail = script_event(p);
            event_tail = &(*event_tail)->next;
        }
    }
    free(p);
    return 0;
}
