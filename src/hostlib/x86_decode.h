/**
 * @file x86_decode.h
 * How long an x86-64 instruction is, and whether it does the same at another address. For code that
 * compilers make: what they don't is unknown. Source: Intel SDM volume 2, chapter 2 and appendix A.
 */
#ifndef PNO_HOSTLIB_X86_DECODE_H
#define PNO_HOSTLIB_X86_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct x86_instruction {
    uint8_t length;  /**< bytes */
    bool is_syscall; /**< 0f 05 */
    bool is_branch;  /**< goes, or may go, to `target` */
    bool is_indirect_jump;
    bool is_relocatable; /**< the same anywhere: no branch, no address relative to itself */
    const uint8_t *target;
};

/** @return false: not known, or beyond `end`. */
bool x86_decode(const uint8_t *code, const uint8_t *end, struct x86_instruction *instruction);

/** Whether a branch of the code [start, end) goes to after `from` and before `to`; true also if not
    all of it can be decoded.
    @param by_table  set to whether it has jumps of which it is not known where they go. */
bool x86_branches_into(const uint8_t *start, const uint8_t *end, const uint8_t *from,
                       const uint8_t *to, bool *by_table);

#endif
