#include "script.h"

#include <ctype.h>
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
    jmp_buf failed;
};

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
        accept(p, "...");
    } else if (at_integer(p)) {
        node = new_node(NODE_INTEGER);
        node->value = integer(p);
    } else {
        node = word_expression(p);
    }
    return node;
}

static struct node *expression(struct parser *p)
{
    struct node *first = primary(p);
    if (!accept(p, "|"))
        return first;
    struct node *join = new_node(NODE_OR);
    struct node **tail = &first->next;
    join->children = first;
    do {
        *tail = primary(p);
        tail = &(*tail)->next;
    } while (accept(p, "|"));
    return join;
}

static void system_call(struct parser *p, struct system_call *call)
{
    call->name = word(p);
    expect(p, "(");
    call->arguments = list_until(p, ")");
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

/** FO and its cookie in hexadecimal digits. */
static void hex_option(struct parser *p, struct packet_spec *packet, uint8_t kind)
{
    uint8_t bytes[TCP_OPTIONS_MAX] = {kind, 2};
    skip(p);
    while (isxdigit((unsigned char)*p->at) && isxdigit((unsigned char)p->at[1]) &&
           bytes[1] < TCP_OPTIONS_MAX) {
        const char digits[3] = {p->at[0], p->at[1], '\0'};
        bytes[bytes[1]++] = (uint8_t)strtoul(digits, NULL, 16);
        p->at += 2;
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
    } else if (accept(p, "FO")) {
        hex_option(p, packet, 34);
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

static void ip_info(struct parser *p, struct packet_spec *packet)
{
    if (!accept(p, "[") && !accept(p, "("))
        return;
    packet->checks_ecn = true;
    if (accept(p, "noecn")) {
        packet->tos = 0;
    } else if (accept(p, "ect0")) {
        packet->tos = 2;
    } else if (accept(p, "ect01")) {
        packet->checks_ecn = false;
        packet->checks_ect01 = true;
        packet->tos = 2;
    } else if (accept(p, "ect1")) {
        packet->tos = 1;
    } else if (accept(p, "ce")) {
        packet->tos = 3;
    } else if (accept(p, "tos")) {
        packet->checks_ecn = false;
        packet->checks_tos = true;
        packet->tos = (uint8_t)integer(p);
    } else if (accept(p, "ttl")) {
        packet->checks_ecn = false;
        packet->has_ttl = true;
        packet->ttl = (uint8_t)integer(p);
    } else {
        fail(p, "IP header information that can't be run");
    }
    if (!accept(p, "]"))
        expect(p, ")");
}

static void tcp_flags(struct parser *p, struct packet_spec *packet)
{
    static const char letters[] = "FSRP.UEW";
    const char *letter;
    skip(p);
    if (accept(p, "-"))
        return;
    while (*p->at != '\0' && (letter = strchr(letters, *p->at)) != NULL) {
        packet->flags |= (uint8_t)(1u << (letter - letters));
        p->at++;
    }
    if (packet->flags == 0 || !isspace((unsigned char)*p->at))
        fail(p, "TCP flags that can't be run");
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

static void icmp_packet(struct parser *p, struct packet_spec *packet)
{
    packet->kind = PACKET_ICMP;
    packet->icmp_type = word(p);
    if (at_word(p) && strncmp(p->at, "mtu ", 4) != 0)
        packet->icmp_code = word(p);
    if (accept(p, "mtu"))
        packet->icmp_mtu = (uint32_t)integer(p);
    if (accept(p, "[")) {
        packet->echoes_sequence = true;
        sequence(p, &packet->echoed_seq, &packet->echoed_length);
        expect(p, "]");
    }
}

static void tcp_packet(struct parser *p, struct packet_spec *packet)
{
    if (at_integer(p)) {
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

static struct script_option *script_option(struct parser *p)
{
    struct script_option *option = allocate(sizeof(*option));
    option->line = p->line;
    const char *start = p->at + 2, *end = start + strcspn(start, "=\n \t");
    option->name = copy_text(start, end);
    if (*end == '=') {
        start = end + 1;
        end = start + strcspn(start, "\n \t");
        option->value = copy_text(start, end);
    }
    p->at = end;
    return option;
}

int script_parse(const char *text, struct script *script, struct script_error *error)
{
    struct parser *p = allocate(sizeof(*p));
    p->at = text;
    p->line = 1;
    p->error = error;
    memset(script, 0, sizeof(*script));
    if (setjmp(p->failed) != 0) {
        free(p);
        return -1;
    }
    struct script_option **option_tail = &script->options;
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
