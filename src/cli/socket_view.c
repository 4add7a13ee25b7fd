#include "socket_view.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));
    return text != NULL ? text : "";
}

json_int_t socket_view_integer(const json_t *socket, const char *member)
{
    return json_integer_value(json_object_get(socket, member));
}

const char *socket_view_state(const json_t *socket)
{
    static const char *const names[][2] = {
        {"ESTABLISHED", "ESTAB"}, {"SYN-RECEIVED", "SYN-RECV"}, {"CLOSED", "UNCONN"}};
    const char *state = text_of(socket, "state");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(state, names[i][0]) == 0) {
            return names[i][1];
        }
    }
    return state;
}

/* Appends, and keeps what fits. */
__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size,
                                                         const char *format, ...)
{
    size_t length = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, size - length, format, arguments);
    va_end(arguments);
}

void socket_view_endpoint(const json_t *socket, const char *side, char *text, size_t size)
{
    const json_t *endpoint = json_object_get(socket, side);
    const char *address = text_of(endpoint, "address");
    json_int_t port = socket_view_integer(endpoint, "port");
    bool v6 = strchr(address, ':') != NULL;
    text[0] = '\0';
    append(text, size, "%s%s%s:", v6 ? "[" : "", address, v6 ? "]" : "");
    if (port == 0) {
        append(text, size, "*");
    } else {
        append(text, size, "%" JSON_INTEGER_FORMAT, port);
    }
}

void socket_view_processes(const json_t *socket, char *text, size_t size)
{
    text[0] = '\0';
    const json_t *processes = json_object_get(socket, "processes");
    size_t index;
    const json_t *process;
    json_array_foreach(processes, index, process)
    {
        append(text, size, "%s(\"%s\",pid=%" JSON_INTEGER_FORMAT, index == 0 ? "users:(" : ",",
               text_of(process, "program"), socket_view_integer(process, "pid"));
        if (json_object_get(process, "fd") != NULL) {
            append(text, size, ",fd=%" JSON_INTEGER_FORMAT, socket_view_integer(process, "fd"));
        }
        append(text, size, ")");
    }
    if (text[0] != '\0') {
        append(text, size, ")");
    }
}

/* " label:value" for a member that is there (and not 0, if `skip_zero`). */
static void append_integer(char *text, size_t size, const json_t *socket, const char *member,
                           const char *label, bool skip_zero)
{
    const json_t *value = json_object_get(socket, member);
    if (json_is_integer(value) && (!skip_zero || json_integer_value(value) != 0)) {
        append(text, size, " %s:%" JSON_INTEGER_FORMAT, label, json_integer_value(value));
    }
}

static void append_times(char *text, size_t size, const json_t *socket)
{
    if (json_object_get(socket, "rto_us") != NULL) {
        append(text, size, " rto:%.6g", (double)socket_view_integer(socket, "rto_us") / 1000.0);
    }
    if (socket_view_integer(socket, "rtt_us") != 0) {
        append(text, size, " rtt:%.4g/%.4g", (double)socket_view_integer(socket, "rtt_us") / 1000.0,
               (double)socket_view_integer(socket, "rttvar_us") / 1000.0);
    }
}

void socket_view_info(const json_t *socket, char *text, size_t size)
{
    static const struct {
        const char *member;
        const char *label;
        bool skip_zero;
    } before[] = {{"mss_bytes", "mss", true},
                  {"pmtu_bytes", "pmtu", true},
                  {"cwnd", "cwnd", false},
                  {"ssthresh", "ssthresh", true},
                  {"bytes_sent", "bytes_sent", true},
                  {"bytes_retrans", "bytes_retrans", true},
                  {"bytes_acked", "bytes_acked", true},
                  {"bytes_received", "bytes_received", true},
                  {"segs_out", "segs_out", true},
                  {"segs_in", "segs_in", true},
                  {"last_snd_ms", "lastsnd", true},
                  {"last_rcv_ms", "lastrcv", true},
                  {"last_ack_ms", "lastack", true},
                  {"unacked", "unacked", true}},
      after[] = {{"lost", "lost", true},
                 {"sacked", "sacked", true},
                 {"dsack_dups", "dsack_dups", true},
                 {"reordering", "reordering", true},
                 {"rcv_space_bytes", "rcv_space", true},
                 {"snd_wnd_bytes", "snd_wnd", true}};
    text[0] = '\0';
    size_t index;
    const json_t *option;
    json_array_foreach(json_object_get(socket, "options"), index, option)
    {
        append(text, size, " %s", json_is_string(option) ? json_string_value(option) : "");
    }
    if (json_object_get(socket, "congestion_control") != NULL) {
        append(text, size, " %s", text_of(socket, "congestion_control"));
    }
    if (json_object_get(socket, "snd_wscale") != NULL) {
        append(text, size, " wscale:%" JSON_INTEGER_FORMAT ",%" JSON_INTEGER_FORMAT,
               socket_view_integer(socket, "snd_wscale"),
               socket_view_integer(socket, "rcv_wscale"));
    }
    append_times(text, size, socket);
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        append_integer(text, size, socket, before[i].member, before[i].label, before[i].skip_zero);
    }
    if (socket_view_integer(socket, "retrans_total") != 0) {
        append(text, size, " retrans:%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT,
               socket_view_integer(socket, "retrans"),
               socket_view_integer(socket, "retrans_total"));
    }
    for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++) {
        append_integer(text, size, socket, after[i].member, after[i].label, after[i].skip_zero);
    }
}

void socket_view_names(const json_t *socket, struct socket_view_names *names)
{
    socket_view_endpoint(socket, "local", names->local, sizeof(names->local));
    socket_view_endpoint(socket, "remote", names->remote, sizeof(names->remote));
    socket_view_processes(socket, names->processes, sizeof(names->processes));
}
