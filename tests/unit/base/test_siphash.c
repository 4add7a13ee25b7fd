#include "base/siphash.h"
#include "test_support.h"

static struct siphash_key counting_key(void)
{
    uint8_t bytes[16];
    for (uint8_t i = 0; i < 16; i++)
        bytes[i] = i;
    return siphash_key_load(bytes);
}

/** Appendix A of the paper, and vectors of the reference implementation. */
static void siphash_2_4_gives_the_published_vectors(void **state)
{
    (void)state;
    uint8_t input[64];
    struct siphash_key key = counting_key();
    for (unsigned i = 0; i < sizeof(input); i++)
        input[i] = (uint8_t)i;
    assert_int_equal(siphash_2_4(&key, input, 0), UINT64_C(0x726fdb47dd0e0e31));
    assert_int_equal(siphash_2_4(&key, input, 1), UINT64_C(0x74f839c593dc67fd));
    assert_int_equal(siphash_2_4(&key, input, 8), UINT64_C(0x93f5f5799a932462));
    assert_int_equal(siphash_2_4(&key, input, 15), UINT64_C(0xa129ca6149be45e5));
}

static void siphash_1_3_differs_by_key_word_and_count(void **state)
{
    (void)state;
    struct siphash_key key = counting_key();
    struct siphash_key other = {key.k0 ^ 1, key.k1};
    uint64_t words[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    uint64_t hash = siphash_1_3_words(&key, words, 2);
    assert_int_equal(hash, siphash_1_3_words(&key, words, 2));
    assert_int_not_equal(hash, siphash_1_3_words(&other, words, 2));
    assert_int_not_equal(hash, siphash_1_3_words(&key, words, 1));
    words[1] ^= 1;
    assert_int_not_equal(hash, siphash_1_3_words(&key, words, 2));
}

/** SipHash of the words' bytes without the last. */
static void siphash_of_words_is_that_of_their_bytes(void **state)
{
    (void)state;
    struct siphash_key key = counting_key();
    uint64_t words[5];
    for (unsigned i = 0; i < 5; i++)
        words[i] = UINT64_C(0x0123456789abcdef) * (i + 1);
    for (unsigned count = 1; count <= 5; count++) {
        uint64_t hash = siphash_2_4_words(&key, words, count);
        assert_int_equal(hash, siphash_2_4(&key, words, count * 8 - 1));
    }
}

static void siphash_1_3_spreads_over_buckets(void **state)
{
    (void)state;
    struct siphash_key key = counting_key();
    uint32_t buckets[64] = {0};
    for (uint64_t i = 0; i < 64000; i++)
        buckets[siphash_1_3_words(&key, (const uint64_t[]){i, 0}, 2) % 64]++;
    for (int i = 0; i < 64; i++)
        assert_in_range(buckets[i], 800, 1200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_2_4_gives_the_published_vectors),
        cmocka_unit_test(siphash_1_3_differs_by_key_word_and_count),
        cmocka_unit_test(siphash_of_words_is_that_of_their_bytes),
        cmocka_unit_test(siphash_1_3_spreads_over_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
