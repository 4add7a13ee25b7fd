#!/bin/sh
# Install what building, testing and demonstrating PnO needs on Debian 12, and nothing if it is all
# there. Says in one line what it installs. No installed service is started.
#   install-deps.sh         for building, and for `make demo`
#   install-deps.sh check   also the programs that `make check` runs, and tshark, which judges captures
#   install-deps.sh apps    also the programs that `make check-apps` runs
#   install-deps.sh bench   also what `make bench` measures and draws with
set -eu

packages="
    make gcc libc6-dev meson ninja-build pkg-config
    libdpdk-dev libpcap0.8-dev libjansson-dev libncurses-dev libcmocka-dev
    clang clang-format clang-tidy libclang-rt-14-dev spin binutils
    python3 iproute2 ethtool procps util-linux curl redis-server redis-tools"
case "${1:-}" in
check | apps) packages="$packages lighttpd nginx-light haproxy memcached nodejs iperf3 wrk apache2-utils
    openssh-server openssh-client openssl tshark valgrind
    liburing-dev" ;;
bench) packages="$packages lighttpd nginx-light haproxy memcached wrk gnuplot-nox
    liblwip-dev valgrind" ;;
"") ;;
*)
    echo "install-deps: '$1'? Say nothing, 'check', 'apps' or 'bench'" >&2
    exit 2
    ;;
esac
[ "${1:-}" != apps ] || packages="$packages apache2 postgresql mariadb-server openjdk-17-jdk-headless
    erlang-base vsftpd rsync wget stunnel4 nghttp2-client gunicorn git"

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install-deps: no apt here: install by hand the like of" $packages >&2
    exit 1
fi
missing=""
for package in $packages; do
    is_installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "install-deps: run as root, or install:$missing" >&2
    exit 1
fi
echo "install-deps: installing$missing"

# invoke-rc.d asks this file before it starts a service (redis-server would be one).
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
made_policy=no
clean_up() {
    rm -f "$log"
    [ "$made_policy" = no ] || rm -f "$policy"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP
if [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -q update && apt-get -q -y install --no-install-recommends $missing; } >"$log" 2>&1
then
    grep -E '^(E|Err|W):' "$log" >&2 || tail -n 5 "$log" >&2
    echo "install-deps: apt-get failed, see above; is there a network and a Debian 12 mirror?" >&2
    exit 1
fi
