#include "engine/dpdk.h"

#include "engine/eal.h"

#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define ARGUMENTS_MAX 24

/** Without huge pages DPDK takes its memory at once and cannot grow: mbufs and rings fit in this.
 */
#define MEMORY_MIB_BASE     96
#define MEMORY_MIB_PER_CORE 32

static char runtime_directory[128];

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
    if (!is_virtual_device(port))
        return 0;
    const char *iface = strstr(port, "iface=");
    bool opens_interface =
        strncmp(port, "net_af_xdp", 10) == 0 || strncmp(port, "net_af_packet", 13) == 0;
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

/** lcore 0 (control) on the first CPU, then one lcore per engine core. */
static void format_lcores(const struct engine_options *options, char *text, size_t bytes)
{
    int used = snprintf(text, bytes, "0@%u", options->cpus[0]);
    for (unsigned i = 0; i < options->core_count && used > 0 && (size_t)used < bytes; i++)
        used += snprintf(text + used, bytes - (size_t)used, ",%u@%u", eal_core_lcore(i),
                         options->cpus[i]);
}

int eal_start(const struct engine_options *options, char *problem, size_t problem_bytes)
{
    int result = check_port(options->port, problem, problem_bytes);
    if (result != 0)
        return result;
    char lcores[LINK_CORES_MAX * 16];
    char memory[16];
    char prefix[32];
    char port[OPTIONS_TEXT_MAX];
    format_lcores(options, lcores, sizeof(lcores));
    (void)snprintf(memory, sizeof(memory), "%u",
                   MEMORY_MIB_BASE + MEMORY_MIB_PER_CORE * options->core_count);
    (void)snprintf(prefix, sizeof(prefix), "pnod%d", (int)getpid());
    memcpy(port, options->port, sizeof(port));
    char *arguments[ARGUMENTS_MAX];
    int count = 0;
    arguments[count++] = (char[]){"pnod"};
    arguments[count++] = (char[]){"--no-telemetry"};
    arguments[count++] = (char[]){"--file-prefix"};
    arguments[count++] = prefix;
    arguments[count++] = (char[]){"--lcores"};
    arguments[count++] = lcores;
    arguments[count++] = (char[]){"--main-lcore"};
    arguments[count++] = (char[]){"0"};
    arguments[count++] = (char[]){"--log-level"};
    arguments[count++] =
        options->log_level == LOG_LEVEL_DEBUG ? (char[]){"*:info"} : (char[]){"*:critical"};
    if (options->huge) {
        arguments[count++] = (char[]){"--in-memory"};
    } else {
        arguments[count++] = (char[]){"--no-huge"};
        arguments[count++] = (char[]){"--no-shconf"};
        arguments[count++] = (char[]){"-m"};
        arguments[count++] = memory;
    }
    if (is_virtual_device(port)) {
        arguments[count++] = (char[]){"--no-pci"};
        arguments[count++] = (char[]){"--vdev"};
    } else {
        arguments[count++] = (char[]){"--allow"};
    }
    arguments[count++] = port;
    arguments[count] = NULL;
    if (rte_eal_init(count, arguments) < 0) {
        (void)snprintf(problem, problem_bytes,
                       "DPDK does not start with port %s: %s (--log debug shows its messages)",
                       options->port, rte_strerror(rte_errno));
        return rte_errno > 0 ? -rte_errno : -EIO;
    }
    (void)snprintf(runtime_directory, sizeof(runtime_directory), "%s", rte_eal_get_runtime_dir());
    return 0;
}

void eal_stop(void)
{
    (void)rte_eal_cleanup();
    if (runtime_directory[0] != '\0')
        (void)rmdir(runtime_directory);
}
