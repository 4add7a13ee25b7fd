#include "not_offloaded.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostlink/socket_notes.h"

/* Longest line of the files of /proc that are read here. */
#define LINE_BYTES  4352
#define NAME_BYTES  32
#define PATH_BYTES  288 /* a name in /proc, and what lies in it */
#define WHY_BYTES   96
#define INODE_BYTES 32

/* A reason's name for scripts, and its words for people. */
static const struct {
    const char *name, *words;
} reasons[SOCKET_NOTE_REASON_COUNT] = {
    [SOCKET_NOTE_RULE] = {"rule", "of pnod's policy"},
    [SOCKET_NOTE_OWN_RULE] = {"own_rule", "of PNO_POLICY"},
    [SOCKET_NOTE_LOOPBACK] = {"loopback", "a loopback address, and PNO_LOOPBACK=1 is not set"},
    [SOCKET_NOTE_MULTICAST] = {"multicast", "a multicast address"},
    [SOCKET_NOTE_NOT_LOCAL] = {"not_local", "bound to an address that is not the engine's"},
    [SOCKET_NOTE_NO_ROUTE] = {"no_route", "the engine has no route to the peer"},
    [SOCKET_NOTE_NO_ENGINE] = {"no_engine", "no pnod could be joined"},
    [SOCKET_NOTE_UNSUPPORTED] = {"unsupported", "not TCP"},
    [SOCKET_NOTE_OWN_CALLS] = {"own_calls",
                               "the program makes system calls of its own that can't be followed"},
    [SOCKET_NOTE_OPTION] = {"option", "has an option that only the kernel's stack serves"},
    [SOCKET_NOTE_UNHEARD] = {"unheard", "no offloaded program listens there"},
    [SOCKET_NOTE_KERNEL_HALF] = {"kernel_half", "came by the kernel's half of a wildcard listener"},
};

/* What is known of the network namespaces visited: by inode, an endpoint and state object. */
struct inspection {
    json_t *sockets;    /* by inode: what is listed */
    json_t *known;      /* by inode: the kernel's facts */
    json_t *namespaces; /* those whose facts are in `known` */
};

/* ---- The kernel's tables ------------------------------------------------------------------ */

/* "0100007F:1F90", or 32 digits for IPv6; words in host order, port too. */
static json_t *parse_endpoint(const char *text, bool v6)
{
    uint8_t bytes[16] = {0};
    char printed[INET6_ADDRSTRLEN] = "";
    unsigned port = 0;
    for (size_t word = 0; word < (v6 ? 4u : 1u); word++) {
        uint32_t value = 0;
        if (sscanf(text + word * 8, "%8x", &value) != 1) {
            return NULL;
        }
        memcpy(bytes + word * 4, &value, sizeof(value));
    }
    if (sscanf(text + (v6 ? 33 : 9), "%x", &port) != 1) {
        return NULL;
    }
    inet_ntop(v6 ? AF_INET6 : AF_INET, bytes, printed, sizeof(printed));
    return json_pack("{s:s, s:i}", "address", printed, "port", (int)port);
}

static const char *state_name(unsigned state)
{
    static const char *const names[] = {
        [1] = "ESTAB",      [2] = "SYN-SENT",  [3] = "SYN-RECV", [4] = "FIN-WAIT-1",
        [5] = "FIN-WAIT-2", [6] = "TIME-WAIT", [7] = "UNCONN",   [8] = "CLOSE-WAIT",
        [9] = "LAST-ACK",   [10] = "LISTEN",   [11] = "CLOSING",
    };
    return state >= 1 && state < sizeof(names) / sizeof(names[0]) ? names[state] : "UNCONN";
}

