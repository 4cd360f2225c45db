# make demo: sets up, then mattes the sample clip and photo.   make test: sets up, then checks and tests everything.
# make fuzz FILES=10000 SEED=1 JOBS=2: sets up, then tries damaged files.
PYTHON ?= python3
# Pinned, so that everyone tests the same build; `make TORCH=torch==X ...` tries another.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test fuzz format clean

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

# Damages files and tries them; what was tried before is not tried again, and faulty files are kept in fuzz/.
FILES ?= 10000
SEED ?= 1
JOBS ?= 2
fuzz: $(VENV)/installed-dev
	$(BIN)/python -m tests.fuzz --files $(FILES) --seed $(SEED) --jobs $(JOBS)

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
