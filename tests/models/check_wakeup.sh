#!/bin/sh
# Check the sleep/wake model with spin: the protocol as it is holds, and the protocol without any
# one of its parts does not (else the model could not tell). Usage: check_wakeup.sh MODEL
set -eu

model=$1
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
    "${CC:-cc}" -O2 -DSAFETY -DCOLLAPSE -o pan pan.c
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

for part in NO_FENCE_ARM NO_FENCE_TAKE NO_RECHECK NO_ROOM_WAKE; do
    verify "-D$part" >report
    if ! grep -q 'invalid end state' report; then
        cat report
        echo "not ok: $part loses no wake-up in the model"
        exit 1
    fi
    echo "ok: $part loses a wake-up"
done

verify -DNO_RELEASE >report
if ! grep -q 'assertion violated' report; then
    cat report
    echo "not ok: NO_RELEASE shows no descriptor too early in the model"
    exit 1
fi
echo "ok: NO_RELEASE shows a descriptor too early"
