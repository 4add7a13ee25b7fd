/**
 * @file deed.h
 * What lies in a ticket's receive buffer: which socket or epoll set it stands for. Not from a
 * friend, maybe: pnod decides what its receiver may have.
 */
#ifndef PNO_HOSTLIB_DEED_H
#define PNO_HOSTLIB_DEED_H

#include <stdint.h>

#include "hostlib/left_socket.h"

#define DEED_MAGIC     UINT64_C(0x444545444f4e5001)
#define SET_DEED_MAGIC UINT64_C(0x535445534f4e5001)

/** A kernel socket, if there is one, comes along. */
struct deed {
    uint64_t magic;
    uint8_t tenant_token[16];
    uint32_t ticket_process;
    uint32_t bytes; /**< of the whole: another libpno.so's is not understood */
    struct left_socket socket;
};

/** Descriptors of an epoll set, which come along in this order. */
enum set_deed_fd { SET_DEED_EPOLL, SET_DEED_MEMORY, SET_DEED_BELL, SET_DEED_FDS };

/** Of a set the ticket is no connection to pnod: nothing is held there. */
struct set_deed {
    uint64_t magic;
    uint8_t tenant_token[16]; /**< whose sockets can be in it */
};

#endif
