#include "hostlib/placeholder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/fd_table.h"
#include "hostlib/lock.h"

static struct lock original_lock;
static int originals[2] = {-1, -1}; /* by is_v6 */

static int make_original(bool is_v6)
{
    int fd = (int)syscall(SYS_socket, is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    fd = fd_make_internal(fd);
    if (fd >= 0) {
        originals[is_v6] = fd;
        fd_register_internal(&originals[is_v6]);
    }
    return fd;
}

struct lock *placeholder_fork_lock(void)
{
    return &original_lock;
}

int placeholder_open(bool is_v6, bool close_on_exec)
{
    lock_acquire(&original_lock);
    int original = originals[is_v6];
    if (original < 0)
        original = make_original(is_v6);
    lock_release(&original_lock);
    if (original < 0)
        return original;
    int fd = (int)syscall(SYS_fcntl, original, close_on_exec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
    return fd < 0 ? -errno : fd;
}
