#include "engine/dpdk.h"

#include "engine/pipeline/tap.h"

#include <string.h>
#include <time.h>

#include "base/time_units.h"
#include "engine/capture_ring.h"

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void tap_received(struct engine_core *core, const struct rte_mbuf *mbuf)
{
    uint8_t *frame = capture_ring_reserve(core->capture, CAPTURE_PORT, CAPTURE_IN,
                                          rte_pktmbuf_pkt_len(mbuf), wall_clock_ns());
    uint8_t *copy = frame;
    if (copy == NULL)
        return;
    for (const struct rte_mbuf *part = mbuf; part != NULL; part = part->next) {
        memcpy(copy, rte_pktmbuf_mtod(part, const uint8_t *), rte_pktmbuf_data_len(part));
        copy += rte_pktmbuf_data_len(part);
    }
    if ((mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE)
        stack_bytes_finish_checksum(frame, rte_pktmbuf_pkt_len(mbuf));
    capture_ring_commit(core->capture);
}

void tap_sent(struct engine_core *core, const struct transmit_entry *entry)
{
    const uint8_t *bytes = entry->turned != NULL ? entry->turned->data
                                                 : rte_pktmbuf_mtod(entry->mbuf, const uint8_t *);
    uint32_t length =
        entry->turned != NULL ? entry->turned->bytes : rte_pktmbuf_pkt_len(entry->mbuf);
    uint8_t *copy =
        capture_ring_reserve(core->capture, entry->turned != NULL ? CAPTURE_TURNED : CAPTURE_PORT,
                             CAPTURE_OUT, length, wall_clock_ns());
    if (copy == NULL)
        return;
    memcpy(copy, bytes, length);
    if (entry->frame.l4_checksum_partial)
        stack_frame_finish_checksum(&entry->frame, copy);
    capture_ring_commit(core->capture);
}
