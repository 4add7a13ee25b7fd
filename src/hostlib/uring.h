/**
 * @file uring.h
 * io_uring for programs whose sockets the engine serves.
 *
 * A program's ring is the kernel's, memory and all; what is intercepted are the three system calls.
 * Submissions are looked through on their way: what is about an offloaded socket (or about
 * something that the library has to know of: close, socket, epoll_ctl) is taken out and done here,
 * the rest goes to the kernel in order. A completion of ours is put into the program's own
 * completion queue by the kernel (IORING_OP_MSG_RING, from a helper ring that the library has
 * beside each), so that however a program waits, it learns of it.
 *
 * What can't be done at once waits on its socket (uring_socket_event()). It is carried on by the
 * program's own thread while that is in io_uring_enter(), else by the library's one thread.
 */
#ifndef PNO_HOSTLIB_URING_H
#define PNO_HOSTLIB_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct io_uring_params;
struct lock;
struct socket;
struct uring;

/** Whether the kernel can post what we say into a program's ring, flags and all:
    IORING_MSG_RING_FLAGS_PASS, Linux 6.3. Where not, rings are left to it. */
bool uring_kernel_suffices(void);

/** The system calls, by the kernel's convention: a result or a negative errno. */
long uring_setup(uint32_t entries, struct io_uring_params *params);
long uring_enter(uint32_t fd, uint32_t to_submit, uint32_t min_complete, uint32_t flags,
                 const void *argument, size_t argument_bytes);
long uring_register(uint32_t fd, uint32_t opcode, void *argument, uint32_t count);

/** One of the three by its number, with the registers as the program set them. */
long uring_call(long number, long a, long b, long c, long d, long e, long f);

/** Last reference to the ring gone: what it waits for is forgotten. */
void uring_destroy(struct uring *ring);

/** Something happened to a socket that operations wait on; its lock is held. key: EPOLL* bits. */
void uring_socket_event(struct socket *socket, uint32_t key);

/** What fork() has to hold; in its child, rings are the kernel's alone: ours were the parent's. */
struct lock *uring_fork_lock(void);
void uring_fork_child(void);

#endif
