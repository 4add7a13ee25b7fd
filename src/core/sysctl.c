#include "core/sysctl.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/time_units.h"

#define PREFIX "net.ipv4."

/** What Linux does where net.ipv4.tcp_orphan_retries is 0 (tcp_orphan_retries()). */
#define ORPHAN_RETRIES 8

enum field {
    FIELD_BOOL,
    FIELD_U8,
    FIELD_U16,
    FIELD_NS, /**< uint64_t, of numbers times `unit_ns` */
};

struct number_sysctl {
    const char *name;
    size_t offset; /**< in struct tcp_defaults */
    enum field field;
    uint64_t least, most;
    uint64_t unit_ns;
};

#define NUMBER(name, member, field, least, most, unit)                                             \
    {                                                                                              \
        PREFIX name, offsetof(struct tcp_defaults, member), field, least, most, unit               \
    }

static const struct number_sysctl numbers[] = {
    NUMBER("tcp_base_mss", mtu_probe_base, FIELD_U16, 48, UINT16_MAX, 0),
    NUMBER("tcp_ecn", ecn, FIELD_U8, TCP_ECN_OFF, TCP_ECN_ACCEPT, 0),
    /* Flags beyond 16 bits, which some set, mean nothing. */
    NUMBER("tcp_fastopen", fast_open, FIELD_U16, 0, UINT32_MAX, 0),
    NUMBER("tcp_fastopen_blackhole_timeout_sec", fast_open_black_hole_ns, FIELD_NS, 0, INT32_MAX,
           NS_PER_S),
    NUMBER("tcp_fin_timeout", fin_wait2_timeout_ns, FIELD_NS, 0, INT32_MAX, NS_PER_S),
    NUMBER("tcp_keepalive_intvl", keepalive_interval_ns, FIELD_NS, 1, INT32_MAX, NS_PER_S),
    NUMBER("tcp_keepalive_probes", keepalive_count, FIELD_U8, 0, UINT8_MAX, 0),
    NUMBER("tcp_keepalive_time", keepalive_idle_ns, FIELD_NS, 1, INT32_MAX, NS_PER_S),
    NUMBER("tcp_min_tso_segs", min_tso_segs, FIELD_U8, 1, UINT8_MAX, 0),
    NUMBER("tcp_mtu_probing", mtu_probing, FIELD_U8, TCP_MTU_PROBING_OFF, TCP_MTU_PROBING_ALWAYS,
           0),
    NUMBER("tcp_orphan_retries", orphan_retries, FIELD_U8, 0, UINT8_MAX, 0),
    NUMBER("tcp_retries2", retries, FIELD_U8, 0, UINT8_MAX, 0),
    NUMBER("tcp_rto_max_ms", rto_max_ns, FIELD_NS, 1000, 120000, NS_PER_MS),
    NUMBER("tcp_rto_min_us", rto_min_ns, FIELD_NS, 1, INT32_MAX, NS_PER_US),
    NUMBER("tcp_sack", sack, FIELD_BOOL, 0, UINT8_MAX, 0),
    NUMBER("tcp_slow_start_after_idle", slow_start_after_idle, FIELD_BOOL, 0, UINT8_MAX, 0),
    NUMBER("tcp_syn_linear_timeouts", syn_linear_timeouts, FIELD_U8, 0, 127, 0),
    NUMBER("tcp_syn_retries", syn_retries, FIELD_U8, 1, 127, 0),
    NUMBER("tcp_synack_retries", synack_retries, FIELD_U8, 0, UINT8_MAX, 0),
    NUMBER("tcp_syncookies", syn_cookies, FIELD_U8, 0, 2, 0),
    NUMBER("tcp_timestamps", timestamps, FIELD_BOOL, 0, UINT8_MAX, 0),
    NUMBER("tcp_window_scaling", window_scaling, FIELD_BOOL, 0, UINT8_MAX, 0),
};

