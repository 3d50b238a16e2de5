# The graph of the work. `make` lists the targets; each sets up its environment when it is missing.

SHELL := bash
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# ---- the interpreter: PYTHON=... if given, else that of an activated conda environment, else .venv made here --------
# (conda's own "base" does not count: it is often activated without anyone having asked, and is not ours to change.)
OWN := .venv/bin/python
ifndef PYTHON
  ifneq ($(and $(CONDA_PREFIX),$(filter-out base,$(or $(CONDA_DEFAULT_ENV),unnamed))),)
    PYTHON := $(CONDA_PREFIX)/bin/python
    # Nobody has named it here, so somebody is asked before anything goes into it.
    export SETUP_ASKS := $(or $(CONDA_DEFAULT_ENV),$(CONDA_PREFIX))
  else
    PYTHON := $(OWN)
  endif
endif
# Packages that go in without the dependencies they declare; why, says tools/setup.sh.
ALONE := qpth==0.0.18 skfolio==1.12.2

# What somebody wrote in a folder: what compilers left there is no source.
files = $(sort $(shell find $(1) -type f -not -path '*/__pycache__/*' -not -name '*.so'))
LIBRARY := $(call files,layers)

# pyright: the copies of pyright and node inside the pinned wheels, no look for newer ones.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PYRIGHT_PYTHON_GLOBAL_NODE := 0

.PHONY: help
help:  ## this list | 0
	@printf 'make <target>; minutes on 2 cores, without the set-up, which the first target does once\n\n'
	@awk '/^[a-z-]+:.*## / {split($$0, a, / *## */); split(a[2], b, / *[|] */); sub(/:.*/, "", a[1]); \
	  printf "  %-15s%-88s%s\n", a[1], b[1], b[2]}' $(MAKEFILE_LIST)

.PHONY: setup
ifeq ($(PYTHON),$(OWN))
setup: .venv/.ready
else
setup:
	@tools/setup.sh $(PYTHON) $(ALONE)
endif
setup:  ## the environment: .venv (or PYTHON=..., or conda's) at the versions of requirements.lock | 3

# An environment made without a compiler has no C++ core: it is unfinished again as soon as there is one.
COMPILER = $(shell command -v c++ || command -v g++ || command -v clang++)
UNBUILT = $(if $(wildcard layers/native/_core*.so),,$(if $(COMPILER),a-core-to-build))
.venv/.ready: requirements.lock pyproject.toml setup.py tools/setup.sh tools/pins.py $(UNBUILT) \
  $(filter layers/native/csrc/%,$(LIBRARY))
	@tools/setup.sh $(OWN) $(ALONE)
	@touch $@

a-core-to-build:

# ---- checks --------------------------------------------------------------------------------------------------------
# Processes instead of threads: the problems of the tests are too small for threads to pay.
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest --quiet --numprocesses auto --maxprocesses 4

.PHONY: test
test: setup  ## the fast tests, each kind once | 3
	$(PYTEST) -m "not slow"

.PHONY: test-slow
test-slow: setup  ## the tests marked slow, which `make test` leaves out | 3
	$(PYTEST) -m slow

# The adversary's programs in `make test-all`: blocks that are always the same, about a minute of one
# quiet core; where it takes longer, ten minutes end it.
ASKED := --seed 501 --blocks 40 --minutes 10 --workers 2
.PHONY: test-all
test-all: setup  ## every test, and 16,000 programs of the adversary; .ci/run takes it | 8
	$(PYTEST)
	OMP_NUM_THREADS=1 $(PYTHON) -m tests.adversary $(ASKED)

.PHONY: lint
lint: setup  ## style, types and import rules | 2
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyright --pythonpath "$$(command -v $(PYTHON))"
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as run; run()" --no-logo

MINUTES ?= 10
WORKERS ?= 2
SEED ?= 0
ADVERSARY = OMP_NUM_THREADS=1 $(PYTHON) -m tests.adversary --workers $(WORKERS) --seed $(SEED)
.PHONY: adversary
adversary: setup  ## programs with proved answers against the layer, for MINUTES=10; finds: build/adversary | 10
	$(ADVERSARY) --minutes $(MINUTES)

.PHONY: campaign
campaign: setup  ## the same, counted in results/adversary.csv; goes on where it stopped | 10
	$(ADVERSARY) --minutes $(MINUTES) --record

.PHONY: setup-browser
setup-browser: setup  ## Chromium and selenium, so that tests open the report in a browser | 1
	tools/browser_setup.sh $(PYTHON)

.PHONY: sanitize
sanitize: setup  ## the tests of the C++ core under AddressSanitizer and UndefinedBehaviorSanitizer | 2
	tools/sanitize.sh $(PYTHON)

