# Everything a developer or CI does with llmqd. Each target sets up what it needs.

VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check screenshots bench bench-analytics bench-beside bench-cluster bench-cluster-scaling bench-postgresql bench-queue bench-sessions bench-texts test-faults test-kills test-cluster-faults fuzz soak deb image test-deb test-trixie clean

run: $(VENV)/.run  ## start the daemon on its defaults: port 8080, data below ./var
	exec $(BIN)/llmqd serve --defaults

SYSTEM := debootstrap:debootstrap systemd-nspawn:systemd-container nsenter:util-linux lintian:lintian buildah:buildah

test: check  ## run every test; as root also those of the Debian package, in a Debian of its own
	[ "$$(id -u)" != 0 ] || packaging/need $(SYSTEM) || true
	packaging/setup-agents $(VENV)/agents || true
	$(BIN)/python -m pytest

check: $(VENV)/.test  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

screenshots: $(VENV)/.test  ## build/screenshots: every view of the dashboard, light and dark, 360 and 1920 pixels wide
	$(BIN)/python -m tests.browser.screenshots build/screenshots

bench: $(VENV)/.bench  ## what a call and a chunk cost beside nginx, LiteLLM and others; BASE=REV: beside that version; PEERS=bare,nginx
	$(BIN)/python -m bench $(if $(BASE),--base $(BASE)) $(if $(PEERS),--peers $(PEERS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(CALLS),--calls $(CALLS))

bench-queue: $(VENV)/.test  ## strict upstreams behind real daemons, 20 minutes; LONG=1: 60; ROWS='unknown*': some
	$(BIN)/python -m bench.queue $(if $(LONG),--long) $(if $(ROWS),--rows '$(ROWS)')

bench-sessions: $(VENV)/.test  ## how well sessions are found in a labelled corpus of all behaviours, and what that costs
	$(BIN)/python -m bench.sessions

bench-analytics: $(VENV)/.test  ## how long questions to the API take at 1,000,000 calls, while more are written; CALLS=100000; KEEP=DIR
	$(BIN)/python -m bench.analytics $(if $(CALLS),--calls $(CALLS)) $(if $(KEEP),--keep $(KEEP))

bench-postgresql: $(VENV)/.test  ## how long they take with 10,000,000 calls in PostgreSQL; CALLS=1000000
	$(BIN)/python -m bench.postgresql $(if $(CALLS),--calls $(CALLS))

bench-cluster: $(VENV)/.test  ## four daemons with one Redis before strict upstreams of every kind, and their order; ROWS='"bucket of 1" fast': some
	$(BIN)/python -m bench.cluster $(ROWS)
	$(if $(ROWS),,$(BIN)/python -m bench.cluster_order)

bench-cluster-scaling: $(VENV)/.test  ## how much more two daemons carry than one, by the CPU time of a call
	$(BIN)/python -m bench.cluster_scaling

bench-beside: $(VENV)/.test  ## what a call costs beside the way: its session, its texts, its record, journal and database
	$(BIN)/python -m bench.beside

bench-texts: $(VENV)/.test  ## what keeping every text costs: size, time, records a second; CALLS=50000: fewer of them
	$(BIN)/python -m bench.texts $(if $(CALLS),--calls $(CALLS))

test-faults: $(VENV)/.test  ## every fault under load, with its table; LONG=1: 30 minutes; LOAD=200: calls a second; ONLY='disk*': some
	$(BIN)/python -m tests.faults $(if $(LONG),--long) $(if $(LOAD),--load $(LOAD)) $(if $(ONLY),--only '$(ONLY)')

test-kills: $(VENV)/.test  ## kill -9 at 200 random moments under load: nothing lost, doubled or overspent; KILLS=20, LOAD=100, SEED=1
	$(BIN)/python -m tests.faults.kills $(if $(KILLS),--kills $(KILLS)) $(if $(LOAD),--load $(LOAD)) $(if $(SEED),--seed $(SEED))

test-cluster-faults: $(VENV)/.test  ## daemons, Redis and PostgreSQL killed, stopped and cut off under load; PART=0.2: shorter; LOAD=40
	$(BIN)/python -m bench.cluster_faults $(if $(PART),--part $(PART)) $(if $(LOAD),--load $(LOAD)) $(if $(ONLY),--only '$(ONLY)')

fuzz: $(VENV)/.test  ## broken bytes from clients and upstream against a real daemon; MINUTES=10, SEED=1: the same again
	$(BIN)/python -m tests.faults.fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.test  ## 100 calls a second with texts: memory, descriptors and tasks minute by minute; MINUTES=60
	$(BIN)/python -m tests.faults.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE))

SUITE := bookworm
DEB = build/$(SUITE)/llmqd_$(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' llmqd/__init__.py)_amd64.deb

deb: $(VENV)/.run  ## build/llmqd_VERSION_amd64.deb for Debian's SUITE, bookworm or trixie (root)
	packaging/build-deb $(SUITE)

image: deb  ## build/SUITE/llmqd_VERSION_image.tar, an OCI image with that package, and compose.yaml beside it (root)
	packaging/build-image $(SUITE)

test-deb: deb $(VENV)/.test  ## install that package into a booted Debian and try everything there (root, some minutes)
	packaging/need $(SYSTEM)
	LLMQD_DEB=$(DEB) SUITE=$(SUITE) $(BIN)/python -m pytest tests/system/deb

test-trixie:  ## the same for Debian 13
	$(MAKE) test-deb SUITE=trixie

clean:  ## remove what the targets above made, but not ./var
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.run: setup.cfg pyproject.toml packaging/setup-venv
	packaging/setup-venv $(VENV)
	touch $@

$(VENV)/.bench: $(VENV)/.test
	packaging/setup-venv $(VENV) test lint bench
	touch $@

$(VENV)/.test: setup.cfg pyproject.toml packaging/setup-venv
	packaging/setup-venv $(VENV) test lint
	touch $@ $(VENV)/.run
