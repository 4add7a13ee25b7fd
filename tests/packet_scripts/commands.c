#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"
#include "core/sysctl.h"
#include "machine.h"

/* ---- sysctl ------------------------------------------------------------------------------- */

/** Those whose values change nothing that a script could see of the core. */
static bool sysctl_has_no_effect(const char *name)
{
    static const char *const without_effect[] = {
        "net.core.default_qdisc",
        "net.core.somaxconn",
        "net.core.busy_poll",
        "net.core.busy_read",
        "net.core.optmem_max",
        "net.core.rmem_max",
        "net.core.wmem_max",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.route.min_adv_mss",
        "net.ipv4.tcp_allowed_congestion_control",
        "net.ipv4.tcp_autocorking",
        "net.ipv4.tcp_available_congestion_control",
        "net.ipv4.tcp_backlog_ack_defer",
        "net.ipv4.tcp_challenge_ack_limit",
        "net.ipv4.tcp_comp_sack_delay_ns",
        "net.ipv4.tcp_comp_sack_nr",
        "net.ipv4.tcp_comp_sack_slack_ns",
        "net.ipv4.tcp_ecn_option",
        "net.ipv4.tcp_fack",
        "net.ipv4.tcp_fastopen_cookies",
        "net.ipv4.tcp_limit_output_bytes",
        "net.ipv4.tcp_max_reordering",
        "net.ipv4.tcp_max_syn_backlog",
        "net.ipv4.tcp_no_metrics_save",
        "net.ipv4.tcp_no_ssthresh_metrics_save",
        "net.ipv4.tcp_tso_win_divisor",
        "net.ipv4.tcp_tw_reuse",
        "net.ipv6.auto_flowlabels",
        "net.ipv6.flowlabel_consistency",
    };
    for (unsigned i = 0; i < sizeof(without_effect) / sizeof(without_effect[0]); i++) {
        if (strcmp(name, without_effect[i]) == 0)
            return true;
    }
    return false;
}

static bool change_sysctl(struct machine *machine, const char *name, const char *value)
{
    if (sysctl_has_no_effect(name))
        return true;
    if (strcmp(name, "net.ipv4.tcp_notsent_lowat") == 0) {
        machine->notsent_lowat = (uint32_t)strtoull(value, NULL, 0);
        return true;
    }
    return stack_sysctl_set(&machine->config, name, value) == 0;
}

/** At any time: what the stack does from now on. */
static bool set_sysctl(struct machine *machine, const char *name, const char *value)
{
    if (!change_sysctl(machine, name, value))
        return false;
    if (machine->stack != NULL)
        stack_set_tcp_defaults(machine->stack, &machine->config.tcp);
    return true;
}

/** What the customary defaults.sh sets, as far as the core knows it. */
static void set_customary_defaults(struct machine *machine)
{
    static const char *const defaults[][2] = {
        {"net.ipv4.tcp_rmem", "4096 540000 15728640"},
        {"net.ipv4.tcp_wmem", "4096 262144 4194304"},
        {"net.ipv4.tcp_syn_retries", "5"},
        {"net.ipv4.tcp_synack_retries", "5"},
        {"net.ipv4.tcp_congestion_control", "cubic"},
        {"net.ipv4.tcp_ecn", "0"},
        {"net.ipv4.tcp_timestamps", "1"},
        {"net.ipv4.tcp_sack", "1"},
        {"net.ipv4.tcp_syncookies", "1"},
        {"net.ipv4.tcp_early_retrans", "4"},
        {"net.ipv4.tcp_slow_start_after_idle", "0"},
        {"net.ipv4.tcp_fastopen", "0x70403"},
        {"net.ipv4.tcp_fastopen_key", "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"},
    };
    for (unsigned i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
        if (!set_sysctl(machine, defaults[i][0], defaults[i][1]))
            abort();
    }
}

/* ---- Shell -------------------------------------------------------------------------------- */

static char *without_quotes(char *text)
{
    size_t length = strlen(text);
    if (length >= 2 && (text[0] == '"' || text[0] == '\'') && text[length - 1] == text[0]) {
        text[length - 1] = '\0';
        return text + 1;
    }
    return text;
}