static void read_table(struct inspection *inspection, const char *pid, const char *table)
{
    char path[PATH_BYTES];
    char line[LINE_BYTES];
    char local[64];
    char remote[64];
    char inode[INODE_BYTES];
    unsigned state;
    bool v6 = table[strlen(table) - 1] == '6';
    snprintf(path, sizeof(path), "/proc/%s/net/%s", pid, table);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, " %*[0-9]: %63s %63s %x %*s %*s %*s %*s %*s %31s", local, remote, &state,
                   inode) != 4) {
            continue; /* the heading */
        }
        char netid[NAME_BYTES];
        snprintf(netid, sizeof(netid), "%.*s", (int)(strlen(table) - v6), table);
        json_object_set_new(inspection->known, inode,
                            json_pack("{s:s, s:s, s:s, s:o, s:o}", "netid", netid, "state",
                                      state_name(state), "family", v6 ? "ipv6" : "ipv4", "local",
                                      parse_endpoint(local, v6), "remote",
                                      parse_endpoint(remote, v6)));
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* The facts about a process's namespace, once for all processes in it. */
static void know_namespace(struct inspection *inspection, const char *pid)
{
    static const char *const tables[] = {"tcp",     "tcp6",     "udp", "udp6",
                                         "udplite", "udplite6", "raw", "raw6"};
    char path[PATH_BYTES];
    char name[INODE_BYTES];
    struct stat status;
    snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
    if (stat(path, &status) != 0) {
        return;
    }
    snprintf(name, sizeof(name), "%ju", (uintmax_t)status.st_ino);
    if (json_object_get(inspection->namespaces, name) != NULL) {
        return;
    }
    json_object_set_new(inspection->namespaces, name, json_true());
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        read_table(inspection, pid, tables[i]);
    }
}

/* ---- One process -------------------------------------------------------------------------- */

/* Where its notes are mapped, 0: nowhere. *has_library: libpno.so is loaded. */
static uint64_t find_notes(const char *pid, bool *has_library)
{
    char path[PATH_BYTES];
    char line[LINE_BYTES];
    uint64_t notes = 0;
    *has_library = false;
    snprintf(path, sizeof(path), "/proc/%s/maps", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strstr(line, "/memfd:" SOCKET_NOTES_NAME) != NULL) {
            notes = strtoull(line, NULL, 16);
        }
        *has_library = *has_library || strstr(line, "/libpno.so") != NULL;
    }
    if (file != NULL) {
        fclose(file);
    }
    return notes;
}

/* Whether `pno run` started it, or what that started: its environment as it was at its start.
   Without LD_PRELOAD, if it could not have started with that. */
static bool was_started_by_pno(const char *pid)
{
    char path[PATH_BYTES];
    char *variable = NULL;
    size_t room = 0;
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%s/environ", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && !found && getdelim(&variable, &room, '\0', file) > 0) {
        found =
            strncmp(variable, "PNO_SOCKET=", 11) == 0 ||
            (strncmp(variable, "LD_PRELOAD=", 11) == 0 && strstr(variable, "/libpno.so") != NULL);
    }
    free(variable);
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

/* The words of [0, SOCKET_NOTES_MAX); false: they can't be read, or are another version's. */
static bool read_notes(const char *pid, uint64_t address, struct socket_notes *notes)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "/proc/%s/mem", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = pread(fd, notes, sizeof(*notes), (off_t)address);
    close(fd);
    return got == (ssize_t)sizeof(*notes) && notes->magic == SOCKET_NOTES_MAGIC &&
           notes->version == SOCKET_NOTES_VERSION;
}

static json_t *describe(const struct inspection *inspection, const char *inode, const char *reason,
                        const char *why)
{
    json_t *known = json_object_get(inspection->known, inode);
    json_t *nowhere = json_pack("{s:s, s:i}", "address", "*", "port", 0);
    json_t *socket = known != NULL
                         ? json_copy(known)
                         : json_pack("{s:s, s:s, s:s, s:O, s:O}", "netid", "tcp", "state", "UNCONN",
                                     "family", "unknown", "local", nowhere, "remote", nowhere);
    json_decref(nowhere);
    json_object_set_new(socket, "processes", json_array());
    json_object_set_new(socket, "reason", json_string(reason));
    json_object_set_new(socket, "why", json_string(why));
    return socket;
}

