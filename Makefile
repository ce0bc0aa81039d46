# Everything starts here: `make demo` and `make test` need only Python 3.11 or newer.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Only root may install Debian's packages; others are told what is missing.
INSTALL = sh -c 'test "$$(id -u)" = 0 || { echo "As root: apt-get install $$*" >&2; exit 1; }; apt-get update -qq && apt-get install -y -qq --no-install-recommends "$$@"' sh

.PHONY: demo test test-gpu lint dist bench browser page clean

demo: $(VENV)/.cli            ## train, prove the gradients, step through the last backward pass
	$(BIN)/npformer demo

test: lint                    ## ruff and mypy, then every test
	$(BIN)/python -m pytest

test-gpu: $(VENV)/.test       ## the same tests with arrays on a real GPU, through CuPy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cuda]'
	NPFORMER_TEST_GPU=1 $(BIN)/python -m pytest -m gpu

lint: $(VENV)/.test           ## ruff, and mypy over the package
	$(BIN)/ruff check .
	$(BIN)/mypy

dist: $(VENV)/.dist           ## the sdist and the wheel, checked as PyPI would check them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

bench: $(VENV)/.test          ## one training step here beside PyTorch's
	$(BIN)/python tests/bench/step.py

browser:                      ## what the tests of the debugger's page need: Debian's Chromium, Node, and npm's packages
	@command -v chromium >/dev/null || $(INSTALL) chromium
	@command -v npm >/dev/null || $(INSTALL) nodejs npm
	@$(MAKE) --no-print-directory web/node_modules

page: web/node_modules        ## build the debugger's page from web/src; the same source gives the same bytes
	cd web && npm run --silent build

web/node_modules: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info web/node_modules

# A stamp a set of extras: written last, so that an install that broke off is done again.
$(VENV)/.%: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@
