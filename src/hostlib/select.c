/* select() in terms of poll(), by Linux's own table (fs/select.c). */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hostlib/fd_table.h"
#include "hostlib/poll.h"

#define READ_BITS   (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define WRITE_BITS  (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define EXCEPT_BITS POLLPRI

/* Programs may allocate sets larger than FD_SETSIZE: look at the bits themselves. */
typedef unsigned long set_word;
#define BITS_PER_WORD (8 * (int)sizeof(set_word))

static bool has(const fd_set *set, int fd)
{
    return set != NULL &&
           (((const set_word *)(const void *)set)[fd / BITS_PER_WORD] >> (fd % BITS_PER_WORD) & 1);
}

static void put(fd_set *set, int fd)
{
    ((set_word *)(void *)set)[fd / BITS_PER_WORD] |= (set_word)1 << (fd % BITS_PER_WORD);
}

static void clear(fd_set *set, int count)
{
    if (set != NULL)
        memset(set, 0, (size_t)((count + BITS_PER_WORD - 1) / BITS_PER_WORD) * sizeof(set_word));
}

bool select_has_offloaded(int count, const fd_set *read_set, const fd_set *write_set,
                          const fd_set *except_set)
{
    if (atomic_load_explicit(&fd_table_size, memory_order_relaxed) == 0)
        return false;
    for (int fd = 0; fd < count; fd++) {
        if (!has(read_set, fd) && !has(write_set, fd) && !has(except_set, fd))
            continue;
        struct pollfd one = {.fd = fd};
        if (poll_has_offloaded(&one, 1))
            return true;
    }
    return false;
}

static nfds_t to_poll(struct pollfd *fds, int count, const fd_set *read_set,
                      const fd_set *write_set, const fd_set *except_set)
{
    nfds_t used = 0;
    for (int fd = 0; fd < count; fd++) {
        int events = (has(read_set, fd) ? POLLIN | POLLRDNORM | POLLRDBAND : 0) |
                     (has(write_set, fd) ? POLLOUT | POLLWRNORM | POLLWRBAND : 0) |
                     (has(except_set, fd) ? POLLPRI : 0);
        if (events == 0)
            continue;
        if (fds != NULL)
            fds[used] = (struct pollfd){.fd = fd, .events = (short)events};
        used++;
    }
    return used;
}

/* An error or hang-up alone ends the wait only if Linux's select would look at it. */
static int to_sets(const struct pollfd *fds, nfds_t used, int count, fd_set *read_set,
                   fd_set *write_set, fd_set *except_set)
{
    int bits = 0;
    for (nfds_t i = 0; i < used; i++) {
        if (fds[i].revents & POLLNVAL)
            return -EBADF;
    }
    clear(read_set, count);
    clear(write_set, count);
    clear(except_set, count);
    for (nfds_t i = 0; i < used; i++) {
        if ((fds[i].events & POLLIN) && (fds[i].revents & READ_BITS)) {
            put(read_set, fds[i].fd);
            bits++;
        }
        if ((fds[i].events & POLLOUT) && (fds[i].revents & WRITE_BITS)) {
            put(write_set, fds[i].fd);
            bits++;
        }
        if ((fds[i].events & POLLPRI) && (fds[i].revents & EXCEPT_BITS)) {
            put(except_set, fds[i].fd);
            bits++;
        }
    }
    return bits;
}

int select_wait(int count, fd_set *read_set, fd_set *write_set, fd_set *except_set,
                const struct timespec *timeout, const sigset_t *mask)
{
    if (count < 0)
        return -EINVAL;
    nfds_t used = to_poll(NULL, count, read_set, write_set, except_set);
    struct pollfd *fds = calloc(used == 0 ? 1 : used, sizeof(*fds));
    if (fds == NULL)
        return -ENOMEM;
    to_poll(fds, count, read_set, write_set, except_set);
    int result;
    pthread_cleanup_push(free, fds);
    result = poll_wait(fds, used, timeout, mask);
    pthread_cleanup_pop(0);
    if (result >= 0)
        result = to_sets(fds, used, count, read_set, write_set, except_set);
    free(fds);
    return result;
}
