#include "engine/options.h"

#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sysctl.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "engine/tenant.h"
#include "hostlink/policy_rule.h"

#define CONNECTIONS_DEFAULT 262144
#define CONNECTIONS_MAX     4194304
#define ARENA_MIB_DEFAULT   1024
#define SPIN_US_DEFAULT     20

void engine_options_init(struct engine_options *options)
{
    *options = (struct engine_options){
        .socket_path = LINK_SOCKET_PATH_DEFAULT,
        .mtu = 1500,
        .spin_us = SPIN_US_DEFAULT,
        .arena_mib = ARENA_MIB_DEFAULT,
        .connections_max = CONNECTIONS_DEFAULT,
        .dma = "memcpy",
        .log_level = LOG_LEVEL_INFO,
    };
    stack_config_init(&options->stack);
    options->stack.tcp.mtu_probing = TCP_MTU_PROBING_BLACK_HOLE;
}

/* ---- Values ------------------------------------------------------------------------------- */

struct problem {
    char *text;
    size_t bytes;
};

static int refuse(struct problem *problem, const char *name, const char *value, const char *why)
{
    (void)snprintf(problem->text, problem->bytes, "--%s %s: %s", name, value, why);
    return -EINVAL;
}

static int parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *number)
{
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-')
        return -EINVAL;
    if (parsed < minimum || parsed > maximum)
        return -ERANGE;
    *number = parsed;
    return 0;
}

static int parse_ip(const char *text, struct ip_address *address)
{
    uint8_t bytes[16];
    if (inet_pton(AF_INET, text, bytes) == 1) {
        *address = ip_address_from_v4(bytes);
        return 0;
    }
    if (inet_pton(AF_INET6, text, bytes) == 1) {
        *address = ip_address_from_v6(bytes);
        return 0;
    }
    return -EINVAL;
}

static bool is_unicast(const struct ip_address *address)
{
    return !ip_address_is_any(address) && !ip_address_is_multicast(address) &&
           !ip_address_is_loopback(address);
}

static int set_address(struct engine_options *options, const char *value, struct problem *problem)
{
    static const char name[] = "addr";
    char text[64];
    if (strlen(value) >= sizeof(text))
        return refuse(problem, name, value, "not an address");
    memcpy(text, value, strlen(value) + 1);
    char *slash = strchr(text, '/');
    if (slash == NULL)
        return refuse(problem, name, value, "prefix length missing (ADDRESS/LENGTH)");
    *slash = '\0';
    struct stack_prefix prefix;
    if (parse_ip(text, &prefix.address) != 0)
        return refuse(problem, name, value, "not an IPv4 or IPv6 address");
    if (!is_unicast(&prefix.address))
        return refuse(problem, name, value, "must be a unicast address, not loopback");
    bool v4 = ip_address_is_v4(&prefix.address);
    uint64_t length;
    if (parse_number(slash + 1, 1, v4 ? 32 : 128, &length) != 0)
        return refuse(problem, name, value, "prefix length out of range");
    prefix.prefix_length = (unsigned)length + (v4 ? 96 : 0);
    if (options->address_count == STACK_PREFIXES_MAX ||
        options->address_count == LINK_ADDRESSES_MAX)
        return refuse(problem, name, value, "too many addresses");
    options->addresses[options->address_count++] = prefix;
    return 0;
}

static int set_gateway(struct engine_options *options, const char *value, struct problem *problem)
{
    struct ip_address address;
    if (parse_ip(value, &address) != 0)
        return refuse(problem, "gateway", value, "not an IPv4 or IPv6 address");
    if (!is_unicast(&address))
        return refuse(problem, "gateway", value, "must be a unicast address, not loopback");
    bool v4 = ip_address_is_v4(&address);
    if (v4 ? options->has_gateway_v4 : options->has_gateway_v6)
        return refuse(problem, "gateway", value, "one gateway per family");
    if (v4) {
        options->has_gateway_v4 = true;
        options->gateway_v4 = address;
    } else {
        options->has_gateway_v6 = true;
        options->gateway_v6 = address;
    }
    return 0;
}

/** @return NULL: added; else why not. */
static const char *add_cpu(struct engine_options *options, uint64_t cpu)
{
    for (unsigned i = 0; i < options->core_count; i++)
        if (options->cpus[i] == cpu)
            return "names a CPU twice";
    if (options->core_count == LINK_CORES_MAX)
        return "at most 8 cores";
    options->cpus[options->core_count++] = (unsigned)cpu;
    return NULL;
}

