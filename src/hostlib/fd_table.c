#include "hostlib/fd_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/leak_check.h"
#include "hostlib/lock.h"
#include "hostlib/notes.h"
#include "hostlib/real.h"

#define INTERNAL_PLACES_MAX 256

/* How far below the soft limit our own descriptors are put. */
#define INTERNAL_ROOM 64

struct file *_Atomic *fd_table;
_Atomic uint32_t fd_table_size;
_Atomic uint32_t fd_table_high;

static _Atomic uint32_t internal_high;
static struct lock table_lock;
static struct file internal_file = {.kind = FILE_INTERNAL, .references = 1};
static int *internal_places[INTERNAL_PLACES_MAX];

/* Mapped on the first entry: programs without TCP never pay for it. Untouched pages cost nothing.
 */
static bool table_map(void)
{
    if (atomic_load_explicit(&fd_table_size, memory_order_acquire) != 0)
        return true;
    lock_acquire(&table_lock);
    if (atomic_load_explicit(&fd_table_size, memory_order_relaxed) == 0) {
        void *memory = mmap(NULL, FD_TABLE_MAX * sizeof(*fd_table), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory != MAP_FAILED) {
            fd_table = memory;
            leak_check_look_into(memory, FD_TABLE_MAX * sizeof(*fd_table));
            atomic_store_explicit(&fd_table_size, FD_TABLE_MAX, memory_order_release);
        }
    }
    lock_release(&table_lock);
    return atomic_load_explicit(&fd_table_size, memory_order_acquire) != 0;
}

struct file *fd_get_shared(int fd)
{
    for (;;) {
        struct file *file = fd_peek(fd);
        if (file == NULL)
            return NULL;
        if (!file_hold_living(file)) {
            /* Closed by another thread just now; it clears the entry before it lets go. */
            __builtin_ia32_pause();
            continue;
        }
        if (fd_peek(fd) == file)
            return file;
        file_put(file);
    }
}

static void raise_high(_Atomic uint32_t *place, uint32_t fd)
{
    uint32_t high = atomic_load_explicit(place, memory_order_relaxed);
    while (high <= fd && !atomic_compare_exchange_weak_explicit(
                             place, &high, fd + 1, memory_order_relaxed, memory_order_relaxed))
        ;
}

uint32_t fd_table_internal_high(void)
{
    return atomic_load_explicit(&internal_high, memory_order_relaxed);
}

bool fd_set_file(int fd, struct file *file)
{
    if (file == NULL && fd_peek(fd) == NULL)
        return true;
    if ((uint32_t)fd >= FD_TABLE_MAX || !table_map())
        return false;
    if (file != NULL) {
        raise_high(&fd_table_high, (uint32_t)fd);
        notes_forget(fd);
    }
    struct file *before = atomic_exchange_explicit(&fd_table[fd], file, memory_order_acq_rel);
    if (before != NULL && before != &internal_file)
        file_put(before);
    return true;
}

struct file *fd_take(int fd)
{
    struct file *file = fd_peek(fd);
    while (file != NULL && file != &internal_file &&
           !atomic_compare_exchange_weak_explicit(&fd_table[fd], &file, NULL, memory_order_acq_rel,
                                                  memory_order_acquire))
        ;
    return file == &internal_file ? NULL : file;
}

void fd_clear_if(int fd, struct file *file)
{
    struct file *expected = file;
    if (fd_peek(fd) == file &&
        atomic_compare_exchange_strong_explicit(&fd_table[fd], &expected, NULL,
                                                memory_order_acq_rel, memory_order_relaxed))
        file_put(file);
}

int fd_make_internal(int fd)
{
    struct rlimit limit;
    int lowest = 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 2 * INTERNAL_ROOM) {
        rlim_t soft = limit.rlim_cur < FD_TABLE_MAX ? limit.rlim_cur : FD_TABLE_MAX;
        lowest = (int)soft - INTERNAL_ROOM;
    }
    int moved = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest);
    if (moved < 0)
        moved = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    syscall(SYS_close, fd);
    if (moved < 0)
        return -error;
    if ((uint32_t)moved < FD_TABLE_MAX && table_map()) {
        raise_high(&internal_high, (uint32_t)moved);
        atomic_store_explicit(&fd_table[moved], &internal_file, memory_order_release);
    }
    return moved;
}

void fd_close_internal(int fd)
{
    if (fd < 0)
        return;
    if (fd_peek(fd) == &internal_file)
        atomic_store_explicit(&fd_table[fd], NULL, memory_order_release);
    syscall(SYS_close, fd);
}

struct lock *fd_table_fork_lock(void)
{
    return &table_lock;
}

void fd_register_internal(int *place)
{
    lock_acquire(&table_lock);
    for (size_t i = 0; i < INTERNAL_PLACES_MAX; i++) {
        if (internal_places[i] == NULL) {
            internal_places[i] = place;
            break;
        }
    }
    lock_release(&table_lock);
}

void fd_unregister_internal(int *place)
{
    lock_acquire(&table_lock);
    for (size_t i = 0; i < INTERNAL_PLACES_MAX; i++) {
        if (internal_places[i] == place)
            internal_places[i] = NULL;
    }
    lock_release(&table_lock);
}

void fd_evade(int fd)
{
    if (fd_peek(fd) != &internal_file)
        return;
    int saved_errno = errno;
    int copy = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
    int moved = copy < 0 ? copy : fd_make_internal(copy);
    if (moved >= 0) {
        lock_acquire(&table_lock);
        for (size_t i = 0; i < INTERNAL_PLACES_MAX; i++) {
            if (internal_places[i] != NULL && *internal_places[i] == fd)
                *internal_places[i] = moved;
        }
        lock_release(&table_lock);
        fd_close_internal(fd);
    }
    errno = saved_errno;
}
