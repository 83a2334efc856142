# Nothing has to be done before `make demo` or `make test` but to have python3 (3.11 or newer) with its venv module.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := chanlink docs/conf.py docs/extensions examples tests

.DEFAULT_GOAL := help
SECONDS ?= 60
STEPS ?= 100000
SESSIONS ?= 10000
ROUNDS ?= 500
KILLS ?= 25
DAYS ?= 100
ROUNDS_OF_DIRECTORIES ?= 30
CUTS ?= 10000
WORST ?= 120
WORKERS ?= auto
PORT ?= 8000
PASTING := tests/project/test_pasting.py
.PHONY: help demo newcomer test test-quick test-everything pages conformance check lint format docs docs-serve docs-pictures bench bench-page bench-smoke bench-baseline bench-hostile capacity worst-message rekeys kills queue-kills resume-kills directory-kills daemon-load rolling copy-kills machine soak select-soak fuzz dist dist-check pythons pythons-quick lowest newest release clean

# Hundreds of processes that the tests start import the package: where this is set, each of them compiles it anew.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make demo    run commands over an encrypted session between two processes, and show what a stranger sees"
	@echo "make newcomer  follow the README in an empty folder, to two programs that talk, and say how long that takes; PYTHON=..."
	@echo "make test    run the tests, on asyncio, asyncio with uvloop, and trio"
	@echo "make test-quick  those that take a minute or two: on asyncio, without rexec and without processes (between two edits)"
	@echo "make test-everything  all of them: every case on every event loop and over every route (half as many again)"
	@echo "make pages   paste the blocks of every page into a shell, as a reader does (a minute)"
	@echo "make conformance  every behaviour over every route, on every event loop (some minutes)"
	@echo "make check   what has to pass before a change is taken: formatting, lint, types, tests"
	@echo "make format  format the sources"
	@echo "make docs    make the documentation, as a site in build/docs"
	@echo "make docs-serve  the same, shown at http://127.0.0.1:8000 and made again when a page is changed, PORT=8000"
	@echo "make docs-pictures  its pages as pictures in build/pictures, on a phone and a desk, light and dark (minutes); PAGES=howto"
	@echo "make bench   measure, beside OpenSSH, ZeroMQ, gRPC, plain TCP and others (under ten minutes)"
	@echo "make bench-page  the same, and renew the table of docs/explanation/performance.md"
	@echo "make capacity  what clients cost one server, and renew docs/explanation/capacity.md (a quarter of an hour; Linux)"
	@echo "make bench-smoke  has something become slower by a quarter, beside its peers? (under a minute)"
	@echo "make bench-baseline  renew what that compares with (two minutes)"
	@echo "make bench-hostile  floods, of strangers and of peers, and what they cost (three minutes; Linux)"
	@echo "make worst-message  look for the message that costs most of those that the limits allow, WORST=120 seconds"
	@echo "make rekeys  renew the keys of a loaded session ten thousand times, on each event loop (half a minute)"
	@echo "make kills   kill clients, servers and connections of rexec at random moments, ROUNDS=500 (some minutes; Linux)"
	@echo "make queue-kills  kill, stop and cut off the queue, workers, submitters and database of a work queue, DAYS=100 times over each store (minutes; Linux)"
	@echo "make directory-kills  kill directories and servers of their etcd while many look up, ROUNDS_OF_DIRECTORIES=30 times (minutes; Linux)"
	@echo "make daemon-load  ten thousand sessions through one daemon, SESSIONS=10000: its memory, and hand-overs a second (minutes; Linux)"
	@echo "make resume-kills  cut, hold, mix up and replay the connections of sessions that outlive them, CUTS=10000 times in all (ten minutes)"
	@echo "make rolling replace servers, one process by the next, under 1,000 calls a second, of which none may be lost (a minute)"
	@echo "make machine two peers and a relay against a model, STEPS=100000 (minutes)"
	@echo "make soak    a hundred thousand channels, used and abandoned in every way (minutes)"
	@echo "make select-soak  a hundred thousand selects under random cancellation, on each event loop (half a minute)"
	@echo "make fuzz    feed made-up bytes to every parser, SECONDS=60 for each of them"
	@echo "make copy-kills  kill copies at random moments, KILLS=25 of each kind, and go on with them (minutes)"
	@echo "make dist    build the sdist and the wheel into dist/, as they would be published"
	@echo "make dist-check  install them into clean environments, with each extra, and use them (a minute)"
	@echo "make pythons  the tests on Python 3.11, 3.12 and 3.13, those of them that are here (ten minutes for each)"
	@echo "make pythons-quick  those of test-quick, on 3.12 with the lowest versions and on 3.13 with the newest (three minutes)"
	@echo "make lowest  the tests with the lowest version that we allow of each dependency"
	@echo "make newest  the tests with the newest one, in an environment of their own"
	@echo "make release VERSION=0.2.0  make of this tree that version, and the packages of it; publish nothing (CONTRIBUTING.md)"
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