/** "1", "1,3" or "2-5". */
static int set_cores(struct engine_options *options, const char *value, struct problem *problem)
{
    const char *rest = value;
    while (*rest != '\0') {
        char *end;
        unsigned long first = strtoul(rest, &end, 10);
        unsigned long last = first;
        if (end == rest)
            return refuse(problem, "cores", value, "not a list of CPUs");
        rest = end;
        if (*rest == '-') {
            last = strtoul(rest + 1, &end, 10);
            if (end == rest + 1)
                return refuse(problem, "cores", value, "not a list of CPUs");
            rest = end;
        }
        if (last < first || last >= CPU_SETSIZE)
            return refuse(problem, "cores", value, "not a list of CPUs");
        for (unsigned long cpu = first; cpu <= last; cpu++) {
            const char *why = add_cpu(options, cpu);
            if (why != NULL)
                return refuse(problem, "cores", value, why);
        }
        if (*rest == ',' && rest[1] != '\0')
            rest++;
        else if (*rest != '\0')
            return refuse(problem, "cores", value, "not a list of CPUs");
    }
    return options->core_count > 0 ? 0 : refuse(problem, "cores", value, "empty");
}

static int set_mac(struct engine_options *options, const char *value, struct problem *problem)
{
    unsigned octets[6];
    int used = 0;
    if (sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%n", &octets[0], &octets[1], &octets[2], &octets[3],
               &octets[4], &octets[5], &used) != 6 ||
        value[used] != '\0')
        return refuse(problem, "mac", value, "not a MAC address (xx:xx:xx:xx:xx:xx)");
    if ((octets[0] & 1) != 0)
        return refuse(problem, "mac", value, "is a multicast address");
    for (unsigned i = 0; i < 6; i++)
        options->mac[i] = (uint8_t)octets[i];
    options->has_mac = true;
    return 0;
}

static int set_text(char *target, const char *name, const char *value, struct problem *problem)
{
    if (strlen(value) >= OPTIONS_TEXT_MAX)
        return refuse(problem, name, value, "too long");
    memcpy(target, value, strlen(value) + 1);
    return 0;
}

static int set_number(uint64_t minimum, uint64_t maximum, const char *name, const char *value,
                      uint64_t *number, struct problem *problem)
{
    if (parse_number(value, minimum, maximum, number) == 0)
        return 0;
    char why[80];
    (void)snprintf(why, sizeof(why), "must be a number from %llu to %llu",
                   (unsigned long long)minimum, (unsigned long long)maximum);
    return refuse(problem, name, value, why);
}

static int set_switch(bool *target, const char *name, const char *value, struct problem *problem)
{
    if (strcmp(value, "1") == 0 || strcmp(value, "true") == 0)
        *target = true;
    else if (strcmp(value, "0") == 0 || strcmp(value, "false") == 0)
        *target = false;
    else
        return refuse(problem, name, value, "must be true or false");
    return 0;
}

static int add_policy_rule(struct engine_options *options, const char *value,
                           struct problem *problem)
{
    static const char name[] = "policy";
    char why[160];
    if (options->policy_count == LINK_POLICY_RULES_MAX)
        return refuse(problem, name, value, "too many rules");
    struct link_policy_rule *rule = &options->policy[options->policy_count];
    if (link_policy_parse(value, rule, why, sizeof(why)) != 0)
        return refuse(problem, name, value, why);
    options->policy_count++;
    return 0;
}

/** Those options that are a sysctl's under another name. */
static int set_as_sysctl(struct engine_options *options, const char *name, const char *value,
                         struct problem *problem)
{
    static const struct {
        const char *name, *sysctl, *why;
    } table[] = {
        {"fast-open", "net.ipv4.tcp_fastopen", "must be a number from 0 to 65535"},
        {"fast-open-blackhole-s", "net.ipv4.tcp_fastopen_blackhole_timeout_sec",
         "must be a number from 0 to 2147483647"},
        {"fast-open-key", "net.ipv4.tcp_fastopen_key",
         "must be XXXXXXXX-XXXXXXXX-XXXXXXXX-XXXXXXXX in hexadecimal, or two with a comma"},
        {"mtu-probing", "net.ipv4.tcp_mtu_probing", "must be a number from 0 to 2"},
    };
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(name, table[i].name) == 0)
            return stack_sysctl_set(&options->stack, table[i].sysctl, value) == 0
                       ? 0
                       : refuse(problem, name, value, table[i].why);
    }
    return -ENOENT;
}

