# A few verbs. Everything they need is installed into .venv by the first of them.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: quickstart test check bench bench-service docs prove peers audit pictures format clean

quickstart: $(VENV)/core ## the whole circle on a laptop, about three minutes; then look at quickstart/report.html
	OMP_NUM_THREADS=2 $(BIN)/accord quickstart

test: $(VENV)/test ## every test (13 to 23 minutes on 2 cores, by the machine)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 15

check: $(VENV)/check ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(VENV)/test .venv-peers/ready ## how fast, beside TRL and beside the machine; wants two quiet cores for a quarter of an hour
	OMP_NUM_THREADS=2 $(BIN)/python -m bench $(ONLY)

bench-service: $(VENV)/test ## answers per second of the service, on SQLite and PostgreSQL, and what was lost (about 25 minutes)
	$(BIN)/python -m bench.service $(ARGS)

audit: $(VENV)/audit ## known faults of what is installed, by pip-audit; says so when its database cannot be asked
	$(BIN)/python -m bench.audit

pictures: $(VENV)/test ## the pictures of the judging and managing pages in docs/pictures, by Debian's chromium
	$(BIN)/python docs/make_screens.py

docs: $(VENV)/docs ## the pages as a site, warnings are errors
	$(BIN)/mkdocs build --strict --quiet

prove: $(VENV)/test ## a proof that takes hours: make prove NAME=lab
	$(BIN)/accord prove $(NAME)

peers: $(VENV)/test .venv-peers/ready .venv-peers-votes/ready ## loss and gradient beside TRL's, statistics beside four others'
	$(BIN)/python -m pytest -m peers -rA -s tests/peers

.venv-peers/ready: bench/peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q $(TORCH) -r bench/peers.txt
	touch $@

.venv-peers-votes/ready: # crowd-kit asks for 45 packages and irrCAC for old ones; what is compared needs these
	test -x .venv-peers-votes/bin/python || $(PYTHON) -m venv .venv-peers-votes
	.venv-peers-votes/bin/pip install -q evalica choix statsmodels scikit-learn attrs tqdm nltk pyarrow
	.venv-peers-votes/bin/pip install -q --no-deps crowd-kit irrCAC
	touch $@

format: $(VENV)/check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/core: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q $(TORCH)
	$(BIN)/pip install -q -e .
	touch $@

$(VENV)/test: $(VENV)/core
	$(BIN)/pip install -q -e '.[test]'
	touch $@

$(VENV)/check: $(VENV)/test
	$(BIN)/pip install -q -e '.[check]'
	touch $@

$(VENV)/audit: $(VENV)/test
	$(BIN)/pip install -q -e '.[audit]'
	touch $@

$(VENV)/docs: $(VENV)/core
	$(BIN)/pip install -q -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) .venv-peers .venv-peers-votes site quickstart
