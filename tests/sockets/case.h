/**
 * @file case.h
 * Differential socket cases: small functions that do socket calls and say what came back, line by
 * line. Run once on kernel TCP and once under PnO, the two outputs must be the same text. A case
 * asserts nothing: Linux is the judge.
 *
 * So a case says only what Linux promises (no addresses that differ, no times, no buffer sizes),
 * and waits by poll() where something is on its way.
 */
#ifndef PNO_TESTS_SOCKETS_CASE_H
#define PNO_TESTS_SOCKETS_CASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/** How long anything on loopback may take. */
#define CASE_WAIT_MS 2000

/** Long enough to believe that nothing comes. */
#define CASE_QUIET_MS 30

/** A case runs once per family. */
struct case_context {
    int family; /**< AF_INET or AF_INET6 */
};

struct socket_case {
    const char *name;
    void (*run)(const struct case_context *context);
};

/** A table of cases, ended by a NULL name; one per file of cases. */
extern const struct socket_case cases_open[];
extern const struct socket_case cases_data[];
extern const struct socket_case cases_end[];
extern const struct socket_case cases_readiness[];
extern const struct socket_case cases_options[];
extern const struct socket_case cases_descriptors[];
extern const struct socket_case cases_processes[];
extern const struct socket_case cases_option_values[];
extern const struct socket_case cases_names[];
extern const struct socket_case cases_wrong[];
extern const struct socket_case cases_flags[];
extern const struct socket_case cases_epoll[];
extern const struct socket_case cases_waiting[];
extern const struct socket_case cases_fast_open[];
extern const struct socket_case cases_files[];
extern const struct socket_case cases_threads[];
extern const struct socket_case cases_exec[];
extern const struct socket_case cases_nested[];
extern const struct socket_case cases_again[];
extern const struct socket_case cases_restart[];
extern const struct socket_case cases_cancel[];
extern const struct socket_case cases_syscall[];
extern const struct socket_case cases_outside[];
extern const struct socket_case cases_pairs[];
extern const struct socket_case cases_passing[];
extern const struct socket_case cases_programs[];
extern const struct socket_case cases_spawn[];
extern const struct socket_case cases_confined[];
extern const struct socket_case cases_shortage[];
extern const struct socket_case cases_shut[];
extern const struct socket_case cases_at_once[];
extern const struct socket_case cases_memory[];
extern const struct socket_case cases_handlers[];
extern const struct socket_case cases_error_queue[];
extern const struct socket_case cases_peeks[];
extern const struct socket_case cases_ports[];
extern const struct socket_case cases_stamps[];
extern const struct socket_case cases_option_effects[];
extern const struct socket_case cases_option_walk[];
extern const struct socket_case cases_libc[];
extern const struct socket_case cases_async[];
extern const struct socket_case cases_sets[];
extern const struct socket_case cases_workers[];
extern const struct socket_case cases_shared[];
extern const struct socket_case cases_stop[];
extern const struct socket_case cases_stress[];
extern const struct socket_case cases_states[];
extern const struct socket_case cases_random[];
extern const struct socket_case cases_uring[];
extern const struct socket_case cases_rings[];

/** `pno-socket-cases program NAME [6]`: one of the programs that cases start (cases_programs.c).
    @return its exit status. */
int case_program(int argc, char **argv);

/** One of these programs: has an epoll set from the program before (cases_sets.c). */
int program_with_set(const struct case_context *context);

/** Another: connects what was shut down before (cases_exec.c). */
int program_shut_early(const struct case_context *context);

/** Another: is started while signals come (cases_exec.c). */
int program_in_storm(const struct case_context *context);

/** One line of output, prefixed by the case's name. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** "what = 5" or "what = -1 EAGAIN" (from errno, when result is negative). */
void say_result(const char *what, ssize_t result);

/** "what = 5 'bytes'". */
void say_bytes(const char *what, ssize_t result, const void *bytes);

/** "what: IN OUT RDHUP ..." for poll and epoll events. */
void say_events(const char *what, unsigned events);

/** SO_ERROR, by name. */
void say_socket_error(const char *what, int fd);

/** The loopback address of the family. */
socklen_t loopback(const struct case_context *context, struct sockaddr_storage *address,
                   unsigned port);
/** The wildcard address of the family. */
socklen_t wildcard(const struct case_context *context, struct sockaddr_storage *address,
                   unsigned port);
unsigned port_of(int fd);

/** fstat()'s; 0 if that fails. */
ino_t inode_of(int fd);

/** A listener on a free port of the loopback address. */
int make_listener(const struct case_context *context, int backlog);
/** A socket that will connect. */
int make_socket(const struct case_context *context, int flags);
/** connect() to a port of the loopback address. */
int connect_to(const struct case_context *context, int fd, unsigned port);

/** A connected pair: pair[0] connected, pair[1] accepted. */
void make_pair(const struct case_context *context, int pair[2]);
void close_pair(int pair[2]);

void set_nonblocking(int fd, bool on);

#define CASE_FILE_BYTES 40

/** A name for mkstemp() or mkdtemp(). What a case that is killed leaves of it, the runner removes.
    @return path. */
char *name_file(char path[CASE_FILE_BYTES]);

/** Become the program beside this one that can load no library (static_program.c); 94 or 95 is its
    status where that can't be. @param argument  NULL: none. */
_Noreturn void exec_static_program(const char *operation, const char *argument);

/** Wait until what was sent has arrived. */
void settle(void);

/** Wait until a thread is in this state ('S': asleep, 'T': stopped) and has been for so long: who
    sleeps for CASE_QUIET_MS is in the call that blocks it. */
void wait_for_state(pid_t process, pid_t thread, char state, int how_long_ms);

/** poll() for up to CASE_WAIT_MS. @return the events, 0 = none came. */
unsigned wait_for(int fd, short events);

/** poll() briefly: what is there now or very soon. */
unsigned events_now(int fd, short events);

/** Read all up to the end of the stream. @return bytes; -1 on error, with errno. */
ssize_t read_to_end(int fd, void *buffer, size_t size);

/** A pattern by which misplaced bytes are found. */
void fill_pattern(unsigned char *bytes, size_t count, size_t from);
bool is_pattern(const unsigned char *bytes, size_t count, size_t from);

#endif
