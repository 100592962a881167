# The two commands: `make up` starts the stack, `make test` proves it. Both begin with what is missing.

PYTHON = python3
# Where the stack runs: compose, or kind.
BACKEND = compose
VENV = .venv
PY = $(VENV)/bin/python
DEVENV = $(PY) -m devenv
PIP = $(PY) -m pip --disable-pip-version-check --quiet

.PHONY: up down test fast check screenshots bench soak setup setup-dev system images node-image lock clean help

up: setup
	DEVENV_BACKEND=$(BACKEND) $(DEVENV) doctor --fix --yes
	@if [ -t 0 ] && [ -t 1 ]; then $(DEVENV) up --backend $(BACKEND); \
	else $(DEVENV) up --backend $(BACKEND) --no-tui; fi

down: setup
	$(DEVENV) down

# In two lanes: each module has a stack, images and a cluster of its own.
test: fast system images node-image
	$(PY) -m pytest -v --durations=40 -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/unit --ignore=tests/tui

# Those that need no engine.
fast: setup-dev
	$(PY) -m pytest -q -n 2 tests/unit tests/tui

check: setup-dev
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

# The pictures of docs/screens, of the scenes in tests/tui/scenes.py; `make test` says which have changed.
screenshots: setup-dev
	$(PY) -m tests.docs
	$(PY) -m tests.tui.scenes

# What each of these proves is said at its head.
bench: setup-dev images node-image
	$(PY) -m tests.bench

soak: setup-dev images
	$(PY) -m tests.soak

# What doctor cannot mend fails the build, which says so. A port that is taken does not matter here: the
# tests choose their own.
images: setup
	-$(DEVENV) doctor --fix --yes
	$(DEVENV) build --release v1
	$(DEVENV) build --release v2

# What a kind cluster is made with. Where no registry answers: some minutes of compiling, once.
node-image: setup
	-DEVENV_BACKEND=kind $(DEVENV) doctor --fix --yes
	$(DEVENV) node-image build

# Programs that the tests run outside containers.
system: setup-dev
	$(PY) -m tests.setup

# Python packages, exactly those of the lock file. The stamps make a second run cost nothing.
setup: $(VENV)/runtime.stamp

setup-dev: $(VENV)/dev.stamp

$(VENV)/runtime.stamp: requirements.lock pyproject.toml | $(PY)
	@echo "python packages of requirements.lock, into $(VENV) …"
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	@echo "python packages of requirements-dev.lock, into $(VENV) …"
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@

# Debian's python3 has no ensurepip as long as python3-venv is not there.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "devenv needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
		rm -rf $(VENV); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "python3-venv is missing, apt-get installs it …"; \
			apt-get update -qq; \
			DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv; \
		fi; \
		$(PYTHON) -m venv $(VENV); \
	} || { rm -rf $(VENV); echo "$(PYTHON) makes no venv; on Debian: apt-get install python3-venv" >&2; exit 1; }

LOCK = $(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate pyproject.toml

lock: setup-dev
	$(LOCK) --group build --output-file requirements.lock
	$(LOCK) --group dev --constraint requirements.lock --output-file requirements-dev.lock

# Leaves the containers, images and snapshots alone: see `devenv down` and `devenv reset`.
clean:
	rm -rf $(VENV) build dist results .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find devenv tests -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@echo "make up | down | test | fast | check | screenshots | bench | soak | lock | clean"
