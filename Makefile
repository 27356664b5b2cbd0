# make reproduce [PROFILE=quick]   train, evaluate, run the notebooks, write results/
# make site [PROFILE=quick]        the executed notebooks as a static site
# make test | lint | lab | clean
# make install CPU=1               without CUDA, for machines without a GPU
# Needs Python 3.11 or newer, make and git; the first target that runs installs into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
PROFILE ?= quick
PYTEST_ARGS ?=
LAB_ARGS ?=
# Extras of pyproject.toml to install too, such as label.
EXTRAS ?=
# Where torch's CPU build comes from; PyTorch's own index.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

VENV := .venv
# 1 = no CUDA. Remembered by the environment, so that it needs saying only once.
CPU ?= $(shell cat $(VENV)/.cpu 2>/dev/null)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
comma := ,
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(if $(CI),--quiet)
# The lock as constraints: versions as locked, but only what is needed, which is CUDA only if torch
# asks for it. Its CPU build doesn't.
PIP_NEEDED := $(PIP) -c requirements.lock
TORCH := $(shell sed -nE 's/^(torch|torchvision)==([^ ]+).*/\1==\2/p' requirements.lock)

.DEFAULT_GOAL := help
.PHONY: help install reproduce site test lint lab clean

help:
	@echo "make reproduce [PROFILE=smoke|quick|laptop|paper]"
	@echo "                 train every row, evaluate, run the notebooks; look in results/<profile>/"
	@echo "make site [PROFILE=...]"
	@echo "                 the executed notebooks as pages: results/<profile>/site/index.html"
	@echo "make test        the tests"
	@echo "make lint        ruff and mypy"
	@echo "make lab         JupyterLab, opened on the notebooks' reading order"
	@echo "make install     only make .venv and install the exact versions of requirements.lock"
	@echo "make install CPU=1   without CUDA, for machines without a GPU (docs: README, Installation)"
	@echo "make clean       remove caches and build leftovers (.venv and results/ stay)"

install: $(STAMP)

# --no-build-isolation: the lock brings setuptools, so nothing is fetched beyond the lock.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "rlqkit needs Python 3.11 or newer, and $(PYTHON) is not:" \
			"install it, or say which to use, as in 'make PYTHON=/path/to/python3.11'" >&2; \
		exit 1; }
ifeq ($(CPU),1)
	@echo "Installing into $(VENV), without CUDA (some minutes)"
	$(PYTHON) -m venv $(VENV)
	@echo 1 >$(VENV)/.cpu
	$(PIP_NEEDED) setuptools
	$(PIP) --index-url $(TORCH_INDEX) --no-deps $(TORCH)
	$(PIP_NEEDED) --no-build-isolation -e '.[dev$(if $(EXTRAS),$(comma)$(EXTRAS))]'
else
	@echo "Installing into $(VENV) (about 7 GB on Linux, where torch brings CUDA; some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
ifneq ($(EXTRAS),)
	$(PIP_NEEDED) --no-build-isolation -e '.[$(EXTRAS)]'
endif
endif
	@touch $@

reproduce: $(STAMP)
	$(BIN)/python -m rlqkit reproduce --profile $(PROFILE)

site: $(STAMP)
	$(BIN)/python -m rlqkit site --profile $(PROFILE)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy rlqkit/

lab: $(STAMP)
	$(BIN)/python -m jupyterlab --LabApp.default_url=/lab/tree/index.ipynb $(LAB_ARGS) notebooks

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
