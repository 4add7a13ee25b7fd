/**
 * @file clock.h
 * Virtual time for an engine under a fuzzer: its engine_now_ns() is replaced by this.
 */
#ifndef PNO_TESTS_FUZZ_LINK_CLOCK_H
#define PNO_TESTS_FUZZ_LINK_CLOCK_H

#include <stdint.h>

#include "base/time_units.h"

void fuzz_clock_advance(uint64_t ns);

#endif