/** /proc/sys/net/ipv4/x, net/ipv4/x or net.ipv4.x, then =value. */
static bool assign_sysctl(struct machine *machine, char *assignment)
{
    char *value = strchr(assignment, '=');
    char *name = assignment;
    if (value == NULL)
        return false;
    *value++ = '\0';
    if (strncmp(name, "/proc/sys/", 10) == 0)
        name += 10;
    for (char *c = name; *c != '\0'; c++)
        *c = *c == '/' ? '.' : *c;
    return set_sysctl(machine, name, without_quotes(value));
}

/** The next word, with quotes kept together; NULL at the end. */
static char *next_word(char **at)
{
    while (**at == ' ' || **at == '\t' || **at == '\\')
        ++*at;
    if (**at == '\0')
        return NULL;
    char *start = *at, quote = '\0';
    for (; **at != '\0' && (quote != '\0' || (**at != ' ' && **at != '\t')); ++*at) {
        if (quote == '\0' && (**at == '"' || **at == '\''))
            quote = **at;
        else if (**at == quote)
            quote = '\0';
    }
    if (**at != '\0')
        *(*at)++ = '\0';
    return start;
}

static bool run_sysctl(struct machine *machine, char *rest, const char **what)
{
    char *text;
    while ((text = next_word(&rest)) != NULL) {
        if (text[0] == '-' || text[0] == '>' || text[0] == '2')
            continue;
        *what = text;
        if (!assign_sysctl(machine, text))
            return false;
    }
    return true;
}

/** dd bs=1 count=5 of=FILE: a file of that many bytes, which open() finds. */
static bool make_file(struct machine *machine, char *rest)
{
    uint64_t block = 512, count = 0;
    char *word, *name = NULL;
    while ((word = next_word(&rest)) != NULL) {
        if (strncmp(word, "bs=", 3) == 0)
            block = strtoull(word + 3, NULL, 10);
        else if (strncmp(word, "count=", 6) == 0)
            count = strtoull(word + 6, NULL, 10);
        else if (strncmp(word, "of=", 3) == 0)
            name = word + 3;
    }
    if (name == NULL || machine->file_count == MACHINE_FILES_MAX)
        return false;
    struct machine_file *file = &machine->files[machine->file_count++];
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->bytes = block * count;
    return true;
}

/** echo VALUE > /proc/sys/…: a sysctl; any other echo says nothing. */
static bool run_echo(struct machine *machine, char *rest, const char **what)
{
    char *target = strstr(rest, "/proc/sys/"), assignment[256];
    char *arrow = strchr(rest, '>');
    if (target == NULL || arrow == NULL || arrow > target)
        return true;
    *arrow = '\0';
    target[strcspn(target, " \t")] = '\0';
    char *value = next_word(&rest);
    snprintf(assignment, sizeof(assignment), "%s=%s", target, value == NULL ? "" : value);
    *what = target;
    return assign_sysctl(machine, assignment);
}

