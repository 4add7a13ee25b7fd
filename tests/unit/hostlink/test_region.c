/* Shared memory and its layout. */
#define _GNU_SOURCE
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostlink/region.h"
#include "hostlink/ring.h"

static const struct link_layout_sizes sizes = {
    .engine_cores = 3,
    .channels = 5,
    .ring_slots = 32,
    .receive_region_bytes = 3000000,
    .host_region_bytes = 1,
};

static void test_region_is_zeroed_sealed_and_close_on_exec(void **state)
{
    (void)state;
    int fd = link_region_create("test", 65536);
    assert_true(fd >= 0);
    assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_equal(ftruncate(fd, 4096), -1);
    assert_int_equal(ftruncate(fd, 1 << 20), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    uint8_t *base = NULL;
    assert_int_equal(link_region_map(fd, 65536, &base), 0);
    for (size_t i = 0; i < 65536; i++)
        assert_int_equal(base[i], 0);
    link_region_unmap(base, 65536);
    (void)close(fd);
    assert_int_equal(link_region_create("test", 0), -EINVAL);
    assert_int_equal(link_region_create("test", LINK_MEMORY_BYTES_MAX + 1), -EINVAL);
}

static void test_map_refuses_other_size_and_unsealed_memory(void **state)
{
    (void)state;
    uint8_t *base = NULL;
    int fd = link_region_create("test", 65536);
    assert_int_equal(link_region_map(fd, 65536 * 2, &base), -EPROTO);
    (void)close(fd);
    fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, 65536), 0);
    assert_int_equal(link_region_map(fd, 65536, &base), -EPROTO);
    (void)close(fd);
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(link_region_map(fd, 65536, &base), -EPROTO);
    (void)close(fd);
}

/* Whether the kernel says so of the mapping that begins there. */
static bool has_flag(const uint8_t *base, const char *flag)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    assert_non_null(maps);
    char line[512];
    bool is_it = false, has = false;
    while (fgets(line, sizeof(line), maps) != NULL) {
        uintptr_t start;
        char dash;
        if (sscanf(line, "%" SCNxPTR "%c", &start, &dash) == 2 && dash == '-')
            is_it = start == (uintptr_t)base;
        else if (is_it && strncmp(line, "VmFlags:", strlen("VmFlags:")) == 0)
            has = strstr(line, flag) != NULL;
    }
    (void)fclose(maps);
    return has;
}

static void test_core_dumps_leave_it_out(void **state)
{
    (void)state;
    uint8_t *base = NULL;
    int fd = link_region_create("test", 65536);
    assert_int_equal(link_region_map(fd, 65536, &base), 0);
    assert_true(has_flag(base, " dd"));
    link_region_unmap(base, 65536);
    (void)close(fd);
}

static void test_discard_gives_whole_pages_back_and_nothing_else(void **state)
{
    (void)state;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t bytes = 16 * page;
    int fd = link_region_create("test", bytes);
    uint8_t *base = NULL;
    assert_int_equal(link_region_map(fd, bytes, &base), 0);
    memset(base, 1, bytes);
    struct stat before;
    struct stat after;
    assert_int_equal(fstat(fd, &before), 0);
    assert_int_equal(link_region_discard(base, page + 1, 4 * page), 3 * page);
    assert_int_equal(fstat(fd, &after), 0);
    assert_int_equal((uint64_t)(before.st_blocks - after.st_blocks) * 512, 3 * page);
    assert_int_equal(base[2 * page - 1], 1);
    assert_int_equal(base[2 * page], 0);
    assert_int_equal(base[5 * page - 1], 0);
    assert_int_equal(base[5 * page], 1);
    assert_int_equal(link_region_discard(base, 1, page - 1), 0);
    link_region_unmap(base, bytes);
    (void)close(fd);
}

struct range {
    uint64_t begin;
    uint64_t end;
};

static void assert_disjoint_within(const struct range *ranges, size_t count, uint64_t bytes)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(ranges[i].begin < ranges[i].end && ranges[i].end <= bytes);
        assert_int_equal(ranges[i].begin % 64, 0);
        for (size_t j = 0; j < i; j++)
            assert_true(ranges[i].end <= ranges[j].begin || ranges[j].end <= ranges[i].begin);
    }
}

