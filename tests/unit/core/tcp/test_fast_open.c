/* Fast open (RFC 7413): cookies, the listener's queue, the client's cache. */
#include "core/tcp/fast_open_cache.h"
#include "script.h"

static const uint8_t keys[2][16] = {{0xa1, 0xa1, 0xa1, 0xa1, 0xb2, 0xb2, 0xb2, 0xb2, 0xc3, 0xc3,
                                     0xc3, 0xc3, 0xd4, 0xd4, 0xd4, 0xd4},
                                    {1, 2, 3}};

static void server_is_on(uint32_t queue)
{
    script.config.tcp.fast_open |= TCP_FAST_OPEN_SERVER;
    script.config.tcp.fast_open_key_count = 1;
    memcpy(script.config.tcp.fast_open_keys, keys, sizeof(keys));
    script_restart();
    tcp_listener_set_fast_open(script.listener, queue);
}

/** A SYN with ten bytes of data and the cookie that the listener's first key makes. */
static void syn_with_cookie(uint16_t port, const uint8_t cookie[8])
{
    script.peer_port = port;
    script.our_iss_known = false;
    peer("S 0:10(10) win 20000 <mss 1460,FO %02x%02x%02x%02x%02x%02x%02x%02x>", cookie[0],
         cookie[1], cookie[2], cookie[3], cookie[4], cookie[5], cookie[6], cookie[7]);
}

/** SipHash-2-4 of 10.77.0.2, 10.77.0.1 under the key: an independent run of Linux's definition. */
static void cookie_of_key(const uint8_t key[16], uint8_t cookie[8])
{
    static const uint8_t addresses[8] = {10, 77, 0, 2, 10, 77, 0, 1};
    struct siphash_key loaded = siphash_key_load(key);
    uint64_t value = siphash_2_4(&loaded, addresses, sizeof(addresses));
    memcpy(cookie, &value, sizeof(value));
}

static void queue_is_limited_and_frees_with_the_handshake(void **unused)
{
    uint8_t cookie[8];
    (void)unused;
    server_is_on(2);
    cookie_of_key(keys[0], cookie);
    syn_with_cookie(1, cookie);
    ours("S. 0:0(0) ack 11");
    syn_with_cookie(2, cookie);
    ours("S. 0:0(0) ack 11");
    peer(". 11:11(0) ack 1 win 512");
    syn_with_cookie(3, cookie);
    ours("S. 0:0(0) ack 11");
    syn_with_cookie(4, cookie);
    ours("S. 0:0(0) ack 1");
    assert_int_equal(stack_get_counters(script.stack)->fast_open_listen_overflows, 1);
}

static void reset_before_the_handshake_counts_for_a_minute(void **unused)
{
    uint8_t cookie[8];
    (void)unused;
    server_is_on(1);
    cookie_of_key(keys[0], cookie);
    syn_with_cookie(1, cookie);
    ours("S. 0:0(0) ack 11");
    peer("R 11:11(0) win 0");
    assert_int_equal(state(), TCP_STATE_CLOSED);
    after_ms(59000);
    syn_with_cookie(2, cookie);
    ours("S. 0:0(0) ack 1");
    peer("R 1:1(0) win 0");
    after_ms(2000);
    syn_with_cookie(3, cookie);
    ours("S. 0:0(0) ack 11");
}

static void cookie_counts_to_its_last_byte(void **unused)
{
    uint8_t cookie[8];
    (void)unused;
    server_is_on(5);
    cookie_of_key(keys[0], cookie);
    cookie[7] ^= 1;
    syn_with_cookie(1, cookie);
    ours("S. 0:0(0) ack 1");
}

static void old_key_is_taken_and_answered_with_a_new_cookie(void **unused)
{
    uint8_t cookie[8], fresh[8];
    (void)unused;
    server_is_on(5);
    tcp_listener_set_fast_open_keys(script.listener, keys, 2);
    cookie_of_key(keys[1], cookie);
    cookie_of_key(keys[0], fresh);
    syn_with_cookie(1, cookie);
    ours("S. 0:0(0) ack 11 win 64240 <mss 1460,FO %02x%02x%02x%02x%02x%02x%02x%02x,nop,nop>",
         fresh[0], fresh[1], fresh[2], fresh[3], fresh[4], fresh[5], fresh[6], fresh[7]);
}

