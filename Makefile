# Nothing has to be done before `make demo` or `make test` but to have python3 (3.11 or newer) with its venv module.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := chanlink examples tests

.DEFAULT_GOAL := help
SECONDS ?= 60
STEPS ?= 100000
ROUNDS ?= 500
KILLS ?= 25
WORST ?= 120
WORKERS ?= auto
.PHONY: help demo test test-quick check lint format bench bench-page bench-smoke bench-baseline bench-hostile worst-message rekeys kills copy-kills machine soak select-soak fuzz clean

help:
	@echo "make demo    run commands over an encrypted session between two processes, and show what a stranger sees"
	@echo "make test    run the tests, on asyncio, asyncio with uvloop, and trio"
	@echo "make test-quick  those that take a minute: on asyncio, without rexec and without processes (between two edits)"
	@echo "make check   what has to pass before a change is taken: formatting, lint, types, tests"
	@echo "make format  format the sources"
	@echo "make bench   measure, beside OpenSSH, ZeroMQ, gRPC, plain TCP and others (under ten minutes)"
	@echo "make bench-page  the same, and renew the table and the plots of docs/explanation/performance.md"
	@echo "make bench-smoke  has something become slower by a quarter, beside its peers? (under a minute)"
	@echo "make bench-baseline  renew what that compares with (two minutes)"
	@echo "make bench-hostile  floods, of strangers and of peers, and what they cost (three minutes; Linux)"
	@echo "make worst-message  look for the message that costs most of those that the limits allow, WORST=120 seconds"
	@echo "make rekeys  renew the keys of a loaded session ten thousand times, on each event loop (half a minute)"
	@echo "make kills   kill clients, servers and connections of rexec at random moments, ROUNDS=500 (some minutes; Linux)"
	@echo "make machine two peers and a relay against a model, STEPS=100000 (minutes)"
	@echo "make soak    a hundred thousand channels, used and abandoned in every way (minutes)"
	@echo "make select-soak  a hundred thousand selects under random cancellation, on each event loop (half a minute)"
	@echo "make fuzz    feed made-up bytes to every parser, SECONDS=60 for each of them"
	@echo "make copy-kills  kill copies at random moments, KILLS=25 of each kind, and go on with them (minutes)"
	@echo "make clean   remove what these commands made"

# The package with nothing but what it needs to run.
$(VENV)/.runtime: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chanlink needs Python 3.11 or newer; call make with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

demo: $(VENV)/.runtime
	$(BIN)/python -m examples.rexec.demo

# A process for each core: two of them take half of the time. With WORKERS=0 there is but one, for a debugger.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

# What that leaves out, tests/quick.py says.
test-quick: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --quick

lint: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m tests.project.sizes

check: lint test

format: $(VENV)/.dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

# What it does not find to measure beside us, it leaves out and says so.
$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group bench && touch $@ || echo "not all peers can be had here"

bench: $(VENV)/.bench
	$(BIN)/python -m tests.bench

bench-page: $(VENV)/.bench
	$(BIN)/python -m tests.bench --page --plots

bench-smoke: $(VENV)/.bench
	$(BIN)/python -m tests.bench.smoke

bench-baseline: $(VENV)/.bench
	$(BIN)/python -m tests.bench.smoke --renew

bench-hostile: $(VENV)/.dev
	$(BIN)/python -m tests.bench.hostile

worst-message: $(VENV)/.dev
	$(BIN)/python -m tests.bench.worst --seconds $(WORST)

kills: $(VENV)/.dev
	$(BIN)/python -m tests.kills --rounds $(ROUNDS)

machine: $(VENV)/.dev
	$(BIN)/python -m tests.machine --steps $(STEPS)

soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak

select-soak: $(VENV)/.dev
	CHANLINK_SELECT_ROUNDS=100000 $(BIN)/python -m pytest -q -s --timeout 600 tests/channels/test_select.py -k conserve

rekeys: $(VENV)/.dev
	CHANLINK_REKEYS=10000 $(BIN)/python -m pytest -q tests/security/test_rekey.py -k under_load

# Without atheris, which has no wheels for some systems, it says so and skips.
fuzz: $(VENV)/.dev
	-$(BIN)/python -m pip install --quiet --group fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# A minute for ten: copies, with clients and servers killed at random moments, and what the next copy makes of that.
copy-kills: $(VENV)/.dev
	REXEC_COPY_KILLS=$(KILLS) $(BIN)/python -m pytest -q --timeout 3600 tests/rexec/cli/commands/test_cp.py -k Killed

clean:
	rm -rf .fuzz $(VENV) bench-results .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
