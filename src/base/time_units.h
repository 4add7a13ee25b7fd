/**
 * @file time_units.h
 * Time is unsigned 64-bit nanoseconds of a monotonic clock everywhere; names end in _ns.
 */
#ifndef PNO_BASE_TIME_UNITS_H
#define PNO_BASE_TIME_UNITS_H

#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/** A deadline that never comes. */
#define TIME_NEVER UINT64_MAX

#endif
