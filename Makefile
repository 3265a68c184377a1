# make run: the whole pipeline on the embedded sample corpus. make test: the tests. make docs: the
# documentation as pages, in site/. All set everything up first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test docs clean
.DEFAULT_GOAL := run

run: .venv/installed
	$(BIN)/dmd run

test: .venv/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m pytest

docs: .venv/installed
	$(BIN)/mkdocs build --strict

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 12) or sys.exit("dmd needs Python 3.11 or 3.12, and $(PYTHON) is %d.%d: try make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[docs,onnx,sample,search,test,transcribe]'
	touch $@

clean:
	rm -rf .venv site
