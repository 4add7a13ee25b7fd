/**
 * @file process.h
 * What happens to the library when its process forks, exits or starts.
 */
#ifndef PNO_HOSTLIB_PROCESS_H
#define PNO_HOSTLIB_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "hostlib/engine_attach.h"
#include "hostlib/joined_links.h"

/** In a vfork() child: malloc() may have been in use by another thread. */
extern bool process_may_not_allocate;

/** Ours and the joined ones. */
#define PROCESS_LINKS_MAX (1 + JOINED_LINKS_MAX)

/** All living links; ours, if there is one, comes first. @return how many. */
unsigned process_links(struct engine_link *links[PROCESS_LINKS_MAX]);

/** Once, at load: fork handlers, environment. */
void process_init(void);

/** What vfork() is here: the parent goes on when the child has called exec or has ended. */
pid_t process_fork_until_exec(void);

/** fork() without handlers (_Fork): the same, by hand. */
void process_fork_prepare(void);
void process_fork_parent(void);
void process_fork_child(void);

/**
 * Before exec() of a program that goes on with our sockets: stop everything, and make its
 * connections to the engine, one for each of the links. Undone by process_exec_failed(), up to
 * which handlers wait (signals_leave_to()).
 * @return 0; a negative errno: the engine refuses, and nothing is stopped.
 */
int process_exec_prepare(struct engine_link *const *links, unsigned count,
                         struct engine_attachment *attachments);
void process_exec_failed(struct engine_attachment *attachments);

/** Before exec() of a program that inherits nothing: tell the engine what was read, lest it resets.
 */
void process_settle(void);

/** Before the process ends: as above, and let go of listeners, so that whoever waits for our end
    finds their ports free. */
void process_exit(void);

#endif
