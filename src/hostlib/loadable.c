#include "hostlib/loadable.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As much of a file as says what it is; Linux too reads one such block. */
#define HEAD_BYTES 1024

/* Interpreters that are scripts themselves; Linux's own limit. */
#define SCRIPTS_MAX 4

const char *loadable_library_path(void)
{
    static const char *path;
    Dl_info info;
    if (path == NULL)
        path = dladdr(&path, &info) != 0 && info.dli_fname != NULL ? info.dli_fname : "";
    return path;
}

static ssize_t read_head(int fd, char head[HEAD_BYTES])
{
    return (ssize_t)syscall(SYS_pread64, fd, head, HEAD_BYTES - 1, 0);
}

/* Who has the right to more than the caller runs without preloaded libraries. */
static bool gains_privileges(int fd)
{
    struct stat status;
    if (syscall(SYS_newfstatat, fd, "", &status, AT_EMPTY_PATH) < 0)
        return false;
    return ((status.st_mode & S_ISUID) && status.st_uid != geteuid()) ||
           ((status.st_mode & S_ISGID) && (status.st_mode & S_IXGRP) && status.st_gid != getegid());
}

/* The dynamic loader that the program asks for is glibc's. */
static bool is_our_loader(int fd, const Elf64_Phdr *segment)
{
    static const char ours[] = "ld-linux-x86-64.so";
    char path[PATH_MAX];
    size_t length = segment->p_filesz < sizeof(path) ? segment->p_filesz : sizeof(path) - 1;
    long got = syscall(SYS_pread64, fd, path, length, (off_t)segment->p_offset);
    if (got <= 0)
        return true;
    path[got] = '\0';
    const char *name = strrchr(path, '/');
    return strncmp(name != NULL ? name + 1 : path, ours, sizeof(ours) - 1) == 0;
}

static enum loadable loadable_elf(int fd, const char *head, size_t length)
{
    Elf64_Ehdr header;
    if (length < sizeof(header))
        return LOADABLE_YES;
    memcpy(&header, head, sizeof(header));
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64 ||
        header.e_phentsize != sizeof(Elf64_Phdr))
        return LOADABLE_REFUSED;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        off_t at = (off_t)(header.e_phoff + i * sizeof(segment));
        if (syscall(SYS_pread64, fd, &segment, sizeof(segment), at) != (long)sizeof(segment))
            return LOADABLE_YES;
        if (segment.p_type != PT_INTERP)
            continue;
        if (!is_our_loader(fd, &segment))
            return LOADABLE_REFUSED;
        return gains_privileges(fd) ? LOADABLE_IGNORED : LOADABLE_YES;
    }
    return LOADABLE_IGNORED;
}

/* Open the program that a script's first line names. @return negative: none. */
static int open_interpreter(char *head)
{
    char *path = head + 2 + strspn(head + 2, " \t");
    path[strcspn(path, " \t\n")] = '\0';
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

enum loadable loadable_by(int program_fd)
{
    char head[HEAD_BYTES];
    int fd = program_fd;
    enum loadable loadable = LOADABLE_YES;
    for (int depth = 0; depth <= SCRIPTS_MAX && fd >= 0; depth++) {
        ssize_t length = read_head(fd, head);
        int next = -1;
        if (length > 2) {
            head[length] = '\0';
            if (memcmp(head, "#!", 2) == 0)
                next = open_interpreter(head);
            else if (memcmp(head, ELFMAG, SELFMAG) == 0)
                loadable = loadable_elf(fd, head, (size_t)length);
        }
        if (fd != program_fd)
            syscall(SYS_close, fd);
        fd = next;
    }
    if (fd >= 0 && fd != program_fd)
        syscall(SYS_close, fd);
    return loadable;
}
