/**
 * @file engine_attach.h
 * Making and unmaking a link: the control connection's hello, the mappings, the channel. Nothing
 * here runs while data flows.
 */
#ifndef PNO_HOSTLIB_ENGINE_ATTACH_H
#define PNO_HOSTLIB_ENGINE_ATTACH_H

#include <stdbool.h>

#include "hostlib/engine_link.h"

/** A control connection with what its hello and channel replies brought. Descriptors: -1 = none. */
struct engine_attachment {
    int control_fd;
    int arena_fd, window_fd;
    int engine_doorbell_fd[LINK_CORES_MAX];
    int doorbell_fd;
    bool is_by_ticket;   /**< the other end came from another program: each answer is checked */
    uint32_t engine_uid; /**< whose pnod it is; -1: not known */
    struct link_hello_reply hello;
    struct link_channel_reply channel;
};

/** Connect to PNO_SOCKET as a new tenant. @return NULL: no engine, or it refuses (logged). */
struct engine_link *engine_attach_tenant(void);

/** One end of a control connection whose process is a ticket (LINK_HELLO_PASS). */
struct engine_ticket {
    int passed_fd; /**< the end that travels */
    int engine_fd; /**< the engine's end: what is written here is found at the other */
    uint32_t process_id;
};

/** Have the engine hold a socket of ours for as long as ticket->passed_fd is open anywhere.
    @return 0; a negative errno: the engine refuses. */
int engine_attach_issue_ticket(const struct engine_link *link, const struct link_socket_name *name,
                               struct engine_ticket *ticket);

/** Let this process hold what a ticket of its own tenant does. @return 0; a negative errno. */
int engine_attach_share(const struct engine_link *link, uint32_t ticket_process);

/**
 * Join another tenant, holding what its ticket does. Who sent the ticket need not be honest: it
 * must lead to a pnod of root's, of our own user's, or of the user's whose pnod we know by its path
 * (by the kernel's word, SCM_CREDENTIALS), which refuses tenants of other users.
 * @return NULL: refused (logged).
 */
struct engine_link *engine_attach_join(int ticket_fd, const uint8_t tenant_token[16],
                                       uint32_t ticket_process);

/** Whether the control connection is still open at the other end. */
bool engine_attach_is_alive(int control_fd);

/** Close the link's descriptors; its memory stays. */
void engine_attach_close_descriptors(struct engine_link *link);

/**
 * Around fork(): prepare makes the child's own connection and channel, in the parent; then exactly
 * one of the others runs.
 */
void engine_attach_fork_prepare(struct engine_link *link);
void engine_attach_fork_parent(struct engine_link *link);

/** The child's connection takes the place of the parent's.
    @return false: there is none (the engine refused): the child has no link. */
bool engine_attach_fork_child(struct engine_link *link);

/**
 * Around exec(): a connection and channel for the program to come, with references on everything
 * this process holds. Its descriptors are this process's until the program has adopted them.
 * @return 0; a negative errno: the engine refuses.
 */
int engine_attach_exec_prepare(const struct engine_link *link,
                               struct engine_attachment *attachment);
void engine_attach_exec_failed(struct engine_attachment *attachment);

/** In the new program: the link over a connection that the old one left. @return NULL: it is of no
    use; its descriptors are closed. */
struct engine_link *engine_attach_adopt(struct engine_attachment *attachment);

#endif
