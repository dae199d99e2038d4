# Everyday commands; `make help` lists them. Needs make and Python 3.11 to 3.13, nothing else.
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-oldest test-aot lint format docs lock dist clean
MAKEFLAGS += --no-print-directory

VENV ?= .venv
VENV_OLDEST ?= .venv-tf219
VENV_AOT ?= .venv-aot
# The first Python on the PATH that is at least 3.11, below the version given, and can make
# virtual environments.
find_python = $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, $(1)))' \
	2>/dev/null && echo $$p && break; done)
PYTHON ?= $(call find_python,14)
PYTHON_OLDEST ?= $(call find_python,13)

no_python = echo "error: found no Python 3.11 to 3.13 with venv on the PATH; install one" \
	"(Debian: python3 python3-venv) or name it with PYTHON=..." >&2; exit 2
# A stamp is named after the content of its lock: another lock, another installation.
stamp = $(1)/.installed-$(2)-$(shell cat $(3) | cksum | tr ' ' '-')
CPU := $(call stamp,$(VENV),cpu,requirements/cpu.lock)
DEV := $(call stamp,$(VENV),dev,requirements/dev.lock)
OLDEST := $(call stamp,$(VENV_OLDEST),oldest,requirements/tpu.lock requirements/dev.lock)
AOT := $(call stamp,$(VENV_AOT),aot,requirements/aot.lock requirements/dev.lock)
PIP = $(1)/bin/python -m pip install --quiet --disable-pip-version-check
COMPILE = .venv-lock/bin/uv pip compile --quiet --upgrade --no-header --no-annotate --python-version 3.11
LINUX = --python-platform x86_64-unknown-linux-gnu
# A file stays in one process: its tests share compiled steps. Files start in the order of their
# names, the longest of them early. ARGS="-n 0" runs all in one process, as a debugger needs it.
PARALLEL = -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Makes the virtual environment unless a whole one is there.
make_venv = $(1)/bin/python -m pip --version >/dev/null 2>&1 || $(2) -m venv --clear $(1)
# No build isolation: the locked setuptools builds, nothing unlocked is fetched.
install_project = $(call PIP,$(1)) --no-build-isolation --no-deps --editable .

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(CPU) ## render cars, build records, train, evaluate and predict, within minutes
	@PATH="$(abspath $(VENV))/bin:$$PATH" ./demo.sh

test: $(DEV) ## all tests, several at a time; arguments for pytest in ARGS="..."
	@echo "test: running pytest in $(VENV)"
	@$(VENV)/bin/python -m pytest $(PARALLEL) $(ARGS)

test-fast: $(DEV) ## the tests that take no more than a few seconds each
	@echo "test-fast: running pytest in $(VENV), without the tests marked slow"
	@$(VENV)/bin/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-oldest: $(OLDEST) ## the engine's tests on the oldest supported TensorFlow, with the pins of TPUs
	@echo "test-oldest: running the engine's tests in $(VENV_OLDEST)"
	@$(VENV_OLDEST)/bin/python -m pytest tests/trainer/engine $(ARGS)

test-aot: $(AOT) ## the engine's step through the TPU compiler, which needs no TPU
	@echo "test-aot: running the tests of the TPU compiler in $(VENV_AOT)"
	@$(VENV_AOT)/bin/python -m pytest tests/trainer/lowering $(ARGS)

lint: $(DEV) ## style, formatting, types and import rules
	@echo "lint: ruff check, ruff format --check, mypy, lint-imports"
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/mypy --no-error-summary
	@$(VENV)/bin/lint-imports --no-logo >.import-linter.log || { cat .import-linter.log; exit 1; }

format: $(DEV) ## format the code and mend what ruff can mend
	@$(VENV)/bin/ruff check --fix --quiet .
	@$(VENV)/bin/ruff format --quiet .

docs: $(DEV) ## the guides as a site in build/site; a dead link is an error
	@echo "docs: building build/site"
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

dist: $(DEV) ## sdist and wheel into dist/
	@$(VENV)/bin/python -m build --no-isolation