newcomer: $(VENV)/.dev
	$(BIN)/python -m tests.project.newcomer $(PYTHON)

# Processes share them, how many tests/tiers.py says. With WORKERS=0 there is but one, for a debugger.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --ignore $(PASTING)

# The blocks of all pages, as a reader pastes them: a minute for itself.
pages: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(PASTING)

# What that leaves out, and what `test` does, tests/tiers.py says.
test-quick: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --quick

test-everything: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --everything --ignore $(PASTING)

conformance: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --everything tests/conformance

lint: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m tests.project.sizes

check: lint test

format: $(VENV)/.dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group docs
	@touch $@

# A warning is an error, but all of them are shown.
SPHINX_OPTIONS := --doctree-dir build/doctrees --jobs auto --nitpicky docs build/docs
docs: $(VENV)/.docs
	$(BIN)/mypy --no-error-summary docs/conf.py docs/extensions tests/site
	rm -rf build/docs/_modules  # it would not be made again for another page that leads there
	$(BIN)/sphinx-build --quiet --fail-on-warning $(SPHINX_OPTIONS)
	$(BIN)/python -m tests.site.links build/docs

docs-pictures: docs
	$(BIN)/python -m tests.site.pictures build/docs build/pictures $(PAGES)

docs-serve: $(VENV)/.docs
	$(BIN)/sphinx-autobuild --host 127.0.0.1 --port $(PORT) --watch chanlink $(SPHINX_OPTIONS)

# What it does not find to measure beside us, it leaves out and says so.
$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group bench && touch $@ || echo "not all peers can be had here"

bench: $(VENV)/.bench
	$(BIN)/python -m tests.bench

bench-page: $(VENV)/.bench
	$(BIN)/python -m tests.bench --page

capacity: $(VENV)/.bench
	$(BIN)/python -m tests.bench capacity --page

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

daemon-load: $(VENV)/.dev
	$(BIN)/python -m tests.daemon_load $(SESSIONS)

queue-kills: $(VENV)/.dev
	$(BIN)/python -m tests.queue_kills --rounds $(DAYS)

directory-kills: $(VENV)/.dev
	$(BIN)/python -m tests.directory_kills --rounds $(ROUNDS_OF_DIRECTORIES)

resume-kills: $(VENV)/.dev
	$(BIN)/python -m tests.resuming --kills $(CUTS)

rolling: $(VENV)/.dev
	$(BIN)/python -m tests.rolling

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

# The wheel is built from the sdist. Which archives there are, is said once, in tests/packages/.
dist: $(VENV)/.dev
	$(BIN)/python -m tests.packages dist
	$(BIN)/python -m twine check --strict dist/*.whl dist/*.tar.gz

dist-check: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -o python_files="check_*.py" tests/packages

# Each in a new environment, which is removed afterwards.
pythons: $(VENV)/.dev
	$(BIN)/python -m tests.packages.pythons 3.11 3.12 3.13 -n $(WORKERS) --dist worksteal

pythons-quick: $(VENV)/.dev
	$(BIN)/python -m tests.packages.pythons 3.12:lowest 3.13 -n $(WORKERS) --dist worksteal --quick

lowest: $(VENV)/.dev
	$(BIN)/python -m tests.packages.pythons 3.11:lowest -n $(WORKERS) --dist worksteal

newest: $(VENV)/.dev
	$(BIN)/python -m tests.packages.pythons 3.11 -n $(WORKERS) --dist worksteal

release: $(VENV)/.dev
	$(BIN)/python -m tests.packages.release "$(VERSION)"
	$(MAKE) dist-check dist

clean:
	rm -rf .fuzz $(VENV) bench-results .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
