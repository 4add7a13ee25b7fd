#!/bin/sh
# Check a model of sleeping and waking with spin: the protocol as it is holds, and the protocol
# without any one of its parts does not (else the model could not tell).
# Usage: check_wakeup.sh MODEL 'LOSING_PART...' [EARLY_PART]: without the former a wake-up is lost,
# without the latter a descriptor is seen too early.
set -eu

model=$1
losing=$2
early=${3:-}
if ! command -v spin >/dev/null; then
    echo "spin is not installed: skipped (apt-get install spin)"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$model" "$work/model.pml"
cd "$work"

# Print the verifier's report for the model with these definitions.
verify() {
    spin -a "$@" model.pml
    "${CC:-cc}" -O2 -w -DSAFETY -DCOLLAPSE -o pan pan.c
    ./pan -m2000000 -w24
    rm -f model.pml.trail
}

verify >report
if ! grep -q 'errors: 0' report || grep -q 'max search depth too small' report; then
    cat report
    echo "not ok: the protocol does not hold"
    exit 1
fi
echo "ok: holds in$(grep 'states, stored' report | sed 's/, stored.*//')"

for part in $losing; do
    verify "-D$part" >report
    if ! grep -q 'invalid end state' report; then
        cat report
        echo "not ok: $part loses no wake-up in the model"
        exit 1
    fi
    echo "ok: $part loses a wake-up"
done

[ -n "$early" ] || exit 0
verify "-D$early" >report
if ! grep -q 'assertion violated' report; then
    cat report
    echo "not ok: $early shows no descriptor too early in the model"
    exit 1
fi
echo "ok: $early shows a descriptor too early"
