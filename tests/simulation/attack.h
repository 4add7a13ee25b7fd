/**
 * @file attack.h
 * Somebody who sees addresses and ports but not sequence numbers' exact values: forged resets,
 * SYNs, data and acknowledgements near the mark, which must harm nobody (RFC 5961).
 */
#ifndef PNO_SIMULATION_ATTACK_H
#define PNO_SIMULATION_ATTACK_H

struct world;

/** Forge segments to live connections from now on, until the wires are healed. */
void attack_begin(struct world *world);

#endif
