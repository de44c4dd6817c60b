# sportshop. `make` alone lists the commands; each sets up what it needs by itself.
# On a machine with Python 3.11 or later, pip, venv and make. PYTHON=python3.12 picks another.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

USERS ?= 100
RATE ?= 50
TIME ?= 30s
LOCUST ?=
SHOPPER ?= user1
PYTEST ?=
JOBS ?= 2
ROWS ?=
MINUTES ?= 10

# A file of tests is one worker's: its tests may share a shop. JOBS=0 runs all in one process. A test
# that hangs takes its worker with it, which ends the run: to go on without it would wait for ever.
TESTS = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --max-worker-restart 0

# Each command is run as a module from here: a checkout that was moved has scripts that still name
# its old folder, and a link to its old sources.
export PYTHONPATH := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help serve shop fresh test loadtest loadtest-ui bench soak check lint types install browser format clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/shop ## run the shop with the demo catalogue on 127.0.0.1:3333 (settings: SPORTSHOP_…)
	@exec $(BIN)/python -m sportshop serve

shop: $(VENV)/shop ## shop at the terminal as user1, password senha (SHOPPER=user2 for another)
	@exec $(BIN)/python -m sportshop shop --user $(SHOPPER)

fresh: $(VENV)/shop ## begin the demo anew: remove data/shop.db with its orders, if no shop has it open
	@$(BIN)/python -m sportshop.storage.fresh data/shop.db

test: $(VENV)/all ## after every change: the tests but the slow ones, 3 minutes (PYTEST='-k race -x')
	$(TESTS) --hypothesis-profile quick -m "not slow and not browser" $(PYTEST)

loadtest: $(VENV)/all ## a flash sale in a shop of its own, and its audit (USERS=100 RATE=50 TIME=30s LOCUST='--report r.html')
	@$(BIN)/python loadtest/_run.py --users $(USERS) --spawn-rate $(RATE) --run-time $(TIME) $(LOCUST)

loadtest-ui: $(VENV)/all ## the same, started and watched in a browser
	@$(BIN)/python loadtest/_run.py --ui --users $(USERS) --spawn-rate $(RATE) --run-time $(TIME) $(LOCUST)

bench: $(VENV)/all ## measure what the shop reaches beside its platform's ceiling (ROWS=echo-50,keyed)
	@$(BIN)/python -m tests.bench --rows "$(ROWS)"

soak: $(VENV)/all ## run a mixed load and look for drift (MINUTES=10)
	@$(BIN)/python -m tests.bench.soak --minutes $(MINUTES)

check: lint types ## before a push, and what CI runs: lint, types, every test, 9 minutes (wants Chromium)
	$(TESTS) --hypothesis-profile check $(PYTEST)

lint: $(VENV)/all ## look for style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/all ## check the types, 10 s
	$(BIN)/python -m mypy

format: $(VENV)/all ## format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/all ## set up .venv with everything: sportshop, Locust, tools

browser: ## once, for `make check`: bring Chromium where there is none (Debian, as root)
	@command -v chromium || command -v google-chrome || .ci/chromium

clean: ## remove what the other commands made, but no store
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

$(VENV)/bin/python:
	@echo "setting up $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "sportshop needs Python 3.11 or later; PYTHON=… picks another"; exit 1; }
	@rm -f $(VENV)/shop $(VENV)/all
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/shop: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing sportshop"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/all: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing sportshop with everything"
	@$(PIP) install -c constraints.txt -e '.[loadtest,test,lint]'
	@touch $@ $(VENV)/shop
