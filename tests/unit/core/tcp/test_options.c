/* Reading and writing the options area. */
#include "script.h"

#include "core/tcp/options.h"

static struct tcp_options parse(const char *bytes, uint32_t length, bool well_formed)
{
    struct tcp_options options;
    assert_int_equal(tcp_options_parse((const uint8_t *)bytes, length, &options), well_formed);
    return options;
}

static void what_linux_sends_is_read(void **unused)
{
    (void)unused;
    struct tcp_options o = parse("\2\4\x05\xb4\4\2\x08\x0a\0\0\0\x64\0\0\0\x07\1\3\3\7", 20, true);
    assert_true(o.has_mss && o.has_sack_permitted && o.has_timestamps && o.has_window_scale);
    assert_int_equal(o.mss, 1460);
    assert_int_equal(o.timestamp_value, 100);
    assert_int_equal(o.timestamp_echo, 7);
    assert_int_equal(o.window_scale, 7);
    o = parse("\1\1\x08\x0a\xff\xff\xff\xff\0\0\0\1", 12, true);
    assert_true(o.has_timestamps && !o.has_mss);
    assert_int_equal(o.timestamp_value, UINT32_MAX);
}

static void sack_blocks_are_read(void **unused)
{
    (void)unused;
    struct tcp_options o = parse("\1\1\5\x12\0\0\0\1\0\0\0\2\0\0\0\5\0\0\0\6", 20, true);
    assert_int_equal(o.sack_block_count, 2);
    assert_int_equal(o.sack_blocks[0].start.value, 1);
    assert_int_equal(o.sack_blocks[1].end.value, 6);
}

static void unknown_options_are_skipped(void **unused)
{
    (void)unused;
    struct tcp_options o = parse("\xfd\6\1\2\3\4\2\4\x05\xb4", 10, true);
    assert_int_equal(o.mss, 1460);
}

static void known_options_of_a_wrong_length_are_ignored(void **unused)
{
    (void)unused;
    struct tcp_options o = parse("\2\3\5\3\4\1\2\4\3\0\5\x0b\0\0\0\1\0\0\0\2\0\1\1\1", 24, true);
    assert_false(o.has_mss || o.has_window_scale || o.has_sack_permitted);
    assert_int_equal(o.sack_block_count, 0);
}

static void signature_leaves_nothing_else(void **unused)
{
    (void)unused;
    struct tcp_options o = parse("\1\1\x08\x0a\0\0\0\1\0\0\0\2"
                                 "\x13\x12\0\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\1\1",
                                 32, true);
    assert_true(o.has_signature);
    assert_false(o.has_timestamps);
    o = parse("\2\4\5\xb4\x13\4\0\0", 8, true);
    assert_false(o.has_signature);
    assert_true(o.has_mss);
}

static void fast_open_cookies_have_4_to_16_bytes_in_pairs(void **unused)
{
    (void)unused;
    struct tcp_options o = parse("\x22\2", 2, true);
    assert_true(o.has_fast_open);
    assert_int_equal(o.fast_open_length, 0);
    o = parse("\x22\6abcd", 6, true);
    assert_true(o.has_fast_open);
    assert_int_equal(o.fast_open_length, 4);
    assert_true(parse("\x22\x12"
                      "0123456789abcdef",
                      18, true)
                    .has_fast_open);
    assert_false(parse("\x22\4ab", 4, true).has_fast_open);
    assert_false(parse("\x22\7abcde", 7, true).has_fast_open);
    assert_false(parse("\x22\x14"
                       "0123456789abcdefgh",
                       20, true)
                     .has_fast_open);
}

static void nothing_is_read_beyond_the_area(void **unused)
{
    (void)unused;
    assert_false(parse("\2\4\x05", 3, false).has_mss);
    parse("\2", 1, false);
    parse("\2\0\0\0", 4, false);
    parse("\2\1\0\0", 4, false);
    assert_true(parse("\3\3\7\2\4\x05", 6, false).has_window_scale);
}

static void end_of_list_ends(void **unused)
{
    (void)unused;
    assert_false(parse("\0\2\4\x05\xb4", 5, true).has_mss);
}