static void add_owner(json_t *socket, const char *pid, int fd)
{
    char path[PATH_BYTES];
    char name[NAME_BYTES] = "";
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fgets(name, sizeof(name), file) != NULL) {
            name[strcspn(name, "\n")] = '\0';
        }
        fclose(file);
    }
    json_array_append_new(
        json_object_get(socket, "processes"),
        json_pack("{s:s, s:i, s:i}", "program", name, "pid", atoi(pid), "fd", fd));
}

static void add_noted(struct inspection *inspection, const char *pid, int fd, const char *inode,
                      uint32_t word)
{
    enum socket_note_reason reason = socket_note_reason(word);
    json_t *socket = json_object_get(inspection->sockets, inode);
    if (socket == NULL && reason != SOCKET_NOTE_NONE) {
        char why[WHY_BYTES];
        bool is_rule = reason == SOCKET_NOTE_RULE || reason == SOCKET_NOTE_OWN_RULE;
        if (is_rule) {
            snprintf(why, sizeof(why), "rule %u %s", socket_note_rule(word), reasons[reason].words);
        } else {
            snprintf(why, sizeof(why), "%s", reasons[reason].words);
        }
        socket = describe(inspection, inode, reasons[reason].name, why);
        if (is_rule) {
            json_object_set_new(socket, "rule", json_integer(socket_note_rule(word)));
        }
        json_object_set_new(inspection->sockets, inode, socket);
    }
    if (socket != NULL) {
        add_owner(socket, pid, fd);
    }
}

/* libpno.so is not in it, so that all its Internet sockets are the kernel's. */
static void add_unloaded(struct inspection *inspection, const char *pid, int fd, const char *inode)
{
    if (json_object_get(inspection->known, inode) == NULL) {
        return;
    }
    json_t *socket = json_object_get(inspection->sockets, inode);
    if (socket == NULL) {
        socket = describe(inspection, inode, "no_library",
                          "libpno.so can't be loaded into the program (statically linked?)");
        json_object_set_new(inspection->sockets, inode, socket);
    }
    add_owner(socket, pid, fd);
}

/* notes: NULL for a program without libpno.so. */
static void visit_descriptors(struct inspection *inspection, const char *pid,
                              const struct socket_notes *notes)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char target[64];
        char inode[INODE_BYTES];
        ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);
        if (length <= 0) {
            continue;
        }
        target[length] = '\0';
        if (sscanf(target, "socket:[%31[0-9]]", inode) != 1) {
            continue;
        }
        int fd = atoi(entry->d_name);
        if (notes == NULL) {
            add_unloaded(inspection, pid, fd, inode);
        } else if (fd < SOCKET_NOTES_MAX) {
            add_noted(inspection, pid, fd, inode,
                      atomic_load_explicit(&notes->words[fd], memory_order_relaxed));
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

static void visit(struct inspection *inspection, const char *pid, struct socket_notes *notes)
{
    bool has_library;
    uint64_t address = find_notes(pid, &has_library);
    if (address != 0 && read_notes(pid, address, notes)) {
        know_namespace(inspection, pid);
        visit_descriptors(inspection, pid, notes);
    } else if (address == 0 && !has_library && was_started_by_pno(pid)) {
        know_namespace(inspection, pid);
        visit_descriptors(inspection, pid, NULL);
    }
}

json_t *not_offloaded_list(void)
{
    struct inspection inspection = {json_object(), json_object(), json_object()};
    struct socket_notes *notes = malloc(sizeof(*notes));
    json_t *list = json_array();
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    while (folder != NULL && notes != NULL && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') {
            visit(&inspection, entry->d_name, notes);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    const char *inode;
    json_t *socket;
    json_object_foreach(inspection.sockets, inode, socket)
    {
        json_array_append(list, socket);
    }
    free(notes);
    json_decref(inspection.sockets);
    json_decref(inspection.known);
    json_decref(inspection.namespaces);
    return list;
}
