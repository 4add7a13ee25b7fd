/* Loaded before libpno.so: of the memory that the library asks for, the request of number
   FAILING_REQUEST is refused. How many there were goes to descriptor FAILING_COUNT_FD. */
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *memory, size_t bytes);

static uintptr_t library_start, library_end;
static unsigned refused;
static _Atomic unsigned requests;

static int find_library(struct dl_phdr_info *object, size_t bytes, void *context)
{
    (void)bytes;
    (void)context;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (strstr(object->dlpi_name, "libpno.so") != NULL && header->p_type == PT_LOAD &&
            (header->p_flags & PF_X) != 0) {
            library_start = object->dlpi_addr + header->p_vaddr;
            library_end = library_start + header->p_memsz;
        }
    }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *number = getenv("FAILING_REQUEST");
    refused = number != NULL ? (unsigned)strtoul(number, NULL, 10) : 0;
    dl_iterate_phdr(find_library, NULL);
}

__attribute__((destructor)) static void end(void)
{
    const char *fd = getenv("FAILING_COUNT_FD");
    if (fd != NULL)
        dprintf((int)strtoul(fd, NULL, 10), "%u\n", atomic_load(&requests));
}

static bool is_refused(const void *caller)
{
    uintptr_t address = (uintptr_t)caller;
    if (address < library_start || address >= library_end)
        return false;
    if (atomic_fetch_add(&requests, 1) + 1 != refused)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t bytes)
{
    return is_refused(__builtin_return_address(0)) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return is_refused(__builtin_return_address(0)) ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    return is_refused(__builtin_return_address(0)) ? NULL : __libc_realloc(memory, bytes);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (is_refused(__builtin_return_address(0)))
        return MAP_FAILED;
    long mapped = syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
    return (void *)mapped; // NOLINT(performance-no-int-to-ptr)
}

void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
    __attribute__((alias("mmap")));