lock: ## resolve the newest versions into requirements/*.lock
	@test -n "$(PYTHON)" || { $(no_python); }
	@$(call make_venv,.venv-lock,$(PYTHON))
	@$(call PIP,.venv-lock) uv
	@$(COMPILE) --universal --extra cpu --extra gcs --output-file requirements/cpu.lock pyproject.toml
	@$(COMPILE) --universal --extra cpu --extra gcs --extra dev --output-file requirements/dev.lock \
		--constraint requirements/cpu.lock pyproject.toml
	@$(COMPILE) $(LINUX) --extra gpu --extra gcs --output-file requirements/gpu.lock \
		--constraint requirements/cpu.lock pyproject.toml
	@$(COMPILE) $(LINUX) --extra tpu --extra gcs --output-file requirements/tpu.lock pyproject.toml
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["serve"], sep="\n")' | \
		$(COMPILE) $(LINUX) --output-file requirements/serve.lock -
	@$(COMPILE) --python-platform x86_64-manylinux_2_31 --extra aot --output-file requirements/aot.lock pyproject.toml

clean: ## remove what the targets above made
	rm -rf $(VENV) $(VENV_OLDEST) $(VENV_AOT) .venv-lock demo build dist *.egg-info .import-linter.log

$(CPU): 
	@test -n "$(PYTHON)" || { $(no_python); }
	@echo "making $(VENV) from requirements/cpu.lock with $(PYTHON) (once; about a minute)"
	@$(call make_venv,$(VENV),$(PYTHON))
	@$(call PIP,$(VENV)) -r requirements/cpu.lock
	@$(call install_project,$(VENV))
	@rm -f $(VENV)/.installed-cpu-* && touch $@

$(DEV): 
	@test -n "$(PYTHON)" || { $(no_python); }
	@echo "making $(VENV) from requirements/dev.lock with $(PYTHON) (once; about a minute)"
	@$(call make_venv,$(VENV),$(PYTHON))
	@$(call PIP,$(VENV)) -r requirements/dev.lock
	@$(call install_project,$(VENV))
	@rm -f $(VENV)/.installed-* && touch $(CPU) $@ # dev.lock holds all of cpu.lock

# tensorflow-tpu cannot start without a TPU; tensorflow-cpu of the same version can.
$(OLDEST):
	@test -n "$(PYTHON_OLDEST)" || { echo "error: found no Python 3.11 or 3.12 on the PATH, and" \
		"TensorFlow 2.19 is not made for newer ones; name one with PYTHON_OLDEST=..." >&2; exit 2; }
	@echo "making $(VENV_OLDEST) from requirements/tpu.lock with TensorFlow for CPUs (once)"
	@$(call make_venv,$(VENV_OLDEST),$(PYTHON_OLDEST))
	@sed -e 's/^tensorflow-tpu==/tensorflow-cpu==/' -e '/^libtpu==/d' requirements/tpu.lock \
		>$(VENV_OLDEST)/oldest.lock
	@grep -E '^(hypothesis|iniconfig|pluggy|pytest|sortedcontainers)==' requirements/dev.lock \
		>>$(VENV_OLDEST)/oldest.lock
	@$(call PIP,$(VENV_OLDEST)) -r $(VENV_OLDEST)/oldest.lock
	@$(call install_project,$(VENV_OLDEST))
	@rm -f $(VENV_OLDEST)/.installed-oldest-* && touch $@

$(AOT):
	@test -n "$(PYTHON)" || { $(no_python); }
	@echo "making $(VENV_AOT) from requirements/aot.lock with $(PYTHON) (once)"
	@$(call make_venv,$(VENV_AOT),$(PYTHON))
	@{ cat requirements/aot.lock; grep -E '^(hypothesis|iniconfig|pluggy|pytest|sortedcontainers)==' \
		requirements/dev.lock; } >$(VENV_AOT)/aot.lock
	@$(call PIP,$(VENV_AOT)) -r $(VENV_AOT)/aot.lock
	@$(call install_project,$(VENV_AOT))
	@rm -f $(VENV_AOT)/.installed-aot-* && touch $@
