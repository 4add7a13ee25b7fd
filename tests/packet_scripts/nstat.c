/* nstat: the stack's counters by the names that Linux has for them; and /proc/net/tcp. */
#include <regex.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

#define COUNTER(field)     offsetof(struct stack_counters, field)
#define DROPS(reason)      offsetof(struct stack_counters, drops[DROP_##reason])
#define LINE_BYTES         96
#define PIPELINE_BYTES_MAX 4096

/** As far as the stack counts what Linux counts. */
static const struct {
    const char *name;
    size_t offset;
} counters[] = {
    {"IcmpInMsgs", COUNTER(icmp_in)},
    {"IpReasmOKs", COUNTER(reassembled)},
    {"TcpActiveOpens", COUNTER(active_opens)},
    {"TcpPassiveOpens", COUNTER(passive_opens)},
    {"TcpInSegs", COUNTER(segments_in)},
    {"TcpRetransSegs", COUNTER(retransmits)},
    {"TcpInCsumErrors", DROPS(TCP_CHECKSUM)},
    {"TcpOutRsts", COUNTER(resets_out)},
    {"TcpExtSyncookiesSent", COUNTER(syn_cookies_sent)},
    {"TcpExtSyncookiesRecv", COUNTER(syn_cookies_accepted)},
    {"TcpExtSyncookiesFailed", DROPS(TCP_COOKIE_INVALID)},
    {"TcpExtOutOfWindowIcmps", DROPS(ICMP_OUT_OF_WINDOW)},
    {"TcpExtPAWSEstab", DROPS(TCP_PAWS)},
    {"TcpExtListenOverflows", DROPS(TCP_LISTEN_OVERFLOW)},
    {"TcpExtTCPTimeouts", COUNTER(rto_expirations)},
    {"TcpExtTCPOFOQueue", COUNTER(out_of_order)},
    {"TcpExtTCPChallengeACK", COUNTER(challenge_acks)},
    {"TcpExtTCPFastOpenActive", COUNTER(fast_open_active)},
    {"TcpExtTCPFastOpenActiveFail", COUNTER(fast_open_active_failed)},
    {"TcpExtTCPFastOpenPassive", COUNTER(fast_open_passive)},
    {"TcpExtTCPFastOpenPassiveFail", COUNTER(fast_open_passive_failed)},
    {"TcpExtTCPFastOpenListenOverflow", COUNTER(fast_open_listen_overflows)},
    {"TcpExtTCPFastOpenCookieReqd", COUNTER(fast_open_cookies_asked)},
    {"TcpExtTCPFastOpenBlackhole", COUNTER(fast_open_black_holes)},
    {"TcpExtTCPMTUPSuccess", COUNTER(mtu_probe_successes)},
    {"TcpExtTCPRcvQDrop", DROPS(NO_HOST_MEMORY)},
    {"TcpExtTCPZeroWindowDrop", DROPS(TCP_ZERO_WINDOW)},
    {"TcpExtBeyondWindow", DROPS(TCP_OUT_OF_WINDOW)},
};
#define COUNTERS    (sizeof(counters) / sizeof(counters[0]))
#define TABLE_BYTES (LINE_BYTES * (COUNTERS + MACHINE_SOCKETS_MAX))

static uint64_t value_of(const struct stack_counters *from, unsigned index)
{
    uint64_t value;
    memcpy(&value, (const char *)from + counters[index].offset, sizeof(value));
    return value;
}

/** What nstat prints: what has changed since it last ran, with -a since the start, with -z also
    what has not; -s leaves the former as it was. */
static void print_table(struct machine *machine, const char *flags, char *table)
{
    static const struct stack_counters none;
    const struct stack_counters *now =
        machine->stack != NULL ? stack_get_counters(machine->stack) : &none;
    for (unsigned i = 0; i < COUNTERS; i++) {
        uint64_t value = value_of(now, i);
        if (strchr(flags, 'a') == NULL)
            value -= value_of(&machine->nstat_base, i);
        if (value != 0 || strchr(flags, 'z') != NULL)
            table += snprintf(table, LINE_BYTES, "%-32s%-16llu  0.0\n", counters[i].name,
                              (unsigned long long)value);
    }
    *table = '\0';
    if (strchr(flags, 's') == NULL)
        machine->nstat_base = *now;
}

/** Whether what is looked for could be found: some counter's line, whatever its value. A pattern of
    digits says nothing about that. */