static void test_nothing_overlaps_in_the_layout(void **state)
{
    (void)state;
    struct link_layout layout;
    struct range arena[3 + 2 * 15];
    struct range window[2 * 15];
    size_t in_arena = 0;
    size_t in_window = 0;
    assert_int_equal(link_layout_compute(&layout, &sizes), 0);
    arena[in_arena++] = (struct range){0, sizeof(struct link_arena_header)};
    arena[in_arena++] = (struct range){layout.receive_region,
                                       layout.receive_region + layout.sizes.receive_region_bytes};
    arena[in_arena++] =
        (struct range){layout.host_region, layout.host_region + layout.sizes.host_region_bytes};
    uint64_t ring = 32 * sizeof(struct link_descriptor);
    uint64_t feedback = sizeof(struct link_feedback);
    for (uint32_t channel = 0; channel < 5; channel++) {
        struct link_channel_reply reply = {0};
        link_layout_place_channel(&layout, channel, &reply);
        assert_int_equal(reply.channel, channel);
        assert_int_equal(reply.ring_slots, 32);
        for (uint32_t core = 0; core < 3; core++) {
            uint64_t at = reply.core[core].to_host_ring;
            arena[in_arena++] = (struct range){at, at + ring};
            at = reply.core[core].to_engine_feedback;
            arena[in_arena++] = (struct range){at, at + feedback};
            at = reply.core[core].to_engine_ring;
            window[in_window++] = (struct range){at, at + ring};
            at = reply.core[core].to_host_feedback;
            window[in_window++] = (struct range){at, at + feedback};
        }
    }
    assert_disjoint_within(arena, in_arena, layout.arena_bytes);
    assert_disjoint_within(window, in_window, layout.window_bytes);
    assert_int_equal(layout.receive_region % LINK_REGION_ALIGNMENT, 0);
    assert_int_equal(layout.sizes.receive_region_bytes, 2 * LINK_REGION_ALIGNMENT);
    assert_int_equal(layout.host_region % LINK_REGION_ALIGNMENT, 0);
}

static void test_clearing_a_channel_leaves_its_neighbours_alone(void **state)
{
    (void)state;
    struct link_layout layout;
    assert_int_equal(link_layout_compute(&layout, &sizes), 0);
    int arena_fd = link_region_create("arena", layout.arena_bytes);
    int window_fd = link_region_create("window", layout.window_bytes);
    uint8_t *arena = NULL;
    uint8_t *window = NULL;
    assert_int_equal(link_region_map(arena_fd, layout.arena_bytes, &arena), 0);
    assert_int_equal(link_region_map(window_fd, layout.window_bytes, &window), 0);
    uint64_t rings = 15 * 32 * sizeof(struct link_descriptor);
    memset(arena + layout.to_host_rings, 1, rings);
    memset(window + layout.to_engine_rings, 1, rings);
    link_layout_clear_channel(&layout, 2, arena, window);
    uint64_t cleared = 3 * 32 * sizeof(struct link_descriptor);
    for (uint64_t i = 0; i < rings; i++) {
        uint8_t expected = i / cleared == 2 ? 0 : 1;
        assert_int_equal(arena[layout.to_host_rings + i], expected);
        assert_int_equal(window[layout.to_engine_rings + i], expected);
    }
    link_region_unmap(arena, layout.arena_bytes);
    link_region_unmap(window, layout.window_bytes);
    (void)close(arena_fd);
    (void)close(window_fd);
}

static void test_layout_refuses_sizes_out_of_bounds(void **state)
{
    (void)state;
    struct link_layout layout;
    struct link_layout_sizes bad = sizes;
    bad.engine_cores = LINK_CORES_MAX + 1;
    assert_int_equal(link_layout_compute(&layout, &bad), -EINVAL);
    bad = sizes;
    bad.ring_slots = 48;
    assert_int_equal(link_layout_compute(&layout, &bad), -EINVAL);
    bad = sizes;
    bad.ring_slots = 2 * LINK_RING_SLOTS_MAX;
    assert_int_equal(link_layout_compute(&layout, &bad), -EINVAL);
    bad = sizes;
    bad.channels = LINK_TENANT_CHANNELS_MAX + 1;
    assert_int_equal(link_layout_compute(&layout, &bad), -EINVAL);
    bad = sizes;
    bad.receive_region_bytes = LINK_MEMORY_BYTES_MAX;
    assert_int_equal(link_layout_compute(&layout, &bad), -EINVAL);
    bad = sizes;
    bad.host_region_bytes = 0;
    assert_int_equal(link_layout_compute(&layout, &bad), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_region_is_zeroed_sealed_and_close_on_exec),
        cmocka_unit_test(test_map_refuses_other_size_and_unsealed_memory),
        cmocka_unit_test(test_core_dumps_leave_it_out),
        cmocka_unit_test(test_discard_gives_whole_pages_back_and_nothing_else),
        cmocka_unit_test(test_nothing_overlaps_in_the_layout),
        cmocka_unit_test(test_clearing_a_channel_leaves_its_neighbours_alone),
        cmocka_unit_test(test_layout_refuses_sizes_out_of_bounds),
    };
    return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
