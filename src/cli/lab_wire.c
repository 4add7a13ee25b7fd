#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lab.h"
#include "tool.h"

#define NETNS_FOLDER "/run/netns"

static void space_path(const struct lab *lab, enum lab_space space, char path[LAB_PATH_MAX])
{
    snprintf(path, LAB_PATH_MAX, NETNS_FOLDER "/%s", lab->spaces[space]);
}

bool lab_space_exists(const struct lab *lab, enum lab_space space)
{
    char path[LAB_PATH_MAX];
    space_path(lab, space, path);
    return access(path, F_OK) == 0;
}

/* A variable-argument macro would hide the printf check; so each step names its message buffer. */
#define STEP(lab, ...) tool_run((lab)->message, sizeof((lab)->message), __VA_ARGS__)

/* For what is good to have and may be missing or be so already. */
#define TRY(...)                                                                                   \
    do {                                                                                           \
        char ignored[LAB_MESSAGE_MAX];                                                             \
        (void)tool_run(ignored, sizeof(ignored), __VA_ARGS__);                                     \
    } while (0)

bool lab_wire_exists(const struct lab *lab)
{
    char ignored[LAB_MESSAGE_MAX];
    for (int space = 0; space < LAB_SPACES_ALWAYS; space++) {
        if (!lab_space_exists(lab, (enum lab_space)space)) {
            return false;
        }
    }
    return tool_run(ignored, sizeof(ignored), "ip -n %s link show " LAB_ENGINE_PORT,
                    lab->spaces[LAB_DPU]) &&
           tool_run(ignored, sizeof(ignored), "ip -n %s link show " LAB_CLIENT_PORT,
                    lab->spaces[LAB_CLIENT]);
}

/*
 * Most of the engine's ports take frames as they come, so that each must be whole: real checksums,
 * no frame beyond the MTU, VLAN tags inside. A physical wire would see to that, and so does a veth
 * whose ends leave nothing to the other. A port with offloads of its own is given what the client's
 * kernel would give any interface: segments and checksums still to be made.
 */
static bool set_offloads(struct lab *lab, bool whole_frames)
{
    const char *dpu = lab->spaces[LAB_DPU];
    const char *client = lab->spaces[LAB_CLIENT];
    const char *state = whole_frames ? "off" : "on";
    if (!STEP(lab, "ip netns exec %s ethtool -K " LAB_CLIENT_PORT " tx %s tso %s gso %s", client,
              state, state, state) ||
        !STEP(lab, "ip netns exec %s ethtool -K " LAB_ENGINE_PORT " tx %s tso %s gso %s gro off",
              dpu, state, state, state)) {
        return false;
    }
    TRY("ip netns exec %s ethtool -K " LAB_CLIENT_PORT " txvlan off rxvlan off", client);
    TRY("ip netns exec %s ethtool -K " LAB_ENGINE_PORT " txvlan off rxvlan off", dpu);
    return true;
}

/* An end of the wire whose other end is in NAME-wire, where nothing but pno-wire may take frames.
 */
static bool add_half(struct lab *lab, enum lab_space space, const char *port, const char *inner)
{
    const char *wire = lab->spaces[LAB_WIRE];
    return STEP(lab, "ip -n %s link add %s type veth peer name %s netns %s", lab->spaces[space],
                port, inner, wire) &&
           STEP(lab, "ip netns exec %s ethtool -K %s tx off tso off gso off gro off", wire,
                inner) &&
           STEP(lab, "ip -n %s link set %s up", wire, inner);
}

static bool add_wire(struct lab *lab, bool impaired)
{
    if (impaired) {
        return add_half(lab, LAB_DPU, LAB_ENGINE_PORT, LAB_WIRE_NEAR) &&
               add_half(lab, LAB_CLIENT, LAB_CLIENT_PORT, LAB_WIRE_FAR);
    }
    return STEP(lab,
                "ip -n %s link add " LAB_ENGINE_PORT " type veth peer name " LAB_CLIENT_PORT
                " netns %s",
                lab->spaces[LAB_DPU], lab->spaces[LAB_CLIENT]);
}

static void silence_kernel(const char *space)
{
    TRY("ip netns exec %s sysctl -q -w net.ipv6.conf.all.disable_ipv6=1"
        " net.ipv6.conf.default.disable_ipv6=1",
        space);
}

/* Programs that list the interfaces to find their addresses (named, dnsmasq) must find the
 * engine's. */
static bool show_engine_addresses(struct lab *lab)
{
    const char *host = lab->spaces[LAB_HOST];
    return STEP(lab, "ip -n %s addr add " LAB_HOST_V4 " dev lo", host) &&
           STEP(lab, "ip -n %s addr add " LAB_HOST_V6 " dev lo nodad", host);
}

