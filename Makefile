# Everything starts here: `make demo` and `make test` need only Python 3.11 or newer.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-gpu lint bench clean

demo: $(VENV)/.cli            ## train, prove the gradients, step through the last backward pass
	$(BIN)/npformer demo

test: $(VENV)/.test           ## ruff, then every test
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

test-gpu: $(VENV)/.test       ## the same tests with arrays on a real GPU, through CuPy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cuda]'
	NPFORMER_TEST_GPU=1 $(BIN)/python -m pytest -m gpu

lint: $(VENV)/.test
	$(BIN)/ruff check .

bench: $(VENV)/.test          ## one training step here beside PyTorch's
	$(BIN)/python tests/bench/step.py

clean:
	rm -rf $(VENV) build dist *.egg-info

# A stamp a set of extras: written last, so that an install that broke off is done again.
$(VENV)/.%: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@
