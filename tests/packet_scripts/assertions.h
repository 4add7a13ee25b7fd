/**
 * @file assertions.h
 * The part of Python that scripts' code is made of, without Python: assertions on tcp_info's
 * values, simple assignments, print. Anything else is left to the interpreter.
 */
#ifndef PNO_PACKET_SCRIPTS_ASSERTIONS_H
#define PNO_PACKET_SCRIPTS_ASSERTIONS_H

#include "script.h"

struct assertions;

enum assertions_result {
    ASSERTIONS_HOLD,
    ASSERTIONS_FAIL,    /**< problem says which and why */
    ASSERTIONS_UNKNOWN, /**< python3 is needed */
};

struct assertions *assertions_new(void);
void assertions_free(struct assertions *assertions);
/** A name's value from now on. */
void assertions_set(struct assertions *assertions, const char *name, double value);
/** Run a piece of code. */
enum assertions_result assertions_run(struct assertions *assertions, unsigned line,
                                      const char *code, struct script_error *problem);

#endif
