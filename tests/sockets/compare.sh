#!/bin/sh
# Runs the socket cases on kernel TCP and under libpno.so, and compares what they say.
#
#     compare.sh CASES fake ENGINE LIBPNO [[-]PART_OF_NAME]...   the engine that speaks only the link
#     compare.sh CASES lab PNO LAB_NAME [PART_OF_NAME]...     pnod in a lab that is up
#
# Exit status 0: the same text, 1: differences (shown), 77: cannot be run here.
set -u
cases=$1 kind=$2 first=$3 second=$4
shift 4
work=$(mktemp -d) || exit 1
engine_pid=
clean_up() {
    [ -n "$engine_pid" ] && kill "$engine_pid" 2>/dev/null && wait "$engine_pid" 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# Each run with ports of its own, where that can be: TIME_WAIT of one would be in the other's way.
can_part=no
if [ "$kind" = fake ] && unshare -n ip link set lo up 2>/dev/null; then
    can_part=yes
fi
run_apart() {
    if [ $can_part = yes ]; then
        unshare -n sh -c 'ip link set lo up && exec "$@"' sh "$@"
    else
        "$@"
    fi
}

run_apart timeout 300 "$cases" "$@" >"$work/kernel" 2>&1 &
native_pid=$!
if [ "$kind" = fake ]; then
    "$first" "$work/engine.sock" &
    engine_pid=$!
    tries=0
    until [ -S "$work/engine.sock" ]; do
        tries=$((tries + 1))
        [ $tries -gt 100 ] && echo "the engine does not come up" >&2 && exit 1
        sleep 0.05
    done
    run_apart env PNO_LOG=error PNO_LOOPBACK=1 PNO_SOCKET="$work/engine.sock" \
        LD_PRELOAD="$second" timeout 300 "$cases" "$@" >"$work/pno" 2>&1
else
    timeout 300 "$first" lab --name "$second" exec host -- \
        env PNO_LOOPBACK=1 "$first" run -- "$cases" "$@" >"$work/pno" 2>&1 || exit 77
fi
wait "$native_pid"
lines=$(wc -l <"$work/kernel")
if [ "$lines" -eq 0 ]; then
    echo "the cases said nothing" >&2
    exit 1
fi
if diff -U 3 "$work/kernel" "$work/pno"; then
    echo "$lines lines, $(grep -c ': done$' "$work/kernel") cases: the same on both stacks"
else
    echo "kernel TCP (-) and PnO (+) differ" >&2
    exit 1
fi
