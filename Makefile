# `make` alone shows what there is. Every target first makes .venv where it is missing or out of date.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
WORKERS ?= 2
HALF_OF_CORES := $(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu); echo $$(( n > 1 ? n / 2 : 1 )))
# Where to look for torch beside PyPI, whose Linux build brings gigabytes of CUDA libraries. Without a GPU:
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
INSTALLED := .venv/installed
LINKS := build/typecheck/music_flamingo
SONGBOOK := recipes/songbook
# Small steps use two processes, each with half of the cores and of a step's songs, better than twice the threads.
TWO := OMP_NUM_THREADS=$(HALF_OF_CORES) $(BIN)/torchrun --standalone --nproc-per-node 2 --no-python $(BIN)/music-flamingo
HALVES := --config recipes/overrides/ddp.yaml --trainer.accelerator=cpu
AF2 := runs/audio_flamingo_2
AF2_STAGES := recipes/audio_flamingo_2
SLURM := slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libmunge2 libhwloc15 liblua5.1-0
CONTROL_LOG := runs/songbook/control.log

.PHONY: help setup demo audio-flamingo-2 test test-slurm lint typecheck check bench bench-long bench-kill clean links

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 20

setup: $(INSTALLED)  ## install into .venv (about 90 s)

# Memory in huge pages, and kept when freed: a training step on a CPU otherwise waits for 20,000 new pages.
demo: export THP_MEM_ALLOC_ENABLE := 1
demo audio-flamingo-2: export MALLOC_MMAP_THRESHOLD_ := 4294967296
demo audio-flamingo-2: export MALLOC_TRIM_THRESHOLD_ := 8589934592
demo: $(INSTALLED)  ## train a tiny Music Flamingo on real scores, minutes on two cores
	$(BIN)/music-flamingo songbook --out runs/songbook/corpus
	$(BIN)/music-flamingo init --out runs/songbook/0_init --corpus runs/songbook/corpus
	$(TWO) fit --config $(SONGBOOK)/1_tagging.yaml $(HALVES) --data.max_duration=20
	$(TWO) fit --test --config $(SONGBOOK)/2_sft.yaml $(HALVES) --data.max_duration=40
	$(BIN)/music-flamingo fit --test --config $(SONGBOOK)/3_warmup.yaml
	@echo "4_grpo and its control, half of the cores each; the control's output goes to $(CONTROL_LOG)"
	export OMP_NUM_THREADS=$(HALF_OF_CORES); trap 'kill $$control 2>/dev/null || true' EXIT; \
	$(BIN)/music-flamingo fit --test --config $(SONGBOOK)/3_warmup.yaml --config $(SONGBOOK)/control.yaml \
	    > $(CONTROL_LOG) 2>&1 & control=$$!; \
	$(BIN)/music-flamingo fit --test --config $(SONGBOOK)/4_grpo.yaml; \
	wait $$control || { tail -n 5 $(CONTROL_LOG); exit 1; }
	$(BIN)/music-flamingo report runs/songbook

audio-flamingo-2: $(INSTALLED)  ## the curriculum of Audio Flamingo 2 at tiny size: 30 s, 90 s, whole pieces
	$(BIN)/music-flamingo songbook --out $(AF2)/corpus --clips 2400 --full-pieces 320 --full-seconds '[60,200]'
	$(BIN)/music-flamingo init --preset af-clap-tiny --out $(AF2)/0_clap --corpus $(AF2)/corpus
	$(BIN)/music-flamingo init --preset audio-flamingo-2-tiny --out $(AF2)/0_init --corpus $(AF2)/corpus
	$(BIN)/music-flamingo fit --config $(AF2_STAGES)/0_contrastive.yaml --config $(AF2_STAGES)/songbook_0_contrastive.yaml
	$(BIN)/music-flamingo fit --config $(SONGBOOK)/1_tagging.yaml --config $(AF2_STAGES)/songbook_0_tagging.yaml \
	    --model.model.clap=$(AF2)/0_contrastive/export
	$(BIN)/music-flamingo fit --test --config $(AF2_STAGES)/1_alignment.yaml \
	    --config $(AF2_STAGES)/songbook_1_alignment.yaml --config $(AF2_STAGES)/songbook_tagged.yaml
	for stage in 2_sft 3_long; do $(BIN)/music-flamingo fit --test \
	    --config $(AF2_STAGES)/$$stage.yaml --config $(AF2_STAGES)/songbook_$$stage.yaml; done
	$(BIN)/music-flamingo report $(AF2)

test: $(INSTALLED)  ## every test that needs no GPU
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadgroup -q

test-slurm: $(INSTALLED) build/slurm  ## jobs on a real SLURM, unpacked from Debian's packages into build/; needs amd64 and apt-get
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -rs tests/slurm

# Unpacked, not installed: no root is needed, and nothing outside of build/ changes.
build/slurm:
	rm -rf build/slurm.partial && mkdir -p build/slurm.partial
	cd build/slurm.partial && apt-get download -q $(SLURM) && for each in *.deb; do dpkg -x $$each .; done
	for each in slurmctld slurmd slurmstepd; do ln -sf $$each-wlm build/slurm.partial/usr/sbin/$$each; done
	mv build/slurm.partial $@

lint: links  ## ruff, the direction of imports, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd build/typecheck && ../../$(BIN)/lint-imports --config ../../pyproject.toml
	$(BIN)/codespell

typecheck: links  ## mypy --strict
	$(BIN)/mypy -p music_flamingo

check: lint typecheck test  ## lint, typecheck and test: what continuous integration runs

bench: $(INSTALLED)  ## speed and memory against what people use, results in benchmarks/results
	$(BIN)/python -m benchmarks.speed

bench-long: $(INSTALLED)  ## the same for ten minutes of audio, and with parts of sharing left out
	$(BIN)/python -m benchmarks.speed --long

bench-kill: $(INSTALLED)  ## two hundred killed training runs, and what they lost
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.kill

clean:  ## remove build/ and caches; runs/ and .venv stay
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

# The package under its import name, for tools that read files instead of importing them. Made afresh each time,
# as new modules would be missing otherwise.
links: $(INSTALLED)
	rm -rf $(LINKS)
	mkdir -p $(LINKS)
	ln -s $(CURDIR)/src/music_flamingo/* $(CURDIR)/callbacks $(CURDIR)/data_modules $(LINKS)

# venv without its own pip: some systems ship Python without the wheel venv would unpack.
# tinysoundfont without its requirements: pyaudio needs a C library that is rarely there, and nothing here uses it.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed")'
	$(PYTHON) -m venv --without-pip .venv
	$(PYTHON) -m pip --python .venv install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	    --constraint constraints.txt pip --editable '.[dev]'
	$(PYTHON) -m pip --python .venv install --quiet --constraint constraints.txt --no-deps tinysoundfont
	touch $@
