# make demo, check, test, docs: set up .venv on first use, then run. PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
OLDEST := .venv-oldest
# CONSTRAINTS: a file of pip constraints, for the environment of make test-oldest

.PHONY: demo check style test tests test-oldest fuzz docs
demo: $(STAMP)
	$(VENV)/bin/python tools/launch.py pipeline --config configs/demo.yaml --cluster local

style: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

check: style
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n 2 -m "not slow" --ignore tests/slurm

# beside each other, for mypy runs on one core
test: $(STAMP)
	$(MAKE) -j 2 style tests

# four at a time, for a third of the tests' time is waiting for SLURM's timers
tests: $(STAMP)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder

# the site, into build/site; a broken link or a public name without a docstring is an error
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

# each target of tests/fuzz is searched for so long, with new seeds: make fuzz FUZZ_SECONDS=3600
FUZZ_SECONDS ?= 600
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 FUZZ_SECONDS=$(FUZZ_SECONDS) $(VENV)/bin/python -m pytest -q -n 2 --dist loadfile tests/fuzz

# the tests, but those of a real SLURM, under the oldest versions that setup.py declares; PYTHON=python3.10 is the oldest Python
test-oldest:
	$(MAKE) $(OLDEST)/.installed VENV=$(OLDEST) CONSTRAINTS=tests/oldest.txt
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/slurm

$(STAMP): setup.py tools/install_detectron2.py $(CONSTRAINTS)
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not found: name a Python 3.10 or newer, as in 'make PYTHON=python3.12'." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: $(PYTHON) is older than 3.10: name a newer Python, as in 'make PYTHON=python3.12'." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) lacks the venv module: install it (Debian: apt install python3-venv)." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install $(addprefix -c ,$(CONSTRAINTS)) -e '.[test]'
	$(VENV)/bin/python tools/install_detectron2.py
	touch $(STAMP)
