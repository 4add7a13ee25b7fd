#include "core/tcp/options.h"

enum option_kind {
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_MSS = 2,
    OPTION_WINDOW_SCALE = 3,
    OPTION_SACK_PERMITTED = 4,
    OPTION_SACK = 5,
    OPTION_TIMESTAMPS = 8,
    OPTION_SIGNATURE = 19,
    OPTION_FAST_OPEN = 34,
    OPTION_EXPERIMENT = 254, /* RFC 6994, with the identifier after it */
};

/** Bytes of an MD5 digest (RFC 2385 §3). */
#define SIGNATURE_BYTES 16

/** Fast open's, before it had a number of its own (RFC 7413 appendix B). */
#define EXPERIMENT_FAST_OPEN 0xf989

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof(value));
    return __builtin_bswap32(value);
}

static void put32(uint8_t *p, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(p, &value, sizeof(value));
}

static void parse_sack(const uint8_t *data, unsigned data_length, struct tcp_options *out)
{
    unsigned count = data_length / 8;
    if (data_length % 8 != 0 || count == 0 || count > TCP_SACK_BLOCKS_MAX)
        return;
    out->sack_block_count = (uint8_t)count;
    for (unsigned i = 0; i < count; i++) {
        out->sack_blocks[i].start = seq_of(get32(data + 8 * i));
        out->sack_blocks[i].end = seq_of(get32(data + 8 * i + 4));
    }
}

/** A cookie of 4 to 16 bytes, an even number; or none, which asks for one. Linux does not care for
    odd lengths, and takes a cookie of the wrong length for no option at all. */
static void parse_fast_open(const uint8_t *cookie, unsigned length, bool experimental,
                            struct tcp_options *out)
{
    if (length % 2 != 0)
        return;
    out->has_fast_open = length == 0 || (length >= 4 && length <= sizeof(out->fast_open_cookie));
    out->fast_open_experimental = experimental;
    out->fast_open_length = (uint8_t)length;
    if (out->has_fast_open)
        memcpy(out->fast_open_cookie, cookie, length);
}

static void parse_one(uint8_t kind, const uint8_t *data, unsigned data_length,
                      struct tcp_options *out)
{
    switch (kind) {
    case OPTION_MSS:
        if (data_length == 2 && get16(data) != 0) {
            out->has_mss = true;
            out->mss = get16(data);
        }
        break;
    case OPTION_WINDOW_SCALE:
        if (data_length == 1) {
            out->has_window_scale = true;
            out->window_scale = data[0];
        }
        break;
    case OPTION_SACK_PERMITTED:
        if (data_length == 0)
            out->has_sack_permitted = true;
        break;
    case OPTION_SACK:
        parse_sack(data, data_length, out);
        break;
    case OPTION_TIMESTAMPS:
        if (data_length == 8) {
            out->has_timestamps = true;
            out->timestamp_value = get32(data);
            out->timestamp_echo = get32(data + 4);
        }
        break;
    case OPTION_SIGNATURE:
        out->has_signature = out->has_signature || data_length == SIGNATURE_BYTES;
        break;
    case OPTION_FAST_OPEN:
        parse_fast_open(data, data_length, false, out);
        break;
    case OPTION_EXPERIMENT:
        if (data_length >= 2 && get16(data) == EXPERIMENT_FAST_OPEN)
            parse_fast_open(data + 2, data_length - 2, true, out);
        break;
    default:
        break;
    }
}

/** A SYN's options as Linux and tcp_options_build_syn() lay them out: <MSS, SACK-permitted,
    timestamps, nop, window scale>. @return false: another layout. */
static bool parse_usual_syn(const uint8_t *bytes, uint32_t length, struct tcp_options *out)
{
    if (length != TCP_OPTIONS_SYN_BYTES)
        return false;
    uint32_t mss = get32(bytes), scale = get32(bytes + 16);
    if ((mss & 0xffff0000) != TCP_OPTIONS_SYN_MSS || (mss & 0xffff) == 0 ||
        get32(bytes + 4) != TCP_OPTIONS_SYN_MIDDLE || (scale & 0xffffff00) != TCP_OPTIONS_SYN_SCALE)
        return false;
    out->has_mss = out->has_sack_permitted = out->has_timestamps = out->has_window_scale = true;
    out->mss = (uint16_t)mss;
    out->timestamp_value = get32(bytes + 8);
    out->timestamp_echo = get32(bytes + 12);
    out->window_scale = (uint8_t)scale;
    return true;
}

