#include "program_kind.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Linux's own limit (BINPRM_BUF_SIZE is 256, five interpreters deep). */
#define INTERPRETER_LINE_MAX  256
#define INTERPRETER_DEPTH_MAX 5
#define PROGRAM_HEADERS_MAX   256
#define SECTIONS_MAX          4096

static bool find_along_path(const char *program, char path[PATH_MAX])
{
    if (strchr(program, '/') != NULL) {
        return snprintf(path, PATH_MAX, "%s", program) < PATH_MAX;
    }
    const char *folders = getenv("PATH");
    folders = folders != NULL ? folders : "/usr/local/bin:/usr/bin:/bin";
    while (*folders != '\0') {
        size_t length = strcspn(folders, ":");
        int written = snprintf(path, PATH_MAX, "%.*s%s%s", (int)length, folders,
                               length > 0 ? "/" : "./", program);
        struct stat status;
        if (written < PATH_MAX && stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
            access(path, X_OK) == 0) {
            return true;
        }
        folders += length + (folders[length] == ':' ? 1 : 0);
    }
    return false;
}

/* The file, mapped; sizes are checked at each access, for the file may be anything. */
struct image {
    const uint8_t *bytes;
    size_t size;
};

static const void *image_at(const struct image *image, uint64_t offset, uint64_t size)
{
    if (offset > image->size || size > image->size - offset) {
        return NULL;
    }
    return image->bytes + offset;
}

/* The dynamic loader that the program names; "" if it names none. */
static const char *loader_of(const struct image *image, const Elf64_Ehdr *header)
{
    for (uint16_t i = 0; i < header->e_phnum && i < PROGRAM_HEADERS_MAX; i++) {
        const Elf64_Phdr *segment =
            image_at(image, header->e_phoff + (uint64_t)i * sizeof(*segment), sizeof(*segment));
        if (segment == NULL || segment->p_type != PT_INTERP) {
            continue;
        }
        const char *path = image_at(image, segment->p_offset, segment->p_filesz);
        bool whole = path != NULL && segment->p_filesz > 0 && path[segment->p_filesz - 1] == '\0';
        return whole ? path : "";
    }
    return "";
}

/* Another C library has another. */
static bool is_glibcs(const char *loader)
{
    static const char name[] = "/ld-linux-x86-64.so";
    const char *last = strrchr(loader, '/');
    return last != NULL && strncmp(last, name, sizeof(name) - 1) == 0;
}

/* Go calls the kernel directly, not libc, so that there is nothing to intercept. */
static bool is_go(const struct image *image, const Elf64_Ehdr *header)
{
    const Elf64_Shdr *names = image_at(
        image, header->e_shoff + (uint64_t)header->e_shstrndx * sizeof(*names), sizeof(*names));
    if (header->e_shoff == 0 || names == NULL) {
        return false;
    }
    static const char wanted[] = ".go.buildinfo";
    for (uint16_t i = 0; i < header->e_shnum && i < SECTIONS_MAX; i++) {
        const Elf64_Shdr *section =
            image_at(image, header->e_shoff + (uint64_t)i * sizeof(*section), sizeof(*section));
        if (section == NULL) {
            return false;
        }
        const char *name = image_at(image, names->sh_offset + section->sh_name, sizeof(wanted));
        if (name != NULL && memcmp(name, wanted, sizeof(wanted)) == 0) {
            return true;
        }
    }
    return false;
}

static const char *elf_obstacle(const struct image *image, bool *refuses)
{
    const Elf64_Ehdr *header = image_at(image, 0, sizeof(*header));
    if (header == NULL || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
        return NULL;
    }
    Elf64_Ehdr own;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    bool own_known = fd >= 0 && read(fd, &own, sizeof(own)) == (ssize_t)sizeof(own);
    if (fd >= 0) {
        close(fd);
    }
    if (own_known && (header->e_ident[EI_CLASS] != own.e_ident[EI_CLASS] ||
                      header->e_machine != own.e_machine)) {
        *refuses = true;
        return "it is made for another processor architecture than libpno.so";
    }
    const char *loader = loader_of(image, header);
    if (loader[0] != '\0' && !is_glibcs(loader)) {
        *refuses = true;
        return "its C library is not glibc";
    }
    if (is_go(image, header)) {
        return "it is a Go program, which calls the kernel without libc";
    }
    return loader[0] != '\0' ? NULL : "it is statically linked";
}

/* With AT_SECURE, ld.so ignores LD_PRELOAD: a set-id program that changes our identity. */
static bool changes_identity(const char *path, const struct stat *status)
{
    if ((status->st_mode & S_ISUID) != 0 && status->st_uid != getuid()) {
        return true;
    }
    if ((status->st_mode & S_ISGID) != 0 && status->st_gid != getgid()) {
        return true;
    }
    return getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0;
}

/* The interpreter named by a "#!" line; false if the file is no script. */
static bool script_interpreter(const struct image *image, char interpreter[INTERPRETER_LINE_MAX])
{
    if (image->size < 3 || image->bytes[0] != '#' || image->bytes[1] != '!') {
        return false;
    }
    size_t length =
        image->size - 2 < INTERPRETER_LINE_MAX - 1 ? image->size - 2 : INTERPRETER_LINE_MAX - 1;
    memcpy(interpreter, image->bytes + 2, length);
    interpreter[length] = '\0';
    size_t start = strspn(interpreter, " \t");
    size_t word = strcspn(interpreter + start, " \t\r\n");
    memmove(interpreter, interpreter + start, word);
    interpreter[word] = '\0';
    return word > 0;
}

/* One file's verdict; a script sets *interpreter and gives NULL. */
static const char *file_obstacle(const char *path, char interpreter[INTERPRETER_LINE_MAX],
                                 bool *refuses)
{
    const char *obstacle = NULL;
    interpreter[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0) {
        return NULL;
    }
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) {
        goto close_file;
    }
    if (changes_identity(path, &status)) {
        obstacle = "it is set-user-ID, set-group-ID or has file capabilities";
        goto close_file;
    }
    void *mapping = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapping == MAP_FAILED) {
        goto close_file;
    }
    struct image image = {.bytes = mapping, .size = (size_t)status.st_size};
    if (!script_interpreter(&image, interpreter)) {
        obstacle = elf_obstacle(&image, refuses);
    }
    munmap(mapping, (size_t)status.st_size);
close_file:
    close(fd);
    return obstacle;
}

const char *program_kind_obstacle(const char *program, bool *refuses)
{
    *refuses = false;
    char path[PATH_MAX];
    if (!find_along_path(program, path)) {
        return NULL;
    }
    for (int depth = 0; depth < INTERPRETER_DEPTH_MAX; depth++) {
        char interpreter[INTERPRETER_LINE_MAX];
        const char *obstacle = file_obstacle(path, interpreter, refuses);
        if (obstacle != NULL || interpreter[0] == '\0') {
            return obstacle;
        }
        snprintf(path, sizeof(path), "%s", interpreter);
    }
    return NULL;
}
