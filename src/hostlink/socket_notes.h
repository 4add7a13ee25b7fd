/**
 * @file socket_notes.h
 * Why sockets of a program under `pno run` were not offloaded: what libpno.so notes, and `pno ss
 * --not-offloaded` reads. A note is a word, by descriptor, in memory of the program's own: writing
 * one costs a store, a forked child has its copy, and whoever may read /proc/PID/mem finds it by
 * the name of its mapping, with or without an engine. A note says nothing of a descriptor that is
 * no socket any more.
 */
#ifndef PNO_HOSTLINK_SOCKET_NOTES_H
#define PNO_HOSTLINK_SOCKET_NOTES_H

#include <stdatomic.h>
#include <stdint.h>

#define SOCKET_NOTES_NAME    "pno-socket-notes" /**< in /proc/PID/maps: "/memfd:NAME (deleted)" */
#define SOCKET_NOTES_MAGIC   0x4e4f4e50u        /**< "PNON" */
#define SOCKET_NOTES_VERSION 1
#define SOCKET_NOTES_MAX     65536 /**< sockets of higher descriptors have no note */

enum socket_note_reason {
    SOCKET_NOTE_NONE = 0,    /**< offloaded, or nothing is decided yet */
    SOCKET_NOTE_RULE,        /**< a rule of pnod's policy */
    SOCKET_NOTE_OWN_RULE,    /**< a rule of PNO_POLICY */
    SOCKET_NOTE_LOOPBACK,    /**< a loopback address, without PNO_LOOPBACK=1 */
    SOCKET_NOTE_MULTICAST,   /**< a destination that no TCP reaches */
    SOCKET_NOTE_NOT_LOCAL,   /**< bound to an address that is not the engine's */
    SOCKET_NOTE_NO_ROUTE,    /**< a destination that the engine can't reach */
    SOCKET_NOTE_NO_ENGINE,   /**< no pnod could be joined */
    SOCKET_NOTE_UNSUPPORTED, /**< no TCP socket */
    SOCKET_NOTE_KERNEL_HALF, /**< accepted from the kernel's half of a wildcard listener */
    SOCKET_NOTE_OWN_CALLS,   /**< the program's own system calls can't be followed */
    SOCKET_NOTE_OPTION,      /**< an option that only the kernel's stack has */
    SOCKET_NOTE_UNHEARD,     /**< a loopback address where no offloaded program listens */
    SOCKET_NOTE_REASON_COUNT
};

struct socket_notes {
    uint32_t magic;
    uint32_t version;
    _Atomic uint32_t words[SOCKET_NOTES_MAX]; /**< by descriptor: socket_note_word() */
};

/** @param rule  counted from 1; 0 where the reason is no rule. */
static inline uint32_t socket_note_word(enum socket_note_reason reason, uint32_t rule)
{
    return (uint32_t)reason | rule << 16;
}

static inline enum socket_note_reason socket_note_reason(uint32_t word)
{
    return (word & 0xffff) < SOCKET_NOTE_REASON_COUNT ? (enum socket_note_reason)(word & 0xffff)
                                                      : SOCKET_NOTE_NONE;
}

static inline uint32_t socket_note_rule(uint32_t word)
{
    return word >> 16;
}

#endif
