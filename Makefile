# Thin wrappers; the build itself is meson's (meson.build), the work scripts/ and bench/.
BUILD := build

.PHONY: all dependencies demo check check-apps bench bench-core bench-idle bench-wire soak install clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

dependencies:
	@scripts/install-deps.sh

$(BUILD)/build.ninja: | dependencies
	@meson setup $(BUILD) >$(BUILD).log 2>&1 || { tail -n 4 $(BUILD).log >&2; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

# Redis on kernel TCP and on PnO, in turn; a table, and build/demo.json.
demo: dependencies $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet
	@/usr/bin/python3 bench/demo.py --build $(BUILD)

# Every test; the last line is 'N passed, N failed, N skipped'.
check:
	@scripts/install-deps.sh check
	@/usr/bin/python3 scripts/check.py --build $(BUILD)

# More programs, which it installs: Apache, PostgreSQL, MariaDB, Java, Erlang, vsftpd, rsync and others.
check-apps: $(BUILD)/build.ninja
	@scripts/install-deps.sh apps
	@ninja -C $(BUILD) --quiet
	@/usr/bin/python3 scripts/check.py --build $(BUILD) --extra-apps

# The benchmarks, with a report in Markdown, JSON and PNG.
bench: $(BUILD)/build.ninja
	@scripts/install-deps.sh bench
	@ninja -C $(BUILD) --quiet
	@/usr/bin/python3 bench/bench.py --build $(BUILD)

# The core by itself beside lwIP: per segment, in instructions and ns; a table, and
# build/bench-core.json. Configured anew, in case it was before lwIP was there.
bench-core: $(BUILD)/build.ninja
	@scripts/install-deps.sh bench
	@ninja -C $(BUILD) --quiet bench/core/bench-core >/dev/null 2>&1 || { \
		meson setup --reconfigure $(BUILD) >/dev/null && ninja -C $(BUILD) --quiet bench/core/bench-core; }
	@/usr/bin/python3 bench/core/bench_core.py --build $(BUILD)

# What an idle connection costs in memory, engine and host library together; build/bench-idle.json.
bench-idle: $(BUILD)/build.ninja
	@scripts/install-deps.sh
	@ninja -C $(BUILD) --quiet
	@/usr/bin/python3 bench/bench_idle.py --build $(BUILD)

# PnO and Linux over the same impaired wire; build/bench-wire.json. BENCH_WIRE=--quick for six cells.
bench-wire: $(BUILD)/build.ninja
	@scripts/install-deps.sh
	@ninja -C $(BUILD) --quiet
	@/usr/bin/python3 bench/bench_wire.py --build $(BUILD) $(BENCH_WIRE)

# The random tests (a million seeds, the fuzzers) and the applications for longer than `make check` has
# time: SOAK_MINUTES=90 make soak (60), which is all it takes, the build included, but for packages to
# install and the end of the test that runs then. What was found is added to build/soak/found.log.
soak:
	@scripts/install-deps.sh apps
	@/usr/bin/python3 scripts/check.py --build $(BUILD) --soak $${SOAK_MINUTES:-60}

install: all
	@ninja -C $(BUILD) install

clean:
	@rm -rf $(BUILD) $(BUILD).log