bool lab_wire_make(struct lab *lab, bool impaired)
{
    const char *dpu = lab->spaces[LAB_DPU];
    const char *client = lab->spaces[LAB_CLIENT];
    for (int space = 0; space < (impaired ? LAB_SPACE_COUNT : LAB_SPACES_ALWAYS); space++) {
        if (!STEP(lab, "ip netns add %s", lab->spaces[space]) ||
            !STEP(lab, "ip -n %s link set lo up", lab->spaces[space])) {
            return false;
        }
    }
    /* The kernel of NAME-dpu must not answer in the engine's place. */
    silence_kernel(dpu);
    if (impaired) {
        silence_kernel(lab->spaces[LAB_WIRE]);
    }
    return show_engine_addresses(lab) && add_wire(lab, impaired) &&
           STEP(lab, "ip -n %s addr add " LAB_CLIENT_V4 " dev " LAB_CLIENT_PORT, client) &&
           STEP(lab, "ip -n %s addr add " LAB_CLIENT_V6 " dev " LAB_CLIENT_PORT " nodad", client) &&
           STEP(lab, "ip -n %s link set " LAB_CLIENT_PORT " up", client) &&
           STEP(lab, "ip -n %s link set " LAB_ENGINE_PORT " up", dpu);
}

bool lab_wire_prepare(struct lab *lab, enum lab_port port)
{
    const char *dpu = lab->spaces[LAB_DPU];
    /* A killed engine leaves its XDP program attached, and perhaps the bridge of another port. */
    TRY("ip -n %s link set " LAB_ENGINE_PORT " xdp off", dpu);
    TRY("ip -n %s link del " LAB_BRIDGE, dpu);
    /* Another kind of port has another MAC address. */
    TRY("ip -n %s neigh flush dev " LAB_CLIENT_PORT, lab->spaces[LAB_CLIENT]);
    /* pno-wire carries whole frames only. */
    if (!set_offloads(lab, port != LAB_PORT_AF_PACKET || lab_space_exists(lab, LAB_WIRE))) {
        return false;
    }
    if (port != LAB_PORT_TAP) {
        return STEP(lab, "ip -n %s link set " LAB_ENGINE_PORT " up promisc off", dpu);
    }
    return STEP(lab, "ip -n %s link add " LAB_BRIDGE " type bridge mcast_snooping 0", dpu) &&
           STEP(lab, "ip -n %s link set " LAB_BRIDGE " up", dpu) &&
           STEP(lab, "ip -n %s link set " LAB_ENGINE_PORT " master " LAB_BRIDGE, dpu);
}

bool lab_wire_finish(struct lab *lab, enum lab_port port)
{
    if (port != LAB_PORT_TAP) {
        return true;
    }
    /*
     * A bridge keeps frames for its members' own addresses; the kernel's end of the tap has the
     * engine's. So give that end another one.
     */
    const char *dpu = lab->spaces[LAB_DPU];
    return STEP(lab, "ip -n %s link set " LAB_TAP " address 02:77:00:00:00:fe", dpu) &&
           STEP(lab, "ip -n %s link set " LAB_TAP " master " LAB_BRIDGE, dpu) &&
           STEP(lab, "ip -n %s link set " LAB_TAP " up", dpu);
}

bool lab_wire_remove(struct lab *lab)
{
    bool removed = true;
    for (int space = 0; space < LAB_SPACE_COUNT; space++) {
        if (!lab_space_exists(lab, (enum lab_space)space)) {
            continue;
        }
        /* At once, though processes still in the namespaces would keep the wire alive. */
        if (space == LAB_DPU) {
            TRY("ip -n %s link del " LAB_ENGINE_PORT, lab->spaces[space]);
            TRY("ip -n %s link del " LAB_BRIDGE, lab->spaces[space]);
        }
        removed = STEP(lab, "ip netns del %s", lab->spaces[space]) && removed;
    }
    return removed;
}

bool lab_space_enter(struct lab *lab, enum lab_space space)
{
    char path[LAB_PATH_MAX];
    space_path(lab, space, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return lab_fail(lab, "lab '%s' is not up: start it with 'pno lab --name %s up'", lab->name,
                        lab->name);
    }
    int result = setns(fd, CLONE_NEWNET);
    int error = errno;
    close(fd);
    if (result != 0 || unshare(CLONE_NEWNS) != 0) {
        error = result != 0 ? error : errno;
        return lab_fail(lab, "cannot enter the namespace %s: %s", lab->spaces[space],
                        strerror(error));
    }
    /* /sys shows the namespace it was mounted in; ours is seen by nobody else. */
    if (mount("", "/", "none", MS_SLAVE | MS_REC, NULL) != 0) {
        return lab_fail(lab, "cannot make mounts private: %s", strerror(errno));
    }
    (void)umount2("/sys", MNT_DETACH);
    if (mount(lab->spaces[space], "/sys", "sysfs", 0, NULL) != 0) {
        return lab_fail(lab, "cannot mount /sys in %s: %s", lab->spaces[space], strerror(errno));
    }
    /* What lived below /sys: programs look at cgroups, libxdp at BPF's file system. */
    (void)mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
    (void)mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL);
    return true;
}
