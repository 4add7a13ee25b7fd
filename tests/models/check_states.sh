#!/bin/sh
# Check the model of the connection's states against the core's own table: no run takes an arrow
# that the table lacks, the table has no arrow that no run takes, and a table without any one of them
# is found out. Usage: check_states.sh MODEL STATE_TABLE
set -eu

model=$1
table=$2
if ! command -v spin >/dev/null; then
    echo "spin is not installed: skipped (apt-get install spin)"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$model" "$work/model.pml"
"$table" >"$work/table.h"
cd "$work"

spin -a model.pml
"${CC:-cc}" -O1 -w -DSAFETY -DCOLLAPSE -o pan pan.c

# Print the verifier's report and the arrows taken.
verify() {
    ./pan -m1000000 -w22
    rm -f model.pml.trail
}

verify >report
if ! grep -q 'errors: 0' report || grep -q 'max search depth too small' report; then
    cat report
    echo "not ok: a state changes in a way that the core forbids"
    exit 1
fi
echo "ok: holds in$(grep 'states, stored' report | sed 's/, stored.*//')"

grep -o '^arrow [0-9]* [0-9]*' report | sort -u >taken
grep -o 'arrow [0-9]* [0-9]*' table.h | sort -u >known
if ! cmp -s taken known; then
    diff taken known || true
    echo "not ok: arrows of the core's table that no run takes"
    exit 1
fi
echo "ok: each of the table's $(wc -l <known) arrows is taken"

# The model can tell: with any one arrow less it fails.
while read -r _ from to; do
    MISSING_ARROW=$((from * 16 + to)) verify >report
    if ! grep -q 'assertion violated' report; then
        echo "not ok: not found missing: the arrow from $from to $to"
        exit 1
    fi
done <known
echo "ok: each arrow that is not there is missed"
