# Two commands do everything: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
JOBS ?= 3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

# The tests that need no training and no torch, on the oldest and the newest Python that are supported.
VERSIONS ?= 3.10 3.13
VERSION_TESTS := tests/unit tests/contracts tests/properties/test_core.py tests/architecture

.PHONY: page demo test test-api test-versions test-matrix test-user check kills bench mutants docs dashboards clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[ultralytics,dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/trainwarden demo

test: $(VENV)/installed
	$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile

# About 10,000 requests made from the OpenAPI document; `make test` asks some hundred of them.
test-api: $(VENV)/installed
	SCHEMATHESIS_CASES=450 $(BIN)/python -m pytest -s --timeout 1800 tests/integration/test_api_document.py

test-versions:
	@for version in $(VERSIONS); do \
	    python=$$(ls -d $$HOME/.pyenv/versions/$$version.*/bin/python 2>/dev/null | tail -1); \
	    python=$${python:-$$(command -v python$$version)}; \
	    if [ -z "$$python" ]; then echo "test-versions: no Python $$version here, NOT TESTED on it"; continue; fi; \
	    echo "test-versions: Python $$version"; \
	    bin=.venv$$version/bin; \
	    { [ pyproject.toml -ot .venv$$version/installed ] || { "$$python" -m venv .venv$$version \
	        && $$bin/pip install --quiet --disable-pip-version-check --editable '.[dev]' \
	        && touch .venv$$version/installed; }; } && $$bin/python -m pytest -q $(VERSION_TESTS) || exit 1; \
	done

# What runs beside a training, on other Pythons, releases of torch and of Ultralytics: all of tests/stacks.py, or STACKS="user".
# It downloads several gigabytes of torch.
test-matrix:
	$(PYTHON) -m tests.stacks $(STACKS)

# The user's script through a frozen machine, a hang and a night: here, and on the user's own stack.
test-user: $(VENV)/installed
	TEST_USERS_NIGHT=1 $(BIN)/python -m pytest -s tests/e2e/test_a_users_disasters.py
	$(PYTHON) -m tests.stacks --only tests/e2e/test_a_users_disasters.py user

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Installing from a checkout builds the page already; this builds it again after a change.
page: $(VENV)/installed
	$(BIN)/python hatch_build.py

# 200 SIGKILLs of real trainings, half of them while a saved state is being written, 50 of supervisor and daemon too. An
# hour and more; without snapshots half as many of each run.
kills: $(VENV)/installed
	KILLED_RUNS=$(or $(RUNS),10) KILLS_OF_EACH=$(or $(KILLS),8) KILLS_SEED=$(or $(SEED),1) \
	    KILLED_TRAININGS="$(or $(TRAININGS),ultralytics without_snapshots hand_written)" \
	    $(BIN)/python -m pytest -s tests/e2e/test_kills.py

bench: $(VENV)/installed
	$(BIN)/python -m tests.bench

mutants: $(VENV)/installed
	$(BIN)/python -m tests.mutants --count $(or $(COUNT),30) --seed $(or $(SEED),1)

docs: $(VENV)/installed
	$(BIN)/python -m monitor.policyfile docs/detection.md
	$(BIN)/python -m monitor.daemon.metrics docs/metrics.md

dashboards: $(VENV)/installed
	$(BIN)/python deploy/grafana/build.py
	$(BIN)/python deploy/kubernetes/make_rules.py

clean:
	rm -rf $(VENV) .venv3.* .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
