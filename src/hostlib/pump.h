/**
 * @file pump.h
 * A kernel stream that stands for a connection of the engine's where libpno.so can't follow: in a
 * program that can't load it, or that was not started under PnO. A helper process, forked off here,
 * holds the connection and moves the bytes until both directions have ended.
 */
#ifndef PNO_HOSTLIB_PUMP_H
#define PNO_HOSTLIB_PUMP_H

/**
 * Promote the connection behind fd: a TCP connection over the kernel's loopback, or a Unix stream
 * where there is no loopback. The peer's address and the connection's options are not seen there.
 * fd itself stays as it is.
 * @param go_fd  the helper touches the connection only once this, a pipe, is at its end; a byte
 * that comes first ends the helper. -1: it begins at once.
 * @return a new close-on-exec descriptor; -ENOTSOCK: fd is no connection of the engine's; another
 *         negative errno: it can't be made.
 */
int pump_promote(int fd, int go_fd);

#endif
