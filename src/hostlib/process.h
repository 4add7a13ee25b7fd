/**
 * @file process.h
 * What happens to the library when its process forks, exits or starts.
 */
#ifndef PNO_HOSTLIB_PROCESS_H
#define PNO_HOSTLIB_PROCESS_H

/** Once, at load: fork handlers, environment. */
void process_init(void);

/** fork() without handlers (_Fork): the same, by hand. */
void process_fork_prepare(void);
void process_fork_parent(void);
void process_fork_child(void);

/** A child that will only exec or exit (vfork): forget everything without a word. */
void process_abandon(void);

/** Before the process ends: tell the engine what was read, lest it resets. */
void process_exit(void);

#endif
