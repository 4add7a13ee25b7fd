/**
 * @file control.h
 * The control connection: a Unix stream socket carrying fixed-size messages and descriptors.
 *
 * Used by both ends. The host connects and exchanges whole messages with a timeout; the engine
 * listens and receives piecemeal from its event loop. What the messages mean is in abi.h; nothing
 * here looks at them. All descriptors made or received are close-on-exec.
 *
 * All functions return 0 or more, or a negative errno. They use system calls directly, because
 * inside an application the libc symbols are our own interposed ones.
 */
#ifndef PNO_HOSTLINK_CONTROL_H
#define PNO_HOSTLINK_CONTROL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/** Descriptors that one message may carry. */
#define LINK_CONTROL_DESCRIPTORS_MAX 16

/** Wait as long as it takes. */
#define LINK_CONTROL_NO_TIMEOUT (-1)

/** A listening control socket and the lock that says whose it is. */
struct link_control_listener {
    int fd;      /**< non-blocking; accept4() on it */
    int lock_fd; /**< PATH.lock, held by flock() while the daemon lives */
    char path[108];
};

/**
 * Become the one daemon at `path`: lock PATH.lock, replace a dead daemon's socket. Nobody can
 * connect before link_control_listen(). A missing last directory of the path is made.
 * @param mode  permissions of the socket: who may write may connect.
 * @return 0; -EADDRINUSE: another instance lives; -ENOTSOCK: something else lies at path;
 *         -ENAMETOOLONG; or why the file system refused.
 */
int link_control_bind(struct link_control_listener *listener, const char *path, mode_t mode);

/** Let them connect. @return 0 or a negative errno. */
int link_control_listen(const struct link_control_listener *listener);

/** Remove the socket and the lock. Harmless on a listener that never came to be. */
void link_control_unlisten(struct link_control_listener *listener);

/**
 * Connect to the daemon at `path`.
 * @return a blocking descriptor; -ENOENT or -ECONNREFUSED: nobody is there; -EAGAIN: the daemon's
 *         back-log is full; -ENAMETOOLONG.
 */
int link_control_connect(const char *path);

/**
 * Send a whole message, the descriptors (not closed here) with its first byte.
 * @param timeout_ms  for all of it, or LINK_CONTROL_NO_TIMEOUT; 0 with a message well below the
 *                    socket's buffer serves an event loop.
 * @return 0; -ETIMEDOUT (part may have been sent: close the connection); -EPIPE or -ECONNRESET.
 */
int link_control_send(int fd, const void *message, size_t bytes, const int *descriptors,
                      unsigned descriptor_count, int timeout_ms);

/** A message being received. Owns the descriptors that came, until they are taken from it. */
struct link_control_reader {
    uint8_t *buffer;
    size_t wanted;
    size_t received;
    int descriptors[LINK_CONTROL_DESCRIPTORS_MAX];
    unsigned descriptor_count;
    struct ucred sender; /**< if the descriptor has SO_PASSCRED; else pid 0, uid -1 */
};

/** Expect `bytes` into `buffer`. To go on after a look at the first ones, raise reader->wanted. */
void link_control_reader_init(struct link_control_reader *reader, void *buffer, size_t bytes);

/**
 * Receive what has come, without waiting and never beyond reader->wanted.
 * @return 1: all is there; 0: more is needed; -ECONNRESET: the peer is gone; -EPROTO: more
 *         descriptors than allowed, or parts by different users.
 */
int link_control_reader_step(struct link_control_reader *reader, int fd);

/** Close the descriptors that nobody took. */
void link_control_reader_discard(struct link_control_reader *reader);

/**
 * Receive exactly `bytes` and the descriptors sent with them, waiting.
 * @param descriptors      room for descriptor_max of them; the caller closes what it gets.
 * @param descriptor_count how many came.
 * @param sender           by whom, as link_control_reader has it; or NULL.
 * @return 0; -ETIMEDOUT; -ECONNRESET; -EPROTO: more than descriptor_max came. After an error no
 *         descriptor is left open and the connection should be closed.
 */
int link_control_receive(int fd, void *message, size_t bytes, int *descriptors,
                         unsigned descriptor_max, unsigned *descriptor_count, struct ucred *sender,
                         int timeout_ms);

#endif
