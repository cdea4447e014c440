# One command a purpose; each makes .venv when it is missing or older than pyproject.toml.
# GNU make 3.81 (macOS) and later. Another interpreter: make test PYTHON=/path/to/python3.12

ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
    && { echo $$python; break; }; done)
endif
VENV := .venv/bin/python
VERSION := -c 'import sys; print(sys.version)'

# An interpreter that is named is not passed over in silence where another one's .venv is.
ifeq ($(origin PYTHON),command line)
THERE := $(shell $(VENV) $(VERSION) 2>/dev/null)
ifneq ($(THERE),$(if $(THERE),$(shell $(PYTHON) $(VERSION) 2>/dev/null)))
$(error .venv holds another Python than $(PYTHON); remove it first: rm -rf .venv)
endif
endif
STAMP := .venv/installed-in
SCALE ?= quick
# Colons stand for spaces.
BENCHMARKS := attacks.py:--rounds:3 attack_verdicts.py spectral_certificates.py spectral_error.py \
    spectral_overshoot.py spectral_cost.py:--rounds:7 spectral_cost.py:--attack:pgm:--rounds:3 \
    spectral_cost.py:--grow:--rounds:5 perturbation.py sliders.py memory.py scaling.py:--repeats:1

# A moved folder or a vanished interpreter leaves a virtual environment that points nowhere.
ifneq ($(shell $(VENV) -c 'print(open("$(STAMP)").read(), end="")' 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.PHONY: help workbook test lab lint bench evidence record clean
.DEFAULT_GOAL := help

help: ## this list
	@echo "Generalizable Adversarial Training via Spectral Normalization: a workbook."
	@echo "The first command also installs (once, about 6 GB on Linux; 3 to 15 minutes by your network)."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

workbook: $(STAMP) ## compute scale quick from nothing and render build/workbook (15 to 20 min)
	@$(VENV) -m snlib.workbook build --scale "$(SCALE)" --out build/workbook

test: lint ## style, every test and every notebook (about 20 min on two cores)
	@echo "Testing, about 20 minutes on two cores ..."
	@$(VENV) -m pytest -n 2 $(ARGS)

lab: $(STAMP) ## open JupyterLab on the first notebook (a few seconds)
	@echo "Opening JupyterLab; stop it with Ctrl-C."
	@$(VENV) -m jupyterlab notebooks/00*.ipynb

lint: $(STAMP) ## ruff over code and notebooks (seconds)
	@echo "Checking style, seconds ..."
	@$(VENV) -m ruff check .
	@$(VENV) -m ruff format --check .

bench: $(STAMP) ## cost beside other libraries, in ratios (about 20 min)
	@echo "Running the benchmarks, about 20 minutes; numbers also go to build/benchmarks/*.csv."
	@echo "Rivals that are not installed are left out, each with the command that installs it."
	@set -e; export OMP_NUM_THREADS=1; for run in $(BENCHMARKS); do \
	    run="benchmarks/$$(echo $$run | tr : ' ')"; echo; echo "== $$run"; $(VENV) $$run; done

evidence: $(STAMP) ## every experiment on real data at scale laptop (hours on a CPU; resumes)
	@echo "Computing what is missing at scale laptop: hours on a CPU, minutes on a GPU."
	@echo "Ctrl-C at any time; the same command goes on."
	@$(VENV) -m snlib run all --scale laptop

record: $(STAMP) ## run every notebook again and store its outputs (minutes)
	@$(VENV) -m snlib.workbook record

clean: ## remove build/ and the caches, keep .venv and data/
	@echo "Removing build/ and the caches ..."
	@rm -rf build .pytest_cache .ruff_cache .hypothesis snlib.egg-info

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 is needed and was not found. Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { echo "$(PYTHON) is not Python 3.11 to 3.14. Name another: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Installing into .venv, once: 3 to 15 minutes by your network (about 6 GB on disk on Linux, less on macOS) ..."
	@$(VENV) -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(VENV) -m pip install --disable-pip-version-check -e '.[test]'
	@printf '%s' "$(CURDIR)" > $(STAMP)
	@echo "Installed."