static bool parse_all(const uint8_t *bytes, uint32_t length, struct tcp_options *out)
{
    uint32_t at = 0;
    while (at < length && bytes[at] != OPTION_END) {
        if (bytes[at] == OPTION_NOP) {
            at++;
            continue;
        }
        if (at + 2 > length)
            return false;
        uint32_t option_length = bytes[at + 1];
        if (option_length < 2 || at + option_length > length)
            return false;
        parse_one(bytes[at], bytes + at + 2, option_length - 2, out);
        at += option_length;
    }
    return true;
}

bool tcp_options_parse(const uint8_t *bytes, uint32_t length, struct tcp_options *out)
{
    if (tcp_options_parse_usual(bytes, length, out))
        return true;
    memset(out, 0, offsetof(struct tcp_options, sack_blocks));
    if (parse_usual_syn(bytes, length, out))
        return true;
    bool good = parse_all(bytes, length, out);
    if (out->has_signature) /* nothing else counts, and header prediction is not to take it */
        *out = (struct tcp_options){.has_signature = true};
    return good;
}

/** Filled up with no-operations; nothing if there is no room. */
static unsigned build_fast_open(const struct tcp_options *options, uint8_t *p, unsigned room)
{
    unsigned base = options->fast_open_experimental ? 4 : 2;
    unsigned length = base + options->fast_open_length;
    unsigned padded = (length + 3) & ~3u;
    if (padded > room)
        return 0;
    p[0] = options->fast_open_experimental ? OPTION_EXPERIMENT : OPTION_FAST_OPEN;
    p[1] = (uint8_t)length;
    if (options->fast_open_experimental) {
        p[2] = EXPERIMENT_FAST_OPEN >> 8;
        p[3] = EXPERIMENT_FAST_OPEN & 0xff;
    }
    memcpy(p + base, options->fast_open_cookie, options->fast_open_length);
    memset(p + length, OPTION_NOP, padded - length);
    return padded;
}

uint8_t tcp_options_build_syn(const struct tcp_options *options, uint8_t bytes[TCP_OPTIONS_MAX])
{
    uint8_t *p = bytes;
    if (options->has_mss) {
        put32(p, (uint32_t)OPTION_MSS << 24 | 4 << 16 | options->mss);
        p += 4;
    }
    if (options->has_timestamps) {
        uint8_t length =
            tcp_options_build_timestamps(options->timestamp_value, options->timestamp_echo, p);
        if (options->has_sack_permitted) {
            p[0] = OPTION_SACK_PERMITTED;
            p[1] = 2;
        }
        p += length;
    } else if (options->has_sack_permitted) {
        put32(p, (uint32_t)OPTION_NOP << 24 | OPTION_NOP << 16 | OPTION_SACK_PERMITTED << 8 | 2);
        p += 4;
    }
    if (options->has_window_scale) {
        put32(p, (uint32_t)OPTION_NOP << 24 | OPTION_WINDOW_SCALE << 16 | 3 << 8 |
                     options->window_scale);
        p += 4;
    }
    if (options->has_fast_open)
        p += build_fast_open(options, p, TCP_OPTIONS_MAX - (unsigned)(p - bytes));
    return (uint8_t)(p - bytes);
}

uint8_t tcp_options_build_timestamps(uint32_t value, uint32_t echo, uint8_t *bytes)
{
    put32(bytes, (uint32_t)OPTION_NOP << 24 | OPTION_NOP << 16 | OPTION_TIMESTAMPS << 8 | 10);
    put32(bytes + 4, value);
    put32(bytes + 8, echo);
    return 12;
}

uint8_t tcp_options_build_sack(const struct tcp_sack_block *blocks, unsigned count, uint8_t *bytes)
{
    put32(bytes,
          (uint32_t)OPTION_NOP << 24 | OPTION_NOP << 16 | OPTION_SACK << 8 | (2 + 8 * count));
    for (unsigned i = 0; i < count; i++) {
        put32(bytes + 4 + 8 * i, blocks[i].start.value);
        put32(bytes + 8 + 8 * i, blocks[i].end.value);
    }
    return (uint8_t)(4 + 8 * count);
}