static void closed_listener_leaves_its_pending_connections_alone(void **unused)
{
    uint8_t cookie[8];
    (void)unused;
    server_is_on(5);
    cookie_of_key(keys[0], cookie);
    syn_with_cookie(1, cookie);
    ours("S. 0:0(0) ack 11");
    tcp_listener_close(script.stack, script.listener, script.now_ns);
    script.listener = NULL;
    peer(". 11:11(0) ack 1 win 512");
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
}

/** As Linux: the window that the SYN-ACK offers is not added to by what the SYN brought. */
static void window_does_not_grow_by_what_the_syn_brought(void **unused)
{
    uint8_t cookie[8];
    (void)unused;
    server_is_on(5);
    tcp_listener_options(script.listener)->receive_buffer = 400000;
    cookie_of_key(keys[0], cookie);
    peer("S 0:1400(1400) win 20000 <mss 1460,nop,wscale 7,FO %02x%02x%02x%02x%02x%02x%02x%02x>",
         cookie[0], cookie[1], cookie[2], cookie[3], cookie[4], cookie[5], cookie[6], cookie[7]);
    ours("S. 0:0(0) ack 1401 win 65535");
    /* Room that is not yet offered, as when the buffer has been raised. */
    script.connection->hot.rcv_wnd = script.connection->receive.ssthresh = 65535;
    peer(". 1401:1401(0) ack 1 win 512");
    app_read_all();
    peer(". 1401:1501(100) ack 1 win 512");
    ours(". 1:1(0) ack 1501 win 16384");
    peer(". 1501:2901(1400) ack 1 win 512"); /* later data does add to it */
    app_read_all();
    ours(". 1:1(0) ack 2901 win 17114");
}

/** Nobody was told of the new connection when its SYN comes: the payload comes again. */
static void syn_that_ends_time_wait_brings_no_data_yet(void **unused)
{
    uint8_t cookie[8];
    (void)unused;
    server_is_on(5);
    cookie_of_key(keys[0], cookie);
    syn_with_cookie(1, cookie);
    ours("S. 0:0(0) ack 11");
    peer(". 11:11(0) ack 1 win 512");
    app_read_all();
    app_close();
    ours("F. 1:1(0) ack 11");
    peer("F. 11:11(0) ack 2 win 512");
    ours(". 2:2(0) ack 12");
    peer("S 100:110(10) win 20000 <mss 1460,FO %02x%02x%02x%02x%02x%02x%02x%02x>", cookie[0],
         cookie[1], cookie[2], cookie[3], cookie[4], cookie[5], cookie[6], cookie[7]);
    ours("S. 65539:65539(0) ack 101");
}

/** Linux's published example: its scripts' addresses and key. */
static void cookie_is_linuxs(void **unused)
{
    static const uint8_t addresses[8] = {192, 0, 2, 1, 192, 168, 0, 1};
    static const uint8_t expected[8] = {0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb};
    (void)unused;
    struct siphash_key key = siphash_key_load(keys[0]);
    uint64_t value = siphash_2_4(&key, addresses, sizeof(addresses));
    assert_memory_equal(&value, expected, sizeof(expected));
}

static void cache_forgets_whom_it_used_longest_ago(void **unused)
{
    static struct tcp_fast_open_memory memory;
    struct ip_address address = {{0}};
    (void)unused;
    for (uint8_t i = 0; i < FAST_OPEN_WAYS; i++) {
        address.bytes[15] = i;
        tcp_fast_open_cache_obtain(&memory, &address, 7)->mss = (uint16_t)(1000 + i);
    }
    address.bytes[15] = 0;
    assert_int_equal(tcp_fast_open_cache_find(&memory, &address, 7)->mss, 1000);
    address.bytes[15] = 99;
    assert_int_equal(tcp_fast_open_cache_obtain(&memory, &address, 7)->mss, 0);
    address.bytes[15] = 1;
    assert_null(tcp_fast_open_cache_find(&memory, &address, 7));
    address.bytes[15] = 0;
    assert_non_null(tcp_fast_open_cache_find(&memory, &address, 7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(queue_is_limited_and_frees_with_the_handshake),
        TEST(reset_before_the_handshake_counts_for_a_minute),
        TEST(cookie_counts_to_its_last_byte),
        TEST(old_key_is_taken_and_answered_with_a_new_cookie),
        TEST(closed_listener_leaves_its_pending_connections_alone),
        TEST(window_does_not_grow_by_what_the_syn_brought),
        TEST(syn_that_ends_time_wait_brings_no_data_yet),
        cmocka_unit_test(cookie_is_linuxs),
        cmocka_unit_test(cache_forgets_whom_it_used_longest_ago),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
