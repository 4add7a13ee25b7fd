#include "engine/dpdk.h"

#include "engine/eal.h"

#include <dlfcn.h>
#include <errno.h>
#include <glob.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/ports/port.h"

#define ARGUMENTS_MAX 24

/** Without huge pages DPDK takes its memory at once and cannot grow: mbufs and rings fit in this.
 */
#define MEMORY_MIB_BASE     96
#define MEMORY_MIB_PER_CORE 32
#define MEMORY_MIB_JUMBO    256 /**< more, for frames beyond 2 KiB */
#define MEMORY_MIB_LARGE    40  /**< and for those that the port cuts; see ports/port.c */
#define JUMBO_MTU           1900

static bool is_virtual_device(const char *port)
{
    return strncmp(port, "net_", 4) == 0 || strncmp(port, "eth_", 4) == 0;
}

/**
 * Say what is wrong before DPDK does it in its own many words: an interface that is not there, no
 * right to open it.
 */
static int check_port(const char *port, char *problem, size_t problem_bytes)
{
    if (!is_virtual_device(port) && !port_is_own(port))
        return 0;
    const char *iface = strstr(port, "iface=");
    bool opens_interface = port_is_own(port) || strncmp(port, "net_af_xdp", 10) == 0 ||
                           strncmp(port, "net_af_packet", 13) == 0;
    if (opens_interface && iface == NULL) {
        (void)snprintf(problem, problem_bytes, "--port %s: iface=NAME is missing", port);
        return -EINVAL;
    }
    if (opens_interface) {
        char name[IF_NAMESIZE] = "";
        size_t length = strcspn(iface + 6, ",");
        if (length < sizeof(name))
            memcpy(name, iface + 6, length);
        if (name[0] == '\0' || if_nametoindex(name) == 0) {
            (void)snprintf(problem, problem_bytes,
                           "--port %s: there is no interface '%.*s' here (see ip link)", port,
                           (int)length, iface + 6);
            return -ENODEV;
        }
        int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            int error = errno;
            (void)snprintf(problem, problem_bytes,
                           "--port %s: no permission to open it: %s (run as root, or with "
                           "CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF)",
                           port, strerror(error));
            return -error;
        }
        (void)close(fd);
    }
    return 0;
}

/** The libraries below DPDK's AF_XDP driver chat on standard error, unless told where to print. */
static void silence_library(const char *library, const char *setter)
{
    typedef int (*printer)(int level, const char *format, va_list arguments);
    void *handle = dlopen(library, RTLD_NOW);
    if (handle == NULL)
        return; /* then nobody uses it either */
    printer (*set_print)(printer) = NULL;
    void *symbol = dlsym(handle, setter);
    memcpy(&set_print, &symbol, sizeof(set_print));
    if (set_print != NULL)
        (void)set_print(NULL);
}

/** lcore 0 (control) on the first CPU, then one lcore per engine core. */
static void format_lcores(const struct engine_options *options, char *text, size_t bytes)
{
    int used = snprintf(text, bytes, "0@%u", options->cpus[0]);
    for (unsigned i = 0; i < options->core_count && used > 0 && (size_t)used < bytes; i++)
        used += snprintf(text + used, bytes - (size_t)used, ",%u@%u", eal_core_lcore(i),
                         options->cpus[i]);
}

/** DPDK takes its arguments as argv, writable by type only. */
static char *literal(const char *text)
{
    return (char *)(uintptr_t)text;
}

static int check_cpus(const struct engine_options *options, char *problem, size_t problem_bytes)
{
    for (unsigned i = 0; i < options->core_count; i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u", options->cpus[i]);
        if (access(path, F_OK) != 0) {
            (void)snprintf(problem, problem_bytes, "--cores: this machine has no CPU %u",
                           options->cpus[i]);
            return -ENODEV;
        }
    }
    return 0;
}

/** Of whichever size; DPDK itself says no more than "Permission denied" if there are none. */
static int check_huge_pages(char *problem, size_t problem_bytes)
{
    glob_t found = {0};
    unsigned long pages = 0;
    (void)glob("/sys/kernel/mm/hugepages/hugepages-*/free_hugepages", 0, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "re");
        unsigned long free_pages = 0;
        if (file != NULL && fscanf(file, "%lu", &free_pages) == 1)
            pages += free_pages;
        if (file != NULL)
            (void)fclose(file);
    }
    globfree(&found);
    if (pages > 0)
        return 0;
    (void)snprintf(problem, problem_bytes,
                   "--huge: no huge page is free: reserve some (sysctl -w vm.nr_hugepages=256), or "
                   "do without");
    return -ENOMEM;
}

int eal_start(const struct engine_options *options, char *problem, size_t problem_bytes)
{
    int result = check_port(options->port, problem, problem_bytes);
    if (result == 0)
        result = check_cpus(options, problem, problem_bytes);
    if (result == 0 && options->huge)
        result = check_huge_pages(problem, problem_bytes);
    if (result != 0)
        return result;
    char lcores[LINK_CORES_MAX * 16];
    char memory[16];
    char prefix[32];
    char port[OPTIONS_TEXT_MAX];
    format_lcores(options, lcores, sizeof(lcores));
    (void)snprintf(memory, sizeof(memory), "%u",
                   MEMORY_MIB_BASE + MEMORY_MIB_LARGE + MEMORY_MIB_PER_CORE * options->core_count +
                       (options->mtu > JUMBO_MTU ? MEMORY_MIB_JUMBO : 0));
    (void)snprintf(prefix, sizeof(prefix), "pnod%d", (int)getpid());
    memcpy(port, options->port, sizeof(port));
    char *arguments[ARGUMENTS_MAX];
    int count = 0;
    arguments[count++] = literal("pnod");
    arguments[count++] = literal("--no-telemetry");
    arguments[count++] = literal("--file-prefix");
    arguments[count++] = prefix;
    arguments[count++] = literal("--lcores");
    arguments[count++] = lcores;
    arguments[count++] = literal("--main-lcore");
    arguments[count++] = literal("0");
    arguments[count++] = literal("--log-level");
    arguments[count++] =
        options->log_level == LOG_LEVEL_DEBUG ? literal("*:info") : literal("*:critical");
    if (options->huge) {
        arguments[count++] = literal("--in-memory");
    } else {
        arguments[count++] = literal("--no-huge");
        arguments[count++] = literal("--no-shconf");
        arguments[count++] = literal("-m");
        arguments[count++] = memory;
    }
    if (port_is_own(port)) {
        arguments[count++] = literal("--no-pci");
    } else {
        if (is_virtual_device(port))
            arguments[count++] = literal("--no-pci");
        arguments[count++] = is_virtual_device(port) ? literal("--vdev") : literal("--allow");
        arguments[count++] = port;
    }
    arguments[count] = NULL;
    if (options->log_level != LOG_LEVEL_DEBUG) {
        silence_library("libbpf.so.1", "libbpf_set_print");
        silence_library("libxdp.so.1", "libxdp_set_print");
    }
    int started = rte_eal_init(count, arguments);
    /* Private as our settings are, nothing lies in DPDK's run-time directory; gone now, it is not
       left behind by a sudden death. */
    (void)rmdir(rte_eal_get_runtime_dir());
    if (started < 0) {
        (void)snprintf(problem, problem_bytes,
                       "DPDK does not start with port %s: %s (--log debug shows its messages)",
                       options->port, rte_strerror(rte_errno));
        return rte_errno > 0 ? -rte_errno : -EIO;
    }
    return 0;
}

void eal_stop(void)
{
    (void)rte_eal_cleanup();
}
