#!/bin/sh
# libpno.so exports what interposed.def lists, all of it, and nothing else; and needs libc alone.
#     check_exports.sh LIBPNO INTERPOSED_DEF
set -eu
library=$1 list=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nm -D --defined-only "$library" | awk '{print $3}' | sort >"$work/exported"
sed -n 's/^INTERPOSED([^,]*, *\([A-Za-z0-9_]*\),.*/\1/p' "$list" | sort >"$work/listed"
[ -s "$work/listed" ]
diff "$work/listed" "$work/exported"
# The loader is part of libc: thread-local variables are looked up there.
needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux')
if [ "$needed" != libc.so.6 ]; then
    echo "needs more than libc: $needed" >&2
    exit 1
fi