static void what_is_written_is_read_back(void **unused)
{
    (void)unused;
    for (unsigned mask = 0; mask < 16; mask++) {
        struct tcp_options in = {
            .has_mss = mask & 1,
            .mss = mask & 1 ? 1234 : 0,
            .has_sack_permitted = (mask & 2) != 0,
            .has_timestamps = (mask & 4) != 0,
            .timestamp_value = mask & 4 ? 99 : 0,
            .timestamp_echo = mask & 4 ? 98 : 0,
            .has_window_scale = (mask & 8) != 0,
            .window_scale = mask & 8 ? 9 : 0,
        };
        uint8_t bytes[TCP_OPTIONS_MAX];
        uint8_t length = tcp_options_build_syn(&in, bytes);
        assert_int_equal(length % 4, 0);
        struct tcp_options out;
        assert_true(tcp_options_parse(bytes, length, &out));
        assert_memory_equal(&in, &out, offsetof(struct tcp_options, sack_blocks));
    }
}

static void usual_syn_is_written_as_any(void **unused)
{
    (void)unused;
    const struct tcp_options in = {.has_mss = true,
                                   .mss = 0xfedc,
                                   .has_sack_permitted = true,
                                   .has_timestamps = true,
                                   .timestamp_value = 0x80000001,
                                   .timestamp_echo = 0xfffffffe,
                                   .has_window_scale = true,
                                   .window_scale = 14};
    uint8_t any[TCP_OPTIONS_MAX], usual[TCP_OPTIONS_MAX];
    uint8_t length = tcp_options_build_syn(&in, any);
    assert_int_equal(tcp_options_build_usual_syn(in.mss, in.timestamp_value, in.timestamp_echo,
                                                 in.window_scale, usual),
                     length);
    assert_memory_equal(any, usual, length);
}

/** Any other byte in the usual layout, and the options are read one by one. */
static void nearly_usual_syn_is_read_as_it_is(void **unused)
{
    (void)unused;
    struct tcp_options o = parse("\2\4\0\0\4\2\x08\x0a\0\0\0\x64\0\0\0\x07\1\3\3\7", 20, true);
    assert_true(!o.has_mss && o.has_sack_permitted && o.has_timestamps && o.has_window_scale);
    o = parse("\2\4\x05\xb4\1\1\x08\x0a\0\0\0\x64\0\0\0\x07\1\3\3\7", 20, true);
    assert_true(o.has_mss && !o.has_sack_permitted && o.has_timestamps && o.has_window_scale);
    o = parse("\2\4\x05\xb4\4\2\x08\x0a\0\0\0\x64\0\0\0\x07\1\1\1\0", 20, true);
    assert_true(o.has_mss && o.has_sack_permitted && o.has_timestamps && !o.has_window_scale);
    o = parse("\2\4\x05\xb4\4\2\x08\x0a\0\0\0\x64\0\0\0\x07\1\3\3\7\x22\2\1\1", 24, true);
    assert_true(o.has_mss && o.has_window_scale && o.has_fast_open);
    assert_int_equal(o.mss, 1460);
}

static void sack_blocks_written_are_read_back(void **unused)
{
    (void)unused;
    struct tcp_sack_block blocks[4] = {{{1}, {2}}, {{3}, {4}}, {{5}, {6}}, {{7}, {8}}};
    for (unsigned count = 1; count <= 4; count++) {
        uint8_t bytes[TCP_OPTIONS_MAX];
        uint8_t length = tcp_options_build_sack(blocks, count, bytes);
        struct tcp_options out;
        assert_true(tcp_options_parse(bytes, length, &out));
        assert_int_equal(out.sack_block_count, count);
        assert_memory_equal(out.sack_blocks, blocks, count * sizeof(blocks[0]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_linux_sends_is_read),
        cmocka_unit_test(sack_blocks_are_read),
        cmocka_unit_test(unknown_options_are_skipped),
        cmocka_unit_test(known_options_of_a_wrong_length_are_ignored),
        cmocka_unit_test(signature_leaves_nothing_else),
        cmocka_unit_test(fast_open_cookies_have_4_to_16_bytes_in_pairs),
        cmocka_unit_test(nothing_is_read_beyond_the_area),
        cmocka_unit_test(end_of_list_ends),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(usual_syn_is_written_as_any),
        cmocka_unit_test(nearly_usual_syn_is_read_as_it_is),
        cmocka_unit_test(sack_blocks_written_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
