PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check clean

# Two cores are what the tests are timed on; a file stays with one of them, its fixtures are dear.
# `make demo` installs what the product needs; tests and lint need the extras as well.
demo: .venv/.installed
	rm -rf demo-out
	$(BIN)/blockscan demo --out demo-out

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p blockscan -p tokenizer -p pipelines -p dashboard
	$(BIN)/python -m pytest -m "not slow and not browser and not node and not gpu"

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable '.[dev,hf,sim,train]'
	touch $@

clean:
	rm -rf .venv demo-out build *.egg-info .pytest_cache .mypy_cache .ruff_cache