/** Those that the stack has at one value only, or at two. */
static const struct {
    const char *name;
    const char *values[2];
} built[] = {
    {PREFIX "tcp_abort_on_overflow", {"0"}},
    {PREFIX "tcp_adv_win_scale", {"1"}},
    {PREFIX "tcp_dsack", {"1"}},
    {PREFIX "tcp_frto", {"2", "1"}},
    {PREFIX "tcp_invalid_ratelimit", {"500"}},
    {PREFIX "tcp_min_rtt_wlen", {"300"}},
    {PREFIX "tcp_moderate_rcvbuf", {"1"}},
    {PREFIX "tcp_pacing_ca_ratio", {"120"}},
    {PREFIX "tcp_pacing_ss_ratio", {"200"}},
    {PREFIX "tcp_pingpong_thresh", {"1"}},
    {PREFIX "tcp_recovery", {"1"}},
    {PREFIX "tcp_reflect_tos", {"0"}},
    {PREFIX "tcp_reordering", {"3"}},
    {PREFIX "tcp_retries1", {"3"}},
    {PREFIX "tcp_rfc1337", {"0"}},
    {PREFIX "tcp_shrink_window", {"0"}},
    {PREFIX "tcp_stdurg", {"0"}},
    {PREFIX "tcp_thin_linear_timeouts", {"0"}},
    {PREFIX "tcp_tso_rtt_log", {"9"}},
    {PREFIX "tcp_workaround_signed_windows", {"0"}},
};

/* ---- Text ----------------------------------------------------------------------------------- */

static void skip_blanks(const char **at)
{
    *at += strspn(*at, " \t\n");
}

/** @return the value of a digit, or 16 if it is none. */
static unsigned digit_of(char digit)
{
    if (digit >= '0' && digit <= '9')
        return (unsigned)(digit - '0');
    if (digit >= 'a' && digit <= 'f')
        return (unsigned)(digit - 'a') + 10;
    if (digit >= 'A' && digit <= 'F')
        return (unsigned)(digit - 'A') + 10;
    return 16;
}

/** Digits at *at, which moves past them. @return false: there are none, or it is more than most. */
static bool take_digits(const char **at, unsigned base, uint64_t most, uint64_t *number)
{
    const char *start = *at;
    *number = 0;
    for (unsigned digit; (digit = digit_of(**at)) < base; ++*at) {
        if (digit > most || *number > (most - digit) / base)
            return false;
        *number = *number * base + digit;
    }
    return *at != start;
}

/** A number with the blanks around it. */
static bool take_number(const char **at, uint64_t least, uint64_t most, uint64_t *number)
{
    skip_blanks(at);
    bool hexadecimal = strncmp(*at, "0x", 2) == 0;
    *at += hexadecimal ? 2 : 0;
    bool good = take_digits(at, hexadecimal ? 16 : 10, most, number) && *number >= least;
    skip_blanks(at);
    return good;
}

/* ---- Values --------------------------------------------------------------------------------- */

static int set_number(const struct number_sysctl *sysctl, const char *value,
                      struct tcp_defaults *tcp)
{
    uint64_t number;
    if (!take_number(&value, sysctl->least, sysctl->most, &number) || *value != '\0')
        return -EINVAL;
    if (number == 0 && sysctl->offset == offsetof(struct tcp_defaults, orphan_retries))
        number = ORPHAN_RETRIES;
    char *target = (char *)tcp + sysctl->offset;
    bool flag = number != 0;
    uint8_t byte = (uint8_t)number;
    uint16_t word = (uint16_t)number;
    uint64_t ns = number * sysctl->unit_ns;
    switch (sysctl->field) {
    case FIELD_BOOL:
        memcpy(target, &flag, sizeof(flag));
        break;
    case FIELD_U8:
        memcpy(target, &byte, sizeof(byte));
        break;
    case FIELD_U16:
        memcpy(target, &word, sizeof(word));
        break;
    case FIELD_NS:
        memcpy(target, &ns, sizeof(ns));
        break;
    }
    return 0;
}

/** tcp_rmem and tcp_wmem: the least under pressure, which is not ours; to begin with; the most. */
static int set_buffer_sizes(const char *value, uint32_t *initial, uint32_t *maximum)
{
    uint64_t sizes[3];
    for (unsigned i = 0; i < 3; i++) {
        if (!take_number(&value, 1, INT32_MAX, &sizes[i]))
            return -EINVAL;
    }
    if (*value != '\0')
        return -EINVAL;
    *initial = (uint32_t)sizes[1];
    *maximum = (uint32_t)sizes[2];
    return 0;
}

