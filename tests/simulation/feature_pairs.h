/**
 * @file feature_pairs.h
 * What can be had or not, and may get in each other's way: the scenario `pairs` takes two of them
 * at a time, and each pair of congestion controls.
 */
#ifndef PNO_SIMULATION_FEATURE_PAIRS_H
#define PNO_SIMULATION_FEATURE_PAIRS_H

#include "random.h"
#include "scenarios.h"

struct feature {
    const char *name;
    void (*apply)(struct random *random, struct settings *settings);
};

/** @return NULL past the last. */
const struct feature *feature_by_number(unsigned number);
unsigned feature_count(void);

/** Two different features, and a congestion control for each of two hosts: by the seed, each
    combination of two as often as any other. */
void features_draw(struct world *world, struct settings *settings);

#endif
