# make demo: sets up, then mattes the sample clip and photo.   make test: sets up, then checks and tests everything.
# make gpu-check: tests and figures of a GPU; rehearses on the CPU where there is none.
# make gpu-train DATA=FOLDER: three networks on a GPU, in LITE_MINUTES, NANO_MINUTES and DUTS_MINUTES; again to go on.
#   Both set up too, unless RUN=python3 says whose packages to take. Results go to RUNS=runs.
# make fuzz FILES=10000 SEED=1 JOBS=2: sets up, then tries damaged files.
# make vmtest: sets up, then tests cameras and virtual cameras on Debian's kernel in QEMU, in some minutes.
# make clustertest: sets up, then tests `--cluster` on a Ray cluster of three nodes on this machine.
# make soak MINUTES=60: a live run under changing load; says what grew and what came late.
# make sweep: writes and plays a file of every form, rate and length, which takes minutes; `make test` has a share of it.
PYTHON ?= python3
# Pinned, so that everyone tests the same build; `make TORCH=torch==X ...` tries another.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

RUN = $(BIN)/python
RUN_NEEDS = $(if $(filter file,$(origin RUN)),$(VENV)/installed-dev)
RUNS ?= runs
LITE_MINUTES ?= 4
NANO_MINUTES ?= 3
DUTS_MINUTES ?= 1

.PHONY: demo test sweep fuzz vmtest clustertest soak format gpu-check gpu-train gpu-lite gpu-nano gpu-duts clean

demo: $(VENV)/installed
	@mkdir -p demo
	$(BIN)/streamseg video samples/talk.mp4 -o demo/talk_beach.mp4 --bg samples/beach.jpg
	$(BIN)/streamseg image samples/portrait.jpg -o demo/portrait_foreground.png
	$(BIN)/python samples/make_picture.py demo/before_matte_after.jpg
	@echo "Look at demo/talk_beach.mp4 (the person over the beach), demo/portrait_foreground.png (the person without background)"
	@echo "and demo/before_matte_after.jpg (one frame, its matte and the composite)."

test: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist worksteal

# Damages files and tries them; what was tried before is not tried again, and faulty files are kept in fuzz/.
FILES ?= 10000
SEED ?= 1
JOBS ?= 2
fuzz: $(VENV)/installed-dev
	$(BIN)/python -m tests.fuzz --files $(FILES) --seed $(SEED) --jobs $(JOBS)

sweep: $(VENV)/installed-dev
	$(BIN)/pytest -m sweep tests/test_sweep.py

# Packages of Debian are downloaded and unpacked in .vmtest/, where they are kept; nothing is installed.
vmtest: $(RUN_NEEDS)
	$(RUN) -m tests.vm

# Starts three nodes of Ray on this machine.
clustertest: $(RUN_NEEDS)
	$(RUN) -m pytest -m cluster tests/test_cluster.py tests/test_browser.py

# The machine should have nothing else to do: latencies are measured.
MINUTES ?= 60
soak: $(RUN_NEEDS)
	$(RUN) -m tests.soak $(MINUTES)

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Only the files that have such tests: others may need packages that a GPU's machine lacks, or warn with its versions.
gpu-check: $(RUN_NEEDS)
	$(RUN) -m pytest -W default -m gpu $$(grep -rl --include='test_*.py' 'mark\.gpu' tests)
	$(RUN) -m tests.gpu_check $(RUNS)/gpu-check

# In the order of their worth, if time runs out. MORE='key=value ...' changes all three.
gpu-train: gpu-lite gpu-nano gpu-duts
ON_GPU = data.root=$(or $(DATA),$(error name the folder of the shards: make $@ DATA=FOLDER)) data.on_gpu=true optim.amp=bf16

# Weights alone are small enough to be carried anywhere.
gpu-lite: $(RUN_NEEDS)
	$(RUN) -m train configs/train_person.toml $(ON_GPU) 'data.train=["persons-*.tar", "duts_taught*.tar"]' $(MORE) \
	  --folder $(RUNS)/gpu-lite --fit-minutes $(LITE_MINUTES)
	$(RUN) -m train export $(RUNS)/gpu-lite -o $(RUNS)/gpu-lite.safetensors

# A network so small takes as long for four times the batch.
gpu-nano: $(RUN_NEEDS)
	$(RUN) -m train configs/train_nano.toml $(ON_GPU) optim.batch_size=96 $(MORE) \
	  --folder $(RUNS)/gpu-nano --fit-minutes $(NANO_MINUTES)
	$(RUN) -m train export $(RUNS)/gpu-nano -o $(RUNS)/gpu-nano.safetensors

# 40 passes or not, the first twentieth is warm-up.
gpu-duts: $(RUN_NEEDS)
	$(RUN) -m train configs/train_lite.toml $(ON_GPU) optim.optimizer=muon optim.learning_rate=5e-3 optim.epochs=40 $(MORE) \
	  --folder $(RUNS)/gpu-duts --fit-minutes $(DUTS_MINUTES)
	$(RUN) -m train export $(RUNS)/gpu-duts -o $(RUNS)/gpu-duts.safetensors

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
