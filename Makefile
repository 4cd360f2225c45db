# make demo: sets up, then mattes the sample clip and photo.   make test: sets up, then checks and tests everything.
# make sweep: writes and plays a file of every form, rate and length, which takes minutes; `make test` has a share of it.
PYTHON ?= python3
# Pinned, so that everyone tests the same build; `make TORCH=torch==X ...` tries another.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test sweep format clean

demo: $(VENV)/installed
	@mkdir -p demo
	$(BIN)/streamseg video samples/talk.mp4 -o demo/talk_beach.mp4 --bg samples/beach.jpg
	$(BIN)/streamseg image samples/portrait.jpg -o demo/portrait_cutout.png
	@echo "Look at demo/talk_beach.mp4 (the person over the beach) and demo/portrait_cutout.png (the cut-out photo)."

test: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

sweep: $(VENV)/installed-dev
	$(BIN)/pytest -m sweep tests/test_sweep.py

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo
