# make demo, make test: set up .venv on first use, then run. PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: demo test
demo: $(STAMP)
	$(VENV)/bin/python tools/launch.py pipeline --config configs/demo.yaml --cluster local

test: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n 2 --dist loadfile

$(STAMP): setup.py tools/install_detectron2.py
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not found: name a Python 3.10 or newer, as in 'make PYTHON=python3.12'." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: $(PYTHON) is older than 3.10: name a newer Python, as in 'make PYTHON=python3.12'." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) lacks the venv module: install it (Debian: apt install python3-venv)." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -e '.[test]'
	$(VENV)/bin/python tools/install_detectron2.py
	touch $(STAMP)