/** A queue without length lets nothing through; with fq, all connections are paced. */
static bool run_tc(struct machine *machine, const char *rest)
{
    if (strstr(rest, "qdisc") == NULL)
        return true;
    machine->egress_blocked = strstr(rest, "limit 0") != NULL;
    machine->config.tcp.pace_rtt_ns = strstr(rest, " fq") != NULL ? 0 : TIME_NEVER;
    if (machine->stack != NULL)
        stack_set_tcp_defaults(machine->stack, &machine->config.tcp);
    return true;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static bool run_one(struct machine *machine, char *command, const char **what)
{
    static const char *const harmless[] = {"sleep",   "true", ":",    "ss",  "ip",
                                           "ethtool", "cat",  "rm",   "awk", "modprobe",
                                           "tcpdump", "sync", "date", "exit"};
    char *rest = command, *name = next_word(&rest);
    *what = name;
    if (name == NULL || name[0] == '#')
        return true;
    if (strchr(rest, '|') != NULL)
        return false; /* what one program says decides of another's result: not known here */
    char *slash = strrchr(name, '/');
    char *program = slash == NULL ? name : slash + 1;
    if (ends_with(name, "defaults.sh")) {
        set_customary_defaults(machine);
        return true;
    }
    if (strstr(name, "sysctl_restore") != NULL)
        return true;
    if (strcmp(program, "sysctl") == 0 || strcmp(program, "set_sysctls.py") == 0)
        return run_sysctl(machine, rest, what);
    if (strcmp(program, "ip") == 0 && strstr(rest, "tcp_metrics flush") != NULL &&
        machine->stack != NULL)
        tcp_fast_open_forget(machine->stack);
    if (strcmp(program, "dd") == 0)
        return make_file(machine, rest);
    if (strcmp(program, "echo") == 0)
        return run_echo(machine, rest, what);
    if (strcmp(program, "tc") == 0)
        return run_tc(machine, rest);
    if (strstr(rest, "route change") != NULL || strstr(rest, "route add") != NULL ||
        strstr(rest, "initcwnd") != NULL)
        return false;
    for (unsigned i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
        if (strcmp(program, harmless[i]) == 0)
            return true;
    }
    return false;
}

/** $((a*b*c)) becomes its value, in place. */
static void multiply_out(char *text)
{
    char *start;
    while ((start = strstr(text, "$((")) != NULL) {
        unsigned long long product = 1;
        char *at = start + 3, *end = strstr(start, "))");
        if (end == NULL)
            return;
        while (at < end) {
            product *= strtoull(at, &at, 10);
            at += *at == '*';
            if (at < end && (*at < '0' || *at > '9'))
                return;
        }
        int written = snprintf(start, (size_t)(end + 2 - start), "%llu", product);
        if (written > 0 && written < end + 2 - start)
            memset(start + written, ' ', (size_t)(end + 2 - start - written));
    }
}

/** Comments go; lines that end in a backslash are joined with the next. */
static void tidy(char *text)
{
    for (char *c = text; *c != '\0'; c++) {
        bool begins = c == text || c[-1] == '\n' || c[-1] == ' ' || c[-1] == '\t';
        if (*c == '#' && begins)
            memset(c, ' ', strcspn(c, "\n"));
        if (*c == '\\' && c[1] == '\n')
            c[0] = c[1] = ' ';
        if (strncmp(c, "||", 2) == 0)
            memcpy(c, "\n\n", 2);
        if (strncmp(c, "2>&1", 4) == 0)
            memset(c, ' ', 4);
        if (strncmp(c, "&>", 2) == 0) {
            size_t gap = 2 + strspn(c + 2, " ");
            memset(c, ' ', gap + strcspn(c + gap, " \n;|"));
        }
    }
}

/** One command of several. @return 0, or -1 with the problem told. */
static int run_command(struct machine *machine, char *command, unsigned line)
{
    const char *what = command + strspn(command, " \t");
    bool is_nstat = strncmp(what, "nstat", 5) == 0;
    if (is_nstat || strncmp(what, "grep ", 5) == 0) {
        int found = is_nstat ? machine_nstat(machine, what + 5) : machine_grep(machine, what);
        if (found == 0)
            script_error_set(machine->problem, line, "command '%s' finds nothing", what);
        if (found < 0)
            script_error_set(machine->problem, line, "command '%s' can't be run here", what);
        return found > 0 ? 0 : -1;
    }
    if (run_one(machine, command, &what))
        return 0;
    script_error_set(machine->problem, line, "command '%s' can't be run here", what);
    return -1;
}

int machine_command(struct machine *machine, const char *text, unsigned line)
{
    char *copy = strdup(text), *state = NULL;
    int result = 0;
    if (copy == NULL)
        abort();
    tidy(copy);
    multiply_out(copy);
    for (char *one = strtok_r(copy, "\n;&", &state); one != NULL && result == 0;
         one = strtok_r(NULL, "\n;&", &state))
        result = run_command(machine, one, line);
    free(copy);
    return result;
}

int machine_init_scripts(struct machine *machine, const char *names, unsigned line)
{
    char *copy = strdup(names), *state = NULL;
    int result = 0;
    if (copy == NULL)
        abort();
    for (char *name = strtok_r(copy, ",", &state); name != NULL && result == 0;
         name = strtok_r(NULL, ",", &state)) {
        char text[65536];
        FILE *file = fopen(name, "r");
        if (file == NULL) {
            script_error_set(machine->problem, line, "--init_scripts: %s can't be read", name);
            result = -1;
            break;
        }
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        fclose(file);
        result = machine_command(machine, text, line);
    }
    free(copy);
    return result;
}

/* ---- Options ------------------------------------------------------------------------------ */

static bool parse_address(const char *text, struct ip_address *address)
{
    uint8_t bytes[16];
    if (inet_pton(AF_INET, text, bytes) == 1)
        *address = ip_address_from_v4(bytes);
    else if (inet_pton(AF_INET6, text, bytes) == 1)
        *address = ip_address_from_v6(bytes);
    else
        return false;
    return true;
}

int machine_option(struct machine *machine, const struct script_option *option)
{
    const char *value = option->value == NULL ? "" : option->value;
    bool good = true;
    if (strcmp(option->name, "ip_version") == 0) {
        good = strcmp(value, "ipv4") == 0 || strcmp(value, "ipv6") == 0 ||
               strcmp(value, "ipv4-mapped-ipv6") == 0;
    } else if (strcmp(option->name, "tolerance_usecs") == 0) {
        machine->tolerance_ns = (uint64_t)atoll(value) * NS_PER_US;
    } else if (strcmp(option->name, "tolerance_percent") == 0) {
        machine->tolerance_percent = atof(value);
    } else if (strcmp(option->name, "tcp_ts_tick_usecs") == 0) {
        machine->timestamp_tick_us = (uint32_t)atoi(value);
    } else if (strcmp(option->name, "mtu") == 0) {
        machine->mtu = (uint16_t)atoi(value);
    } else if (strcmp(option->name, "mss") == 0) {
        machine->inbound_mss = (uint16_t)atoi(value);
    } else if (strcmp(option->name, "bind_port") == 0) {
        machine->bind_port = (uint16_t)atoi(value);
    } else if (strcmp(option->name, "connect_port") == 0) {
        machine->connect_port = (uint16_t)atoi(value);
    } else if (strcmp(option->name, "non_fatal") == 0) {
        machine->packets_not_fatal = strstr(value, "packet") != NULL;
        machine->calls_not_fatal = strstr(value, "syscall") != NULL;
        good = machine->packets_not_fatal || machine->calls_not_fatal;
    } else if (strcmp(option->name, "code_command") == 0) {
        good = strstr(value, "python") != NULL; /* what the code is written in */
    } else if (strcmp(option->name, "code_sockopt") == 0) {
        good = value[0] == '\0' || strcmp(value, "TCP_INFO") == 0;
    } else if (strcmp(option->name, "strict_segments") == 0) {
        machine->strict_segments = true;
    } else if (strcmp(option->name, "strict_timestamps") == 0) {
        machine->strict_timestamps = true;
    } else if (strcmp(option->name, "local_ip") == 0) {
        good = parse_address(value, &machine->local);
        machine->config.prefixes[machine->is_ipv6].address = machine->local;
        struct ip_address *gateway =
            machine->is_ipv6 ? &machine->config.gateway_v6 : &machine->config.gateway_v4;
        if (ip_address_equal(gateway, &machine->local))
            gateway->bytes[15] ^= 0x80; /* another of the same prefix */
    } else if (strcmp(option->name, "remote_ip") == 0) {
        good = parse_address(value, &machine->remote);
    } else {
        /* Those that say how packetdrill itself works say nothing about TCP. */
        static const char *const others[] = {
            "gateway_ip",     "netmask_ip",     "verbose",
            "dry_run",        "speed",          "define",
            "send_omit_free", "init_scripts",   "tcp_ts_ecr_scaled",
            "so_filename",    "so_flags",       "persistent_tun_dev",
            "netns",          "debug",          "is_anyip",
            "code_format",    "wire_client_dev"};
        good = false;
        for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
            good |= strcmp(option->name, others[i]) == 0;
    }
    if (!good) {
        script_error_set(machine->problem, option->line, "option --%s=%s can't be run here",
                         option->name, value);
        return -1;
    }
    return 0;
}