/** aaaaaaaa-bbbbbbbb-cccccccc-dddddddd, each a number in the machine's own order. */
static bool take_key(const char **at, uint8_t key[16])
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t word;
        if (i > 0 && *(*at)++ != '-')
            return false;
        if (!take_digits(at, 16, UINT32_MAX, &word))
            return false;
        uint32_t short_word = (uint32_t)word;
        memcpy(key + i * sizeof(short_word), &short_word, sizeof(short_word));
    }
    return true;
}

/** KEY or KEY,OLD_KEY. */
static int set_fast_open_keys(struct stack_config *config, const char *value)
{
    uint8_t keys[2][16] = {0};
    unsigned count = 0;
    for (; count < 2 && (count == 0 || *value == ','); count++) {
        value += count; /* the comma */
        if (!take_key(&value, keys[count]))
            return -EINVAL;
    }
    skip_blanks(&value);
    if (*value != '\0')
        return -EINVAL;
    memcpy(config->tcp.fast_open_keys, keys, sizeof(keys));
    config->tcp.fast_open_key_count = (uint8_t)count;
    return 0;
}

static int set_port_range(struct stack_config *config, const char *value)
{
    uint64_t first, last;
    if (!take_number(&value, 1, UINT16_MAX, &first) ||
        !take_number(&value, first, UINT16_MAX, &last) || *value != '\0')
        return -EINVAL;
    config->local_port_first = (uint16_t)first;
    config->local_port_last = (uint16_t)last;
    return 0;
}

/** Linux: 0 off, 1 and 2 not any more, 3 and 4 probe the tail. */
static int set_early_retransmit(struct stack_config *config, const char *value)
{
    if (strlen(value) != 1 || value[0] < '0' || value[0] > '4')
        return -EINVAL;
    config->tcp.tail_probes = value[0] >= '3';
    return 0;
}

static int set_congestion(struct stack_config *config, const char *value)
{
    int id = tcp_congestion_by_name(value);
    if (id < 0)
        return -EINVAL;
    config->tcp.congestion = (uint8_t)id;
    return 0;
}

static int set_receive_buffer(struct stack_config *config, const char *value)
{
    return set_buffer_sizes(value, &config->tcp.receive_buffer_initial,
                            &config->tcp.receive_buffer_max);
}

static int set_send_buffer(struct stack_config *config, const char *value)
{
    return set_buffer_sizes(value, &config->tcp.send_buffer_initial, &config->tcp.send_buffer_max);
}

static const struct {
    const char *name;
    int (*set)(struct stack_config *config, const char *value);
} others[] = {
    {PREFIX "ip_local_port_range", set_port_range},
    {PREFIX "tcp_congestion_control", set_congestion},
    {PREFIX "tcp_early_retrans", set_early_retransmit},
    {PREFIX "tcp_fastopen_key", set_fast_open_keys},
    {PREFIX "tcp_rmem", set_receive_buffer},
    {PREFIX "tcp_wmem", set_send_buffer},
};

static int check_built(const char *name, const char *value)
{
    for (unsigned i = 0; i < sizeof(built) / sizeof(built[0]); i++) {
        if (strcmp(name, built[i].name) != 0)
            continue;
        for (unsigned j = 0; j < 2 && built[i].values[j] != NULL; j++) {
            if (strcmp(value, built[i].values[j]) == 0)
                return 0;
        }
        return -EINVAL;
    }
    return -ENOENT;
}

int stack_sysctl_set(struct stack_config *config, const char *name, const char *value)
{
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(name, numbers[i].name) == 0)
            return set_number(&numbers[i], value, &config->tcp);
    }
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcmp(name, others[i].name) == 0)
            return others[i].set(config, value);
    }
    return check_built(name, value);
}

const char *stack_sysctl_name(unsigned index)
{
    const unsigned number_count = sizeof(numbers) / sizeof(numbers[0]);
    const unsigned other_count = sizeof(others) / sizeof(others[0]);
    if (index < number_count)
        return numbers[index].name;
    index -= number_count;
    if (index < other_count)
        return others[index].name;
    index -= other_count;
    return index < sizeof(built) / sizeof(built[0]) ? built[index].name : NULL;
}
