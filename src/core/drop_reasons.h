/**
 * @file drop_reasons.h
 * Every way a packet can be dropped has a name and a counter; the list is drop_reasons.def.
 */
#ifndef PNO_CORE_DROP_REASONS_H
#define PNO_CORE_DROP_REASONS_H

enum drop_reason {
#define DROP_REASON(name, text) DROP_##name,
#include "core/drop_reasons.def"
#undef DROP_REASON
    DROP_REASON_COUNT
};

#endif