/** NAME=VALUE, as sysctl(8) takes it. */
static int set_sysctl(struct engine_options *options, const char *value, struct problem *problem)
{
    static const char option[] = "sysctl";
    char name[OPTIONS_TEXT_MAX];
    size_t length = strcspn(value, "=");
    if (value[length] == '\0' || length >= sizeof(name))
        return refuse(problem, option, value, "must be NAME=VALUE");
    memcpy(name, value, length);
    name[length] = '\0';
    int result = stack_sysctl_set(&options->stack, name, value + length + 1);
    if (result == 0)
        return 0;
    return refuse(problem, option, value,
                  result == -ENOENT ? "no sysctl that pnod has" : "no value that pnod has of it");
}

static int set_congestion(struct engine_options *options, const char *value,
                          struct problem *problem)
{
    int id = tcp_congestion_by_name(value);
    if (id >= 0) {
        options->stack.tcp.congestion = (uint8_t)id;
        return 0;
    }
    char why[160] = "unknown algorithm (there are:";
    for (unsigned i = 0; i < TCP_CONGESTION_COUNT; i++) {
        size_t used = strlen(why);
        (void)snprintf(why + used, sizeof(why) - used, " %s", tcp_congestion_name(i));
    }
    size_t used = strlen(why);
    (void)snprintf(why + used, sizeof(why) - used, ")");
    return refuse(problem, "congestion-control", value, why);
}

static int set_numeric_option(struct engine_options *options, const char *name, const char *value,
                              struct problem *problem)
{
    uint64_t number;
    int result;
    if (strcmp(name, "mtu") == 0) {
        result = set_number(1280, 9000, name, value, &number, problem);
        if (result == 0)
            options->mtu = (uint16_t)number;
    } else if (strcmp(name, "spin-us") == 0) {
        result = set_number(0, 1000000, name, value, &number, problem);
        if (result == 0)
            options->spin_us = (uint32_t)number;
    } else if (strcmp(name, "arena-mb") == 0) {
        result = set_number(8, 1048576, name, value, &number, problem);
        if (result == 0)
            options->arena_mib = (uint32_t)number;
    } else if (strcmp(name, "connections") == 0) {
        result = set_number(16, CONNECTIONS_MAX, name, value, &number, problem);
        if (result == 0)
            options->connections_max = (uint32_t)number;
    } else {
        return -ENOENT;
    }
    return result;
}

int engine_options_set(struct engine_options *options, const char *name, const char *value,
                       char *problem_text, size_t problem_bytes)
{
    struct problem problem = {problem_text, problem_bytes};
    if (strcmp(name, "port") == 0)
        return set_text(options->port, name, value, &problem);
    if (strcmp(name, "socket") == 0)
        return set_text(options->socket_path, name, value, &problem);
    if (strcmp(name, "addr") == 0)
        return set_address(options, value, &problem);
    if (strcmp(name, "gateway") == 0)
        return set_gateway(options, value, &problem);
    if (strcmp(name, "cores") == 0)
        return set_cores(options, value, &problem);
    if (strcmp(name, "mac") == 0)
        return set_mac(options, value, &problem);
    if (strcmp(name, "policy") == 0)
        return add_policy_rule(options, value, &problem);
    if (strcmp(name, "poll") == 0)
        return set_switch(&options->poll, name, value, &problem);
    if (strcmp(name, "huge") == 0)
        return set_switch(&options->huge, name, value, &problem);
    if (strcmp(name, "dma") == 0) {
        if (strcmp(value, "memcpy") != 0)
            return refuse(&problem, name, value, "unknown backend (there is: memcpy)");
        return set_text(options->dma, name, value, &problem);
    }
    if (strcmp(name, "congestion-control") == 0)
        return set_congestion(options, value, &problem);
    if (strcmp(name, "sysctl") == 0)
        return set_sysctl(options, value, &problem);
    if (strcmp(name, "log") == 0)
        return log_level_parse(value, &options->log_level)
                   ? 0
                   : refuse(&problem, name, value, "must be error, warning, info or debug");
    int result = set_as_sysctl(options, name, value, &problem);
    return result != -ENOENT ? result : set_numeric_option(options, name, value, &problem);
}

/* What --version prints; libc looks for it by name. */
__attribute__((visibility("default"))) const char *argp_program_version = "pnod " ENGINE_VERSION;

