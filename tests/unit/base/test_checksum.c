#include "base/checksum.h"
#include "test_support.h"

/** RFC 1071 §4.1, word by word in network order. */
static uint16_t naive_checksum(const uint8_t *bytes, size_t length)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < length; i += 2) {
        sum += (uint32_t)bytes[i] << 8;
        if (i + 1 < length)
            sum += bytes[i + 1];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

static uint16_t as_network(uint16_t stored)
{
    uint8_t bytes[2];
    memcpy(bytes, &stored, 2);
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void known_header_has_its_checksum(void **state)
{
    (void)state;
    const uint8_t header[20] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                                0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
    assert_int_equal(as_network(checksum_finish(checksum_add(0, header, 20))), 0xb861);
}

static void equals_the_naive_sum_for_any_length_and_alignment(void **state)
{
    (void)state;
    static uint8_t buffer[70000];
    struct test_random random = {1};
    for (int run = 0; run < 20000; run++) {
        size_t offset = test_random_below(&random, 64);
        size_t length = test_random_below(&random, run % 100 == 0 ? 65536 : 300);
        test_random_fill(&random, buffer + offset, length < 300 ? length : 300);
        uint16_t got = checksum_finish(checksum_add(0, buffer + offset, length));
        assert_int_equal(as_network(got), naive_checksum(buffer + offset, length));
    }
}

/** Of a header and little more, after other words. */
static void words_in_line_give_the_same(void **state)
{
    (void)state;
    uint8_t buffer[400];
    struct test_random random = {3};
    for (int run = 0; run < 20000; run++) {
        size_t offset = test_random_below(&random, 64);
        size_t length = 8 + test_random_below(&random, 300);
        uint32_t before = test_random_next(&random) & 0xffff;
        test_random_fill(&random, buffer, sizeof(buffer));
        if (run % 100 == 0)
            memset(buffer, 0xff, sizeof(buffer));
        uint32_t sum = checksum_add(before, buffer + offset, length);
        uint64_t unfolded = checksum_add_short(before, buffer + offset, length);
        assert_int_equal(checksum_finish(checksum_fold64(unfolded)), checksum_finish(sum));
        assert_int_equal(checksum_is_right(unfolded), checksum_finish(sum) == 0);
        uint64_t right = unfolded + checksum_finish(sum);
        right += right < unfolded;
        assert_true(checksum_is_right(right));
        uint64_t wrong = right + 1 + (run & 0x7fff);
        wrong += wrong < right;
        assert_false(checksum_is_right(wrong));
    }
}

static void all_ones_do_not_overflow(void **state)
{
    (void)state;
    static uint8_t buffer[65536];
    memset(buffer, 0xff, sizeof(buffer));
    uint32_t sum = 0xffffffff;
    for (int i = 0; i < 10; i++)
        sum = checksum_add(sum, buffer, sizeof(buffer));
    assert_int_equal(checksum_finish(sum), 0);
}

static void pieces_add_up(void **state)
{
    (void)state;
    uint8_t buffer[512];
    struct test_random random = {2};
    for (int run = 0; run < 5000; run++) {
        size_t length = 1 + test_random_below(&random, sizeof(buffer));
        size_t cut = test_random_below(&random, (uint32_t)length);
        test_random_fill(&random, buffer, length);
        uint32_t first = checksum_add(0, buffer, cut);
        uint32_t second = checksum_add(0, buffer + cut, length - cut);
        if (cut % 2 != 0)
            second = checksum_shift_odd(second);
        assert_int_equal(as_network(checksum_finish(first + second)),
                         naive_checksum(buffer, length));
    }
}

static void copy_copies_and_sums(void **state)
{
    (void)state;
    uint8_t source[512];
    uint8_t destination[520];
    struct test_random random = {3};
    for (int run = 0; run < 5000; run++) {
        size_t length = test_random_below(&random, sizeof(source));
        uint32_t before = test_random_next(&random) >> 15;
        test_random_fill(&random, source, sizeof(source));
        memset(destination, 0xa5, sizeof(destination));
        uint32_t sum = checksum_copy(before, destination, source, length);
        assert_memory_equal(destination, source, length);
        assert_int_equal(destination[length], 0xa5);
        assert_int_equal(checksum_finish(sum),
                         checksum_finish(checksum_add(before, source, length)));
    }
}

#define HEADER_BYTES_MAX 60

static void header_has_the_same_sum(void **state)
{
    (void)state;
    uint8_t buffer[HEADER_BYTES_MAX + 8];
    struct test_random random = {4};
    for (int run = 0; run < 5000; run++) {
        const uint8_t *header = buffer + test_random_below(&random, 8);
        uint32_t before = run % 10 == 0 ? UINT32_MAX : test_random_next(&random);
        test_random_fill(&random, buffer, sizeof(buffer));
        if (run % 7 == 0)
            memset(buffer, run % 2 == 0 ? 0xff : 0, sizeof(buffer));
        uint32_t length = 20 + 4 * test_random_below(&random, (HEADER_BYTES_MAX - 20) / 4 + 1);
        assert_int_equal(checksum_finish(checksum_add_header(before, header, length)),
                         checksum_finish(checksum_add(before, header, length)));
    }
}

/** The textbook's: upper half onto lower half until there is none. */
static uint16_t folded_step_by_step(uint64_t sum)
{
    while (sum > 0xffff)
        sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)sum;
}

static void folding_at_once_equals_folding_step_by_step(void **state)
{
    (void)state;
    const uint64_t edges[] = {0,          1,           0xffff,         0x10000,    0x1fffe,
                              0xffff0000, 0xffffffff,  0x100000000,    1ull << 63, UINT64_MAX,
                              0xfffffffe, 0x1fffffffe, 0xffffffff0000, 0x10001};
    struct test_random random = {5};
    for (int run = 0; run < 20000; run++) {
        uint64_t sum = (uint64_t)test_random_next(&random) << 32 | test_random_next(&random);
        if (run < (int)(sizeof(edges) / sizeof(edges[0])))
            sum = edges[run];
        sum >>= run < 100 ? 0 : test_random_below(&random, 64);
        assert_int_equal(checksum_fold(checksum_fold64(sum)), folded_step_by_step(sum));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_header_has_its_checksum),
        cmocka_unit_test(equals_the_naive_sum_for_any_length_and_alignment),
        cmocka_unit_test(words_in_line_give_the_same),
        cmocka_unit_test(all_ones_do_not_overflow),
        cmocka_unit_test(pieces_add_up),
        cmocka_unit_test(copy_copies_and_sums),
        cmocka_unit_test(header_has_the_same_sum),
        cmocka_unit_test(folding_at_once_equals_folding_step_by_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
