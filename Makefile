# Everything a contributor runs. `make help` lists the targets.
# The first Python that is new enough; another one: make PYTHON=/path/to/python3.13 TARGET
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)
VENV ?= .venv
# What `make test` tests: the working tree (editable) or the built wheel (wheel).
INSTALL ?= editable
# Which tests, by their paths here, and further options of pytest.
TESTS ?= tests
PYTEST_ARGS ?=
# How they run in parallel; `make test PARALLEL=` runs one after the other (for --pdb). Two for each
# core, as most tests wait for something, eight at most; a file in one process; in the order of the
# folders. A test process that dies ends the run: pytest-xdist may wait for ever for what it gave to
# its successor.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PARALLEL ?= -n $(shell echo $$(( $(CORES) > 4 ? 8 : $(CORES) * 2 ))) \
	--dist=loadfile --no-loadscope-reorder --max-worker-restart=0
DOCKER ?= docker
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# Where systemd looks for what a machine's owner has installed, not its distribution.
PREFIX ?= /usr/local
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(INSTALL)
SOURCES := $(shell find flowodm supervisor -type f -not -name '*.pyc' 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check format lock reference docs docs-serve dist image install-systemd clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.dependencies: constraints.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, with its venv module: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@touch $@

$(VENV)/.installed-editable: $(VENV)/.dependencies pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-wheel: $(VENV)/.dependencies pyproject.toml $(SOURCES)
	rm -rf $(VENV)/dist
	$(BIN)/python -m build --no-isolation --wheel --outdir $(VENV)/dist .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(VENV)/dist/*.whl
	$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

demo: $(STAMP)  ## a broker, a producer and a supervised fleet on this machine (DEMO_SECONDS=15 ends by itself)
	$(BIN)/flowodm-supervisor demo

# The wheel is tested from outside the tree: whatever a test starts inherits that folder, where
# `import flowodm` can only find what is installed.
ifeq ($(INSTALL),wheel)
RUN_FROM := $(VENV)/tested-from
test: export FLOWODM_TEST_WHEEL := 1
else
RUN_FROM := .
endif

test: $(STAMP)  ## all tests in parallel, those on a real Kafka and registry included
	@mkdir -p $(RUN_FROM)
	cd $(RUN_FROM) && $(abspath $(BIN))/pytest -c $(CURDIR)/pyproject.toml \
		$(PARALLEL) $(PYTEST_ARGS) $(addprefix $(CURDIR)/,$(TESTS))

# Half as slow again as without: it measures every process that a test starts.
coverage: override PYTEST_ARGS += --cov --cov-config=$(CURDIR)/pyproject.toml --cov-report=term
coverage: test  ## the same, and which lines of the code they run

check: $(VENV)/.installed-editable  ## formatting, lint, types, import floors, complexity
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@# Radon counts comprehensions, ternaries and boolean operators too; rank C begins at 11.
	@if $(BIN)/radon cc --min C flowodm supervisor | grep .; then \
		echo "these functions are above 10: give their decisions names of their own" >&2; exit 1; fi

format: $(VENV)/.installed-editable  ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## resolve constraints.txt, and what of it the image has, anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-strip-extras --no-annotate --no-header --group dev pyproject.toml --output-file constraints.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-strip-extras --no-annotate --no-header --constraints constraints.txt \
		pyproject.toml --output-file deploy/container/requirements.txt

reference: $(VENV)/.installed-editable  ## write config/reference.toml, the manual pages and the docs' tables anew
	$(BIN)/python -m supervisor.config.reference > config/reference.toml
	$(BIN)/python docs/man/generate.py
	$(BIN)/python docs/tables.py

# MkDocs' theme warns of a MkDocs 2 that is not used here.
docs docs-serve: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.installed-editable  ## the documentation as a site, in build/docs
	$(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.installed-editable  ## the same at http://127.0.0.1:8000, while one writes
	$(BIN)/mkdocs serve --strict

dist: $(VENV)/.dependencies  ## wheel and source distribution in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation .

image: dist  ## the container image flowodm-supervisor, with Docker or what DOCKER names
	$(DOCKER) build --file deploy/container/Dockerfile --tag flowodm-supervisor:$(VERSION) .

install-systemd:  ## units, their user and its folder, in DESTDIR and PREFIX (/usr/local)
	install -d $(UNITS) $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
	install -m 644 deploy/systemd/*.service $(UNITS)
	install -m 644 deploy/systemd/flowodm.sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/flowodm.conf
	install -m 644 deploy/systemd/flowodm.tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/flowodm.conf

clean:  ## remove environments, caches and builds
	rm -rf .venv* dist build .cache .coverage* htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
