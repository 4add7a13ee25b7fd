/**
 * @file lab.h
 * A lab: three network namespaces on this machine that play a server, its DPU and a client.
 *
 *     NAME-host          NAME-dpu                       NAME-client
 *     lo only (*)        pno0 ──────── veth ─────────── eth0
 *     pno run -- CMD     pnod owns 10.77.0.1/24         10.77.0.2/24
 *                                  fd77::1/64           fd77::2/64
 *
 * (*) with the engine's addresses, for programs that look for their own: nothing leaves by it.
 * With `--port tap` a bridge in NAME-dpu joins pno0 to the tap device that pnod makes.
 * With `--wire` the pair is two, and pno-wire joins their ends in NAME-wire (near, far).
 * Labs of different names share nothing. Everything here is found again by the lab's name, so that
 * `down` works after any crash.
 */
#ifndef PNO_CLI_LAB_H
#define PNO_CLI_LAB_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#define LAB_NAME_MAX    48
#define LAB_PATH_MAX    96
#define LAB_MESSAGE_MAX 512

#define LAB_RUN_FOLDER  "/run/pno"
#define LAB_ENGINE_V4   "10.77.0.1/24"
#define LAB_ENGINE_V6   "fd77::1/64"
#define LAB_HOST_V4     "10.77.0.1/32"
#define LAB_HOST_V6     "fd77::1/128"
#define LAB_CLIENT_V4   "10.77.0.2/24"
#define LAB_CLIENT_V6   "fd77::2/64"
#define LAB_ENGINE_PORT "pno0"
#define LAB_CLIENT_PORT "eth0"
#define LAB_TAP         "pnotap0"
#define LAB_BRIDGE      "pnobr0"
#define LAB_WIRE_NEAR   "near"
#define LAB_WIRE_FAR    "far"

#define LAB_LAST_WORDS_MAX   256
#define LAB_POLL_INTERVAL_MS 10

/** The first three are always there, LAB_WIRE is where an impaired wire joins two veth pairs. */
enum lab_space { LAB_HOST, LAB_DPU, LAB_CLIENT, LAB_WIRE, LAB_SPACE_COUNT };
#define LAB_SPACES_ALWAYS LAB_WIRE

enum lab_port { LAB_PORT_AF_XDP, LAB_PORT_AF_PACKET, LAB_PORT_TAP };

struct lab {
    const char *name;
    char spaces[LAB_SPACE_COUNT][LAB_NAME_MAX + 8]; /**< names of the namespaces */
    char socket[LAB_PATH_MAX];
    char socket_lock[LAB_PATH_MAX]; /**< pnod's own, against a second one on the socket */
    char socket_key[LAB_PATH_MAX];  /**< pnod's own, to know its port rights by */
    char log[LAB_PATH_MAX];
    char pid_file[LAB_PATH_MAX];
    char wire_log[LAB_PATH_MAX];
    char wire_pid_file[LAB_PATH_MAX];
    char lock[LAB_PATH_MAX];
    char message[LAB_MESSAGE_MAX]; /**< after a failure: what, and what to do, in one line */
};

/** Fill in a lab's names; false if `name` can't be one. */
bool lab_init(struct lab *lab, const char *name);

/** Set lab->message; always false. */
__attribute__((format(printf, 2, 3))) bool lab_fail(struct lab *lab, const char *format, ...);

/* ---- Namespaces and the wire between them (lab_wire.c) ------------------------------------- */

bool lab_space_exists(const struct lab *lab, enum lab_space space);

/** All namespaces and the wire's two ends are there. */
bool lab_wire_exists(const struct lab *lab);

/** Make what lab_wire_exists() looks for, addresses set; with room for an impairment between the
 * ends or without. */
bool lab_wire_make(struct lab *lab, bool impaired);

/** Ready an existing wire for a new engine on `port`: no XDP program, bridge only for the tap,
 * offloads as the port can take them. */
bool lab_wire_prepare(struct lab *lab, enum lab_port port);

/** With the engine running: what a port needs beyond lab_wire_prepare(). */
bool lab_wire_finish(struct lab *lab, enum lab_port port);

/** Remove the namespaces, and the wire with them. */
bool lab_wire_remove(struct lab *lab);

/** Move this process into a namespace, with a /sys that shows it. */
bool lab_space_enter(struct lab *lab, enum lab_space space);

/* ---- The impairment between the wire's ends: pno-wire (lab_impairment.c) -------------------- */

/** The lab's running pno-wire, or 0. */
pid_t lab_impairment_pid(const struct lab *lab);

/** What it was started with ("loss=1%,..."), or "?". */
void lab_impairment_settings(const struct lab *lab, char *settings, size_t settings_size);

/** Start pno-wire in NAME-wire, instead of one that runs, and wait until it joins the ends. */
bool lab_impairment_start(struct lab *lab, const char *settings);

/** End it if it runs, and remove its files. */
bool lab_impairment_stop(struct lab *lab);

/* ---- The engine's process (lab_engine.c) --------------------------------------------------- */

/** The lab's running pnod, or 0. Another process with the recorded pid is not taken for it. */
pid_t lab_engine_pid(const struct lab *lab);

/** Whether an engine answers on the lab's control socket. */
bool lab_engine_answers(const struct lab *lab);

/** Start pnod in NAME-dpu and wait until it answers. `options`: more of its arguments, or NULL. */
bool lab_engine_start(struct lab *lab, enum lab_port port, char **options);

/** End it if it runs, and remove its socket, its lock and its pid file. */
bool lab_engine_stop(struct lab *lab);

/* ---- A lab's processes (lab_process.c) ------------------------------------------------------ */

/** The running process that a pid file records, or 0. A later one with its pid is not taken for it.
 */
pid_t lab_process_find(const char *pid_file);

/**
 * Start a daemon whose output goes to a new `log`, and record it in `pid_file`.
 *
 * @param become  in the child: does not return, or says in lab->message why.
 * @return        its pid, or -1.
 */
pid_t lab_process_start(struct lab *lab, const char *pid_file, const char *log,
                        void (*become)(struct lab *lab, const void *context), const void *context);

/** End it if it runs, by force if need be, and remove its pid file. */
bool lab_process_stop(struct lab *lab, const char *name, const char *pid_file, const char *log);

/** The last line of a log that says something. */
void lab_process_last_words(const char *log, char line[LAB_LAST_WORDS_MAX]);

void lab_process_sleep_ms(int milliseconds);

/** Set once a signal asks us to stop; the waits here give up then. */
extern volatile sig_atomic_t lab_interrupted;

#endif
