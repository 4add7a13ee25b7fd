/* What is loaded by RTLD_DEEPBIND, and so finds libc's calls before a preloaded library's. */
#include <dlfcn.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED ssize_t deep_send(int fd, const char *text);
EXPORTED ssize_t deep_receive(int fd, char *bytes, size_t count);
EXPORTED int deep_finds_neighbour(void);

ssize_t deep_send(int fd, const char *text)
{
    return send(fd, text, strlen(text), 0);
}

/* By a pointer, which is bound when the module is loaded. */
ssize_t deep_receive(int fd, char *bytes, size_t count)
{
    static ssize_t (*const volatile receive)(int, void *, size_t) = read;
    return receive(fd, bytes, count);
}

/* By this module's own RUNPATH. */
int deep_finds_neighbour(void)
{
    return dlopen("libpno-deep-neighbour.so", RTLD_NOW) != NULL;
}
