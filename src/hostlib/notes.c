#include "hostlib/notes.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct socket_notes *_Atomic notes;

/* A private mapping of a file, not shared memory: the file is there for its name, and a child's
   notes are its own. @return NULL: the notes are for people, so that it can't be made is no error.
 */
static struct socket_notes *make(void)
{
    int fd = (int)syscall(SYS_memfd_create, SOCKET_NOTES_NAME, MFD_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *memory = MAP_FAILED;
    if (syscall(SYS_ftruncate, fd, sizeof(struct socket_notes)) == 0)
        memory =
            mmap(NULL, sizeof(struct socket_notes), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    syscall(SYS_close, fd);
    if (memory == MAP_FAILED)
        return NULL;
    struct socket_notes *made = memory;
    made->magic = SOCKET_NOTES_MAGIC;
    made->version = SOCKET_NOTES_VERSION;
    return made;
}

static struct socket_notes *present(void)
{
    struct socket_notes *found = atomic_load_explicit(&notes, memory_order_acquire);
    if (found != NULL)
        return found;
    int saved_errno = errno;
    struct socket_notes *made = make();
    errno = saved_errno;
    if (made == NULL || atomic_compare_exchange_strong(&notes, &found, made))
        return made;
    (void)munmap(made, sizeof(*made));
    return found;
}

void notes_set(int fd, enum socket_note_reason reason, uint32_t rule)
{
    if (fd < 0 || fd >= SOCKET_NOTES_MAX)
        return;
    struct socket_notes *memory = present();
    if (memory != NULL)
        atomic_store_explicit(&memory->words[fd], socket_note_word(reason, rule),
                              memory_order_relaxed);
}

void notes_forget(int fd)
{
    struct socket_notes *memory = atomic_load_explicit(&notes, memory_order_acquire);
    if (memory != NULL && fd >= 0 && fd < SOCKET_NOTES_MAX)
        atomic_store_explicit(&memory->words[fd], 0, memory_order_relaxed);
}

void notes_inherit(int fd, int listener)
{
    struct socket_notes *memory = atomic_load_explicit(&notes, memory_order_acquire);
    if (memory == NULL || fd < 0 || fd >= SOCKET_NOTES_MAX)
        return;
    uint32_t word = 0;
    if (listener >= 0 && listener < SOCKET_NOTES_MAX)
        word = atomic_load_explicit(&memory->words[listener], memory_order_relaxed);
    atomic_store_explicit(&memory->words[fd], word, memory_order_relaxed);
}
