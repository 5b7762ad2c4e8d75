# make demo    set up, build the default recipe for an Android phone, print where the bundle and the report are
# make test    set up, check style and types, run every test
# make test-bare    as on a machine without compiler, emulator, Node.js, browser, adb and ssh: what takes them passes, or skips with its reason
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: demo test test-bare install packages

demo: install packages
	$(BIN)/edgedistill build --target android-arm64

test: install packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-bare: install packages
	.ci/bare $(BIN)/python -n 2 --dist loadfile --no-loadscope-reorder

install: $(VENV)/.installed

packages: $(VENV)/.packages

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV) (some minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[all]'
	@touch $@

$(VENV)/.packages: requirements/default-recipe.txt $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r requirements/default-recipe.txt
	@touch $@