/* ---- Command line ------------------------------------------------------------------------- */

enum option_key {
    KEY_CONFIG = 'c',
    KEY_PORT = 'p',
    KEY_ADDR = 'a',
    KEY_GATEWAY = 'g',
    KEY_CORES = 'l',
    KEY_SOCKET = 's',
    KEY_MTU = 0x100,
    KEY_MAC,
    KEY_POLL,
    KEY_SPIN,
    KEY_HUGE,
    KEY_ARENA,
    KEY_CONNECTIONS,
    KEY_DMA,
    KEY_CONGESTION,
    KEY_POLICY,
    KEY_FAST_OPEN,
    KEY_FAST_OPEN_KEY,
    KEY_FAST_OPEN_BLACK_HOLE,
    KEY_MTU_PROBING,
    KEY_SYSCTL,
    KEY_LOG,
};

static const struct argp_option option_table[] = {
    {"config", KEY_CONFIG, "FILE", 0, "Read settings from a JSON file (keys as the options here)",
     0},
    {"port", KEY_PORT, "DEVARGS", 0,
     "DPDK device, e.g. net_af_xdp0,iface=eth1 or a PCI address; or packet,iface=eth1: packet "
     "sockets with the interface's offloads",
     0},
    {"addr", KEY_ADDR, "ADDR/LEN", 0, "An address of the engine with its prefix (repeatable)", 0},
    {"gateway", KEY_GATEWAY, "ADDR", 0, "Default gateway, one per family", 0},
    {"cores", KEY_CORES, "LIST", 0, "CPUs to run on, e.g. 1 or 2-5 (default: the first allowed)",
     0},
    {"socket", KEY_SOCKET, "PATH", 0, "Control socket (default " LINK_SOCKET_PATH_DEFAULT ")", 0},
    {"mtu", KEY_MTU, "BYTES", 0, "IP bytes per packet (default 1500)", 0},
    {"mac", KEY_MAC, "MAC", 0, "MAC address (default: the port's)", 0},
    {"poll", KEY_POLL, NULL, 0, "Never sleep", 0},
    {"spin-us", KEY_SPIN, "US", 0, "Look around this long before sleeping (default 20)", 0},
    {"huge", KEY_HUGE, NULL, 0, "Use huge pages", 0},
    {"arena-mb", KEY_ARENA, "MIB", 0, "Shared memory per application (default 1024)", 0},
    {"connections", KEY_CONNECTIONS, "N", 0, "Connections per core (default 262144)", 0},
    {"dma", KEY_DMA, "BACKEND", 0, "How host memory is reached (memcpy)", 0},
    {"policy", KEY_POLICY, "RULE", 0,
     "Which sockets are offloaded, e.g. 'kernel connect port=22' (repeatable; the first that fits "
     "decides; see pnod(8))",
     0},
    {"congestion-control", KEY_CONGESTION, "NAME", 0,
     "Congestion control of sockets that choose none (default cubic)", 0},
    {"fast-open", KEY_FAST_OPEN, "BITS", 0,
     "TCP Fast Open: Linux's bits of net.ipv4.tcp_fastopen (default 1: active opens; 2: listeners "
     "that ask for it)",
     0},
    {"fast-open-key", KEY_FAST_OPEN_KEY, "KEY[,OLD]", 0,
     "Key of fast open cookies, and the one before (default: random)", 0},
    {"fast-open-blackhole-s", KEY_FAST_OPEN_BLACK_HOLE, "S", 0,
     "How long active fast open pauses when the path swallows it (default 0: not at all)", 0},
    {"mtu-probing", KEY_MTU_PROBING, "0|1|2", 0,
     "Path MTU by probing: never, past an ICMP black hole, always (default 1)", 0},
    {"sysctl", KEY_SYSCTL, "NAME=VALUE", 0,
     "A sysctl of Linux's TCP (net.ipv4.…), for this engine alone (repeatable; default: the "
     "network namespace's; see pnod(8))",
     0},
    {"log", KEY_LOG, "LEVEL", 0, "error, warning, info or debug", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static const char *option_name(int key)
{
    for (const struct argp_option *option = option_table; option->name != NULL; option++)
        if (option->key == key)
            return option->name;
    return NULL;
}

/** One line on standard error, and out. */
static void fail(const char *text)
{
    log_error("%s (try --help)", text);
    exit(EXIT_FAILURE);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct engine_options *options = state->input;
    char problem[OPTIONS_TEXT_MAX * 4];
    if (key == ARGP_KEY_ARG) {
        (void)snprintf(problem, sizeof(problem), "%s: arguments are not expected", argument);
        fail(problem);
    }
    if (key == KEY_CONFIG) {
        if (config_load(options, argument, problem, sizeof(problem)) != 0)
            fail(problem);
        return 0;
    }
    const char *name = option_name(key);
    if (name == NULL)
        return ARGP_ERR_UNKNOWN;
    const char *value = argument != NULL ? argument : "1";
    if (engine_options_set(options, name, value, problem, sizeof(problem)) != 0)
        fail(problem);
    return 0;
}

/** The option of this name or an abbreviation of it, as getopt takes them; NULL: none. */
static const struct argp_option *find_option(const char *name, size_t length)
{
    const struct argp_option *found = NULL;
    for (const struct argp_option *option = option_table; option->name != NULL; option++) {
        if (strncmp(option->name, name, length) != 0)
            continue;
        if (strlen(option->name) == length)
            return option;
        found = option;
    }
    return found;
}

/** argp's own complaints take two lines; ours is made before it can. */
static void check_long_options(char **argv)
{
    static const char *const built_in[] = {"help", "usage", "version"};
    char text[OPTIONS_TEXT_MAX];
    for (char **argument = argv + 1; *argument != NULL; argument++) {
        const char *name = *argument + 2;
        size_t length = strcspn(*argument, "=") - 2;
        if (strncmp(*argument, "--", 2) != 0 || name[0] == '\0')
            continue;
        bool known = false;
        for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++)
            known = known || strncmp(built_in[i], name, length) == 0;
        const struct argp_option *option = find_option(name, length);
        (void)snprintf(text, sizeof(text), "--%.*s: %s", (int)length, name,
                       option == NULL ? "unknown option" : "needs a value");
        if (option == NULL && !known)
            fail(text);
        if (option != NULL && option->arg != NULL && name[length] == '\0') {
            /* The next word is its value. */
            argument++;
            if (*argument == NULL)
                fail(text);
        }
    }
}

static void use_first_allowed_cpu(struct engine_options *options)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    (void)sched_getaffinity(0, sizeof(allowed), &allowed);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed)) {
            options->cpus[0] = cpu;
            options->core_count = 1;
            return;
        }
    }
}

