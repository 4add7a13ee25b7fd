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

static int make_socket(bool is_v6, bool close_on_exec)
{
    int type = SOCK_STREAM | (close_on_exec ? SOCK_CLOEXEC : 0);
    int fd = (int)syscall(SYS_socket, is_v6 ? AF_INET6 : AF_INET, type, 0);
    return fd < 0 ? -errno : fd;
}

static int make_original(bool is_v6)
{
    int fd = make_socket(is_v6, true);
    if (fd < 0)
        return fd;
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
    if (original < 0) /* no room for one more than the program asked for */
        return make_socket(is_v6, close_on_exec);
    int fd = (int)syscall(SYS_fcntl, original, close_on_exec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
    return fd < 0 ? -errno : fd;
}