static bool can_be_told(const regex_t *pattern, const char *text)
{
    if (strpbrk(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == NULL)
        return true;
    for (unsigned i = 0; i < COUNTERS; i++) {
        char line[LINE_BYTES];
        snprintf(line, sizeof(line), "%-32s", counters[i].name);
        if (regexec(pattern, line, 0, NULL, 0) == 0)
            return true;
    }
    return false;
}

/** Leave the lines that match (or with -v do not).
    @param complete  the table has all that could be looked for.
    @return          -1: that can't be run, else their count. */
static int grep(char *arguments, char *table, bool complete)
{
    char *state = NULL, *text = NULL;
    bool inverted = false, ignore_case = false;
    for (char *at = arguments; *at != '\0';) {
        at += strspn(at, " \t");
        char quote = *at == '"' || *at == '\'' ? *at : '\0';
        char *word = quote != '\0' ? at + 1 : at;
        size_t length = quote != '\0' ? strcspn(word, "\"'") : strcspn(word, " \t");
        at = word + length + (word[length] != '\0');
        word[length] = '\0';
        if (word[0] == '>')
            break;
        if (word[0] == '-' && quote == '\0') {
            inverted |= strchr(word, 'v') != NULL;
            ignore_case |= strchr(word, 'i') != NULL;
        } else if (length > 0 && text == NULL) {
            text = word;
        }
    }
    regex_t pattern;
    if (text == NULL || regcomp(&pattern, text, REG_NOSUB | (ignore_case ? REG_ICASE : 0)) != 0)
        return -1;
    int found = complete || can_be_told(&pattern, text) ? 0 : -1;
    char kept[TABLE_BYTES] = "", *end = kept;
    for (char *line = strtok_r(table, "\n", &state); line != NULL && found >= 0;
         line = strtok_r(NULL, "\n", &state)) {
        if ((regexec(&pattern, line, 0, NULL, 0) == 0) == inverted)
            continue;
        found++;
        end += snprintf(end, LINE_BYTES, "%s\n", line);
    }
    memcpy(table, kept, (size_t)(end - kept) + 1);
    regfree(&pattern);
    return found;
}

/** As far as the columns that say which socket it is, and its state. */
static void print_sockets(const struct machine *machine, char *table)
{
    *table = '\0';
    for (unsigned i = 0; i < MACHINE_SOCKETS_MAX; i++) {
        const struct machine_socket *socket = &machine->sockets[i];
        struct ip_endpoint local = socket->local, remote = {0};
        unsigned state = 10;
        if (socket->kind == SOCKET_CONNECTION && socket->connection != NULL) {
            struct tcp_connection_info info;
            tcp_get_info(machine->stack, socket->connection, machine->now_ns, &info);
            tcp_endpoints(socket->connection, &local, &remote);
            state = info.state;
        } else if (socket->kind != SOCKET_LISTENING) {
            continue;
        }
        table += snprintf(table, LINE_BYTES, "%4u: %08X:%04X %08X:%04X %02X 00000000:00000000\n", i,
                          0u, local.port, 0u, remote.port, state);
    }
}

int machine_grep(struct machine *machine, const char *pipeline)
{
    char copy[PIPELINE_BYTES_MAX], table[TABLE_BYTES], *state = NULL;
    if (strstr(pipeline, "/proc/net/tcp") == NULL ||
        (size_t)snprintf(copy, sizeof(copy), "%s", pipeline) >= sizeof(copy))
        return -1;
    print_sockets(machine, table);
    int status = 1;
    for (char *filter = strtok_r(copy, "|", &state); filter != NULL && status > 0;
         filter = strtok_r(NULL, "|", &state)) {
        filter += strspn(filter, " \t");
        status = strncmp(filter, "grep", 4) == 0 ? grep(filter + 4, table, true) : -1;
    }
    return status < 0 ? -1 : status > 0;
}

int machine_nstat(struct machine *machine, const char *pipeline)
{
    char copy[PIPELINE_BYTES_MAX], table[TABLE_BYTES], *state = NULL;
    if ((size_t)snprintf(copy, sizeof(copy), "%s", pipeline) >= sizeof(copy))
        return -1;
    char *command = strtok_r(copy, "|", &state);
    char *flags = strchr(command, '-');
    if (flags != NULL)
        flags[strcspn(flags, " \t>")] = '\0';
    if (flags != NULL && strspn(flags, "-nsaz") != strlen(flags))
        return -1;
    print_table(machine, flags == NULL ? "" : flags, table);
    int status = 1;
    for (char *filter = strtok_r(NULL, "|", &state); filter != NULL && status > 0;
         filter = strtok_r(NULL, "|", &state)) {
        filter += strspn(filter, " \t");
        status = strncmp(filter, "grep", 4) == 0 ? grep(filter + 4, table, false) : -1;
    }
    return status < 0 ? -1 : status > 0;
}
