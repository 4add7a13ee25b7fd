/**
 * @file coverage.h
 * What the runs actually went through, counted over all of them: a simulation that never met a
 * closed window proves nothing about closed windows.
 */
#ifndef PNO_SIMULATION_COVERAGE_H
#define PNO_SIMULATION_COVERAGE_H

#include <stdint.h>

#define COVERAGE_LIST(X)                                                                           \
    X(runs, "runs")                                                                                \
    X(frames_sent, "frames sent")                                                                  \
    X(frames_lost, "frames lost")                                                                  \
    X(frames_duplicated, "frames duplicated")                                                      \
    X(frames_reordered, "frames held back past later ones")                                        \
    X(frames_corrupted, "frames corrupted")                                                        \
    X(frames_marked, "packets marked by ECN")                                                      \
    X(frames_split, "segments split on the wire")                                                  \
    X(frames_joined, "segments joined on the wire")                                                \
    X(frames_fragmented, "packets fragmented on the wire")                                         \
    X(frames_queue_full, "frames dropped by a full buffer")                                        \
    X(frames_turned_round, "frames to an own address")                                             \
    X(frames_gso, "frames cut by the port (TSO)")                                                  \
    X(connections, "connections opened")                                                           \
    X(connections_accepted, "connections accepted")                                                \
    X(connections_clean, "connections that ended in order on both sides")                          \
    X(connections_reset, "connections that ended by an error that was due")                        \
    X(bytes_delivered, "bytes read")                                                               \
    X(sequence_wraps, "streams whose sequence numbers wrapped")                                    \
    X(timestamp_wraps, "streams whose timestamps wrapped")                                         \
    X(windows_closed, "windows offered as zero")                                                   \
    X(windows_tiny, "windows offered below one segment")                                           \
    X(probes, "probes of a closed window or an idle peer")                                         \
    X(retransmits, "segments retransmitted")                                                       \
    X(rto_expirations, "retransmission timeouts")                                                  \
    X(sack_blocks, "SACK blocks sent")                                                             \
    X(out_of_order, "segments out of order")                                                       \
    X(resets_sent, "resets sent")                                                                  \
    X(challenge_acks, "challenge ACKs")                                                            \
    X(paws_drops, "segments dropped by PAWS")                                                      \
    X(syn_cookies_sent, "SYN cookies sent")                                                        \
    X(syn_cookies_accepted, "SYN cookies accepted")                                                \
    X(listen_overflows, "back-log overflows")                                                      \
    X(simultaneous_opens, "SYN-ACKs of simultaneous opens")                                        \
    X(simultaneous_closes, "FINs sent before the peer's came, by both")                            \
    X(payload_refused, "segments refused for want of memory")                                      \
    X(placements_delayed, "payloads placed later")                                                 \
    X(fast_reuses, "connections on a 4-tuple used before")                                         \
    X(frames_too_big, "frames too big for the path")                                               \
    X(frames_black_hole, "frames too big for the path, lost without a word")                       \
    X(mtu_probes, "path MTU probes that arrived")                                                  \
    X(fast_opens, "SYNs with payload")                                                             \
    X(fast_accepts, "connections accepted with the SYN's payload")                                 \
    X(urgent_marks, "urgent bytes seen")                                                           \
    X(records, "ends of records marked")                                                           \
    X(forgeries, "forged segments")                                                                \
    X(reboots, "hosts restarted in mid-run")

struct coverage {
#define COVERAGE_FIELD(name, text) uint64_t name;
    COVERAGE_LIST(COVERAGE_FIELD)
#undef COVERAGE_FIELD
};

#endif
