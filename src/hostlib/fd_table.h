/**
 * @file fd_table.h
 * From a descriptor's number to what we know about it: a TCP socket, an epoll set, an
 * io_uring, or a descriptor of our own that the application must not close. Everything else has no
 * entry, so that a foreign descriptor costs one load and one branch.
 *
 * The kernel stays the owner of numbers: an entry exists only beside a kernel descriptor.
 */
#ifndef PNO_HOSTLIB_FD_TABLE_H
#define PNO_HOSTLIB_FD_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/single_threaded.h>

#include "hostlib/signal_guard.h"

struct lock;

enum file_kind { FILE_SOCKET = 1, FILE_EPOLL, FILE_URING, FILE_INTERNAL };

/** What several descriptors (dup) can refer to; like the kernel's open file description. Its
    memory is never unmapped, so that a stale pointer can be looked at safely. */
struct file {
    enum file_kind kind;
    _Atomic uint32_t references; /**< descriptors, and calls under way */
};

/** Descriptors from here on are unknown to us: they stay the kernel's alone. */
#define FD_TABLE_MAX (1u << 20)

extern struct file *_Atomic *fd_table;
extern _Atomic uint32_t fd_table_size; /**< 0 until the first entry */

/** Entries at or above this number don't exist: bounds walks over the table. */
extern _Atomic uint32_t fd_table_high;

/** Called with the last reference gone. Set by the kinds' owners. */
void file_destroy(struct file *file);

static inline void file_hold(struct file *file)
{
    if (__libc_single_threaded)
        atomic_store_explicit(&file->references,
                              atomic_load_explicit(&file->references, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
}

/** Take a reference unless the last one is gone. The object's memory is always readable. */
static inline bool file_hold_living(struct file *file)
{
    uint32_t references = atomic_load_explicit(&file->references, memory_order_relaxed);
    while (references != 0 &&
           !atomic_compare_exchange_weak_explicit(&file->references, &references, references + 1,
                                                  memory_order_acquire, memory_order_relaxed))
        ;
    return references != 0;
}

static inline void file_put(struct file *file)
{
    uint32_t before;
    if (__libc_single_threaded) {
        signal_guard_enter();
        before = atomic_load_explicit(&file->references, memory_order_relaxed);
        atomic_store_explicit(&file->references, before - 1, memory_order_relaxed);
        signal_guard_leave();
    } else {
        before = atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel);
    }
    if (before == 1)
        file_destroy(file);
}

struct file *fd_get_shared(int fd);

/** What fd refers to, without a reference: only for asking whether there is anything at all. */
static inline struct file *fd_peek(int fd)
{
    if ((uint32_t)fd >= atomic_load_explicit(&fd_table_size, memory_order_acquire))
        return NULL;
    return atomic_load_explicit(&fd_table[fd], memory_order_acquire);
}

/** What fd refers to, with a reference that the caller gives back by file_put(); NULL: nothing. */
static inline struct file *fd_get(int fd)
{
    struct file *file = fd_peek(fd);
    if (__builtin_expect(file == NULL, 1))
        return NULL;
    if (!__libc_single_threaded)
        return fd_get_shared(fd);
    signal_guard_enter();
    file = fd_peek(fd);
    if (file != NULL)
        file_hold(file);
    signal_guard_leave();
    return file;
}

/**
 * Make fd refer to file (taking over one reference); what was there before loses its reference.
 * file NULL clears. @return false: fd lies beyond the table; the reference stays the caller's.
 */
bool fd_set_file(int fd, struct file *file);

/** Clear fd and return what it referred to, with the entry's reference; NULL: nothing of the
    application's. */
struct file *fd_take(int fd);

/** No descriptor of our own lies at or above this number. */
uint32_t fd_table_internal_high(void);

/** Clear fd if it still refers to file. */
void fd_clear_if(int fd, struct file *file);

/**
 * Move a descriptor of our own out of the application's way: to a high number, close-on-exec,
 * protected. @return the new number; fd itself is closed. Negative errno: fd is closed too.
 */
int fd_make_internal(int fd);

/** Close a descriptor that fd_make_internal() returned. */
void fd_close_internal(int fd);

/** If fd is one of ours, move it elsewhere and tell its owner, since the application wants the
    number (dup2). */
void fd_evade(int fd);

/** What fork() has to hold and its child to reset. */
struct lock *fd_table_fork_lock(void);

/** Register where an internal descriptor's number is kept, for fd_evade(). */
void fd_register_internal(int *place);
void fd_unregister_internal(int *place);

#endif