/** Half of an arena is the host's; something of that must be left for payload. */
static void check_arena(const struct engine_options *options)
{
    char text[OPTIONS_TEXT_MAX];
    uint64_t slots = TENANT_HOST_SLOTS + (uint64_t)options->connections_max * options->core_count;
    uint64_t least_mib = (slots * LINK_HOST_SLOT_BYTES * 2 >> 20) + 2;
    if (options->arena_mib >= least_mib)
        return;
    (void)snprintf(text, sizeof(text),
                   "--arena-mb %u: at least %llu for --connections %u on %u core(s)",
                   options->arena_mib, (unsigned long long)least_mib, options->connections_max,
                   options->core_count);
    fail(text);
}

/** As soon as a connection is established, Linux's buffer is that large at least
    (tcp_sndbuf_expand()); the host library counts on it. */
static void settle_send_buffer(struct tcp_defaults *tcp)
{
    uint32_t least = tcp->send_buffer_max < TENANT_SEND_BUFFER_BYTES ? tcp->send_buffer_max
                                                                     : TENANT_SEND_BUFFER_BYTES;
    if (tcp->send_buffer_initial < least)
        tcp->send_buffer_initial = least;
    if (tcp->send_buffer_max < tcp->send_buffer_initial)
        tcp->send_buffer_max = tcp->send_buffer_initial;
}

void engine_options_parse(struct engine_options *options, int argc, char **argv)
{
    static const struct argp parser = {
        .options = option_table,
        .parser = parse_option,
        .doc = "pnod — the PnO engine: serves offloaded programs' TCP over a DPDK port.",
    };
    check_long_options(argv);
    if (argp_parse(&parser, argc, argv, 0, NULL, options) != 0)
        exit(EXIT_FAILURE);
    if (options->port[0] == '\0')
        fail("no port given: --port DEVARGS, e.g. --port net_af_xdp0,iface=eth1");
    if (options->address_count == 0)
        fail("no address given: --addr ADDRESS/LENGTH");
    if (options->core_count == 0)
        use_first_allowed_cpu(options);
    settle_send_buffer(&options->stack.tcp);
    check_arena(options);
}
