/*
 * Loading lwIP. The dynamic linker takes a file for another when it is another file: every library
 * after the first comes from a copy in memory.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lwip_library.h"

#define LWIP_FILE "liblwip.so.0"

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
    {"lwip_init", offsetof(struct lwip_library, lwip_init)},
    {"netif_add", offsetof(struct lwip_library, netif_add)},
    {"netif_set_default", offsetof(struct lwip_library, netif_set_default)},
    {"netif_set_up", offsetof(struct lwip_library, netif_set_up)},
    {"netif_set_link_up", offsetof(struct lwip_library, netif_set_link_up)},
    {"etharp_output", offsetof(struct lwip_library, etharp_output)},
    {"ethernet_input", offsetof(struct lwip_library, ethernet_input)},
    {"pbuf_alloc", offsetof(struct lwip_library, pbuf_alloc)},
    {"pbuf_free", offsetof(struct lwip_library, pbuf_free)},
    {"tcp_new", offsetof(struct lwip_library, tcp_new)},
    {"tcp_arg", offsetof(struct lwip_library, tcp_arg)},
    {"tcp_bind", offsetof(struct lwip_library, tcp_bind)},
    {"tcp_listen_with_backlog", offsetof(struct lwip_library, tcp_listen_with_backlog)},
    {"tcp_accept", offsetof(struct lwip_library, tcp_accept)},
    {"tcp_connect", offsetof(struct lwip_library, tcp_connect)},
    {"tcp_recv", offsetof(struct lwip_library, tcp_recv)},
    {"tcp_sent", offsetof(struct lwip_library, tcp_sent)},
    {"tcp_err", offsetof(struct lwip_library, tcp_err)},
    {"tcp_write", offsetof(struct lwip_library, tcp_write)},
    {"tcp_output", offsetof(struct lwip_library, tcp_output)},
    {"tcp_recved", offsetof(struct lwip_library, tcp_recved)},
    {"tcp_close", offsetof(struct lwip_library, tcp_close)},
    {"tcp_tmr", offsetof(struct lwip_library, tcp_tmr)},
    {"tcp_active_pcbs", offsetof(struct lwip_library, tcp_active_pcbs)},
};

static bool resolve(void *handle, struct lwip_library *library)
{
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *address = dlsym(handle, symbols[i].name);
        if (address == NULL) {
            fprintf(stderr, "bench-core: %s\n", dlerror());
            return false;
        }
        memcpy((char *)library + symbols[i].offset, &address, sizeof(address));
    }
    return true;
}

/** @return a handle of the same library again, or NULL. */
static void *load_copy(void *original)
{
    struct link_map *map;
    struct stat status;
    char path[64];
    void *handle = NULL;

    if (dlinfo(original, RTLD_DI_LINKMAP, &map) != 0)
        return NULL;
    int in = open(map->l_name, O_RDONLY | O_CLOEXEC);
    int out = memfd_create("lwip", MFD_CLOEXEC);
    if (in >= 0 && out >= 0 && fstat(in, &status) == 0 &&
        sendfile(out, in, NULL, (size_t)status.st_size) == status.st_size) {
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", out);
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return handle;
}

bool lwip_library_load(struct lwip_library *libraries, unsigned count)
{
    void *original = dlopen(LWIP_FILE, RTLD_NOW | RTLD_LOCAL);
    for (unsigned i = 0; i < count; i++) {
        void *handle = i == 0 || original == NULL ? original : load_copy(original);
        if (handle == NULL) {
            const char *reason = dlerror();
            fprintf(stderr, "bench-core: cannot load " LWIP_FILE ": %s; install liblwip-dev\n",
                    reason != NULL ? reason : "no copy of it");
            return false;
        }
        if (!resolve(handle, &libraries[i]))
            return false;
    }
    return true;
}