# ---- results -------------------------------------------------------------------------------------------------------
# Runs write to build/ and leave the tracked tables alone; `make publish` is the one way from there to results/.
# An experiment has settings and a program of the same name.
SETTINGS := $(wildcard configs/experiment/*.yaml)
EXPERIMENTS := $(patsubst experiments/%.py,%,$(wildcard $(SETTINGS:configs/experiment/%.yaml=experiments/%.py)))
# A run depends on its program and what that imports, its settings, the whole library and the C++ core with its flags. Any
# Python can tell which files these are, before there is an environment too.
sources = setup.py $(shell $(or $(wildcard $(PYTHON)),python3) -m experiments.common.sources $(1) $(2))

# A run writes its provenance last, so that file stands for the whole folder.
runs = $(EXPERIMENTS:%=build/$(1)/%/$(2)/auto/provenance.json)

.SECONDEXPANSION:
build/results/%/companion/auto/provenance.json: $$(call sources,$$*,companion) | setup
	$(PYTHON) -m experiments.run experiment=$* size=companion

build/smoke/%/smoke/auto/provenance.json: $$(call sources,$$*,smoke) | setup
	$(PYTHON) -m experiments.run experiment=$* size=smoke output=build/smoke

.PHONY: smoke
smoke: $(call runs,smoke,smoke)  ## every experiment and figure once, small: the numbers mean nothing | 1
	$(PYTHON) -m experiments.compare --results build/smoke
	$(PYTHON) -m figures --results build/smoke --run smoke/auto --output build/smoke/figures
	$(PYTHON) -m tools.report --results build/smoke --figures build/smoke/figures --output build/smoke/report

.PHONY: reproduce
reproduce: $(call runs,results,companion)  ## every experiment, the comparison, figures and the report, into build/ | 25
	$(PYTHON) -m experiments.compare --results build/results
	$(PYTHON) -m figures --results build/results --run companion/auto --output build/figures
	@$(PYTHON) -m tools.report
	@echo 'tables: build/results, beside the published numbers: build/results/comparison.csv, figures: build/figures'

# The report shows a run of one's own before the tracked one; of those there are, comparison and figures are made first.
MINE = $(wildcard build/results/*/*/*/provenance.json)
DRAWN = $(patsubst build/results/%/companion/auto/provenance.json,%,$(filter %/companion/auto/provenance.json,$(MINE)))
.PHONY: report
report: setup  ## build/report/index.html: one page of everything, your runs before the tracked ones | 1
	$(if $(MINE),$(PYTHON) -m experiments.compare --results build/results > /dev/null)
	$(if $(DRAWN),$(PYTHON) -m figures $(DRAWN) --results build/results --run companion/auto --output build/figures)
	$(PYTHON) -m tools.report

# What is made of the tracked tables: the numbers of README.md, the pages of docs/ and the report.
define pages
$(PYTHON) -m tools.readme
$(PYTHON) -m tools.report --results results --output docs/report
endef

# EXPERIMENT=denoising has `make verify` and `make publish` take one experiment instead of all.
ONLY := $(EXPERIMENT:%=--experiment %)
.PHONY: verify
verify: setup  ## our tracked runs (EXPERIMENT=one) again, compared under the tolerances of their sheets | 25
	$(PYTHON) -m experiments.verify --size companion --layer auto $(ONLY)

.PHONY: new-experiment
new-experiment:  ## a program, a sheet and a figure for NAME=..., which run as they are | 0
	@$(or $(wildcard $(PYTHON)),python3) tools/new_experiment.py $(NAME)

.PHONY: figures
figures: setup  ## figures/*.png and *.pdf from the tracked tables | 1
	$(PYTHON) -m figures
	$(PYTHON) -m figures.adjoints
	$(PYTHON) -m figures.proofs
	$(pages)

figures/%.png figures/%.pdf figures/%.svg: setup
	$(PYTHON) -m figures $* --format $(patsubst .%,%,$(suffix $@))

.PHONY: mechanics
mechanics: setup  ## docs/pytorch.md, from the matrix of tests over modes and transforms of torch | 1
	$(PYTHON) tools/mechanics.py

.PHONY: proofs
proofs: setup  ## every proof, and proofs/LEDGER.md | 2
	$(PYTHON) -m proofs
	$(pages)

# ---- benchmark -----------------------------------------------------------------------------------------------------
.venv-bench/.ready: tools/bench_setup.sh | setup
	tools/bench_setup.sh $(PYTHON)

.PHONY: bench
bench: .venv-bench/.ready  ## every peer side by side on a quiet machine; docs/benchmarks.md says what comes out | 42
	.venv-bench/bin/python -m benchmarks --output benchmarks
	$(PYTHON) -m figures.benchmarks
	$(pages)

.PHONY: publish
publish: $$(if $(EXPERIMENT),,$(call runs,results,companion))  ## for maintainers: build/results (EXPERIMENT=one) become the tracked runs | 1
	$(PYTHON) -m experiments.publish $(ONLY)
	$(PYTHON) -m experiments.compare
	$(PYTHON) -m figures
	$(PYTHON) -m figures.adjoints
	$(pages)

# ---- tidying up ----------------------------------------------------------------------------------------------------
.PHONY: clean
clean:  ## remove what runs have made: build/ and the caches | 0
	rm -rf build outputs multirun .pytest_cache .hypothesis .ruff_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean  ## and the environment | 0
	rm -rf .venv .venv-bench
