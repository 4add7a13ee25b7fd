/* fstat() and its kin: accepted connections share one kernel socket behind their descriptors
   (placeholder.h), but each has an inode of its own in Linux, which it keeps in another process. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "hostlib/interpose.h"

/* libc's before 2.33; programs built then still call them. */
int __fxstat(int version, int fd, struct stat *status);
int __fxstat64(int version, int fd, struct stat64 *status);
int __fxstatat(int version, int fd, const char *path, struct stat *status, int flags);
int __fxstatat64(int version, int fd, const char *path, struct stat64 *status, int flags);

/* Unlike any of the kernel's, which have 32 bits; the same in all processes of a tenant. */
static uint64_t inode_of(const struct socket *socket)
{
    uint16_t tenant;
    memcpy(&tenant, socket->link->hello.tenant_token, sizeof(tenant));
    return (uint64_t)(tenant | 1u) << 48 | (uint64_t)(socket->name.incarnation & 0xffffu) << 32 |
           socket->name.slot;
}

/* @return the inode to show; 0: the kernel's. */
static uint64_t own_inode(int fd)
{
    if (fd_peek(fd) == NULL)
        return 0;
    struct socket *socket = interpose_offloaded(fd);
    if (socket == NULL)
        return 0;
    uint64_t inode = socket->is_accepted ? inode_of(socket) : 0;
    file_put(&socket->file);
    return inode;
}

#define SHOW_OWN_INODE(result, fd, field)                                                          \
    do {                                                                                           \
        uint64_t own = (result) == 0 ? own_inode(fd) : 0;                                          \
        if (own != 0)                                                                              \
            (field) = own;                                                                         \
    } while (0)

/* Whether a path and flags mean the descriptor itself. */
static bool is_itself(const char *path, int flags)
{
    return (flags & AT_EMPTY_PATH) != 0 && (path == NULL || path[0] == '\0');
}

PNO_EXPORT int fstat(int fd, struct stat *status)
{
    int result = REAL(fstat)(fd, status);
    SHOW_OWN_INODE(result, fd, status->st_ino);
    return result;
}

PNO_EXPORT int fstat64(int fd, struct stat64 *status)
{
    int result = REAL(fstat64)(fd, status);
    SHOW_OWN_INODE(result, fd, status->st_ino);
    return result;
}

PNO_EXPORT int __fxstat(int version, int fd, struct stat *status)
{
    int result = REAL(__fxstat)(version, fd, status);
    SHOW_OWN_INODE(result, fd, status->st_ino);
    return result;
}

PNO_EXPORT int __fxstat64(int version, int fd, struct stat64 *status)
{
    int result = REAL(__fxstat64)(version, fd, status);
    SHOW_OWN_INODE(result, fd, status->st_ino);
    return result;
}

PNO_EXPORT int fstatat(int fd, const char *path, struct stat *status, int flags)
{
    int result = REAL(fstatat)(fd, path, status, flags);
    if (is_itself(path, flags))
        SHOW_OWN_INODE(result, fd, status->st_ino);
    return result;
}

PNO_EXPORT int fstatat64(int fd, const char *path, struct stat64 *status, int flags)
{
    int result = REAL(fstatat64)(fd, path, status, flags);
    if (is_itself(path, flags))
        SHOW_OWN_INODE(result, fd, status->st_ino);
    return result;
}

PNO_EXPORT int __fxstatat(int version, int fd, const char *path, struct stat *status, int flags)
{
    int result = REAL(__fxstatat)(version, fd, path, status, flags);
    if (is_itself(path, flags))
        SHOW_OWN_INODE(result, fd, status->st_ino);
    return result;
}

PNO_EXPORT int __fxstatat64(int version, int fd, const char *path, struct stat64 *status, int flags)
{
    int result = REAL(__fxstatat64)(version, fd, path, status, flags);
    if (is_itself(path, flags))
        SHOW_OWN_INODE(result, fd, status->st_ino);
    return result;
}

PNO_EXPORT int statx(int fd, const char *restrict path, int flags, unsigned mask,
                     struct statx *restrict status)
{
    int result = REAL(statx)(fd, path, flags, mask, status);
    if (is_itself(path, flags) && (mask & STATX_INO) != 0)
        SHOW_OWN_INODE(result, fd, status->stx_ino);
    return result;
}
