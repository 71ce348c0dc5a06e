# Every target sets up what it needs; a machine with Python 3.11 to 3.13 and pip is enough.

ARGS ?=
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
PEERS := .venv-peers/bin
SPLITS := benchmarks/cache/splits
SETUP := .venv/.stamp

.PHONY: help setup demo test lint bench-tables bench-peers bench-sdmetrics bench-flows bench-density bench-autoencoders bench-denoising bench-autoencoder-peers bench-autoencoder-tables bench-gans bench-gan-images bench-images bench-stacked-mnist bench-guard bench-restore bench-completion bench-music bench-sequences bench-sequence-peers bench-scale bench-small bench-going-on bench-constraints bench-several-tables bench-privacy bench-privacy-peers clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(SETUP) ## a virtual environment in .venv with pofx and its tools
	@true

$(SETUP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 to 3.13, found none: install one, or PYTHON=/path make ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(SETUP) ## a made table learned, a synthetic one written, a report on how good it is
	@$(BIN)/python recipes/demo.py $(ARGS)

lint: $(SETUP) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## style, types, doctests and tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 $(ARGS)

$(SPLITS)/.stamp: benchmarks/splits.py $(SETUP)
	$(BIN)/python benchmarks/splits.py $(SPLITS)
	@touch $@

bench-tables: $(SPLITS)/.stamp ## the figures of the README: every model on every table (hours; ARGS="--tables adult --seeds 0")
	$(BIN)/python benchmarks/tables.py $(ARGS)

.venv-peers/.stamp: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-peers.txt
	@touch $@

bench-peers: .venv-peers/.stamp $(SPLITS)/.stamp ## samples of the ctgan package, kept for bench-tables (hours)
	$(PEERS)/python benchmarks/peers.py --data $(SPLITS) --cache benchmarks/cache/peers $(ARGS)

bench-sdmetrics: .venv-peers/.stamp ## Shape and Trend beside the SDMetrics package
	PYTHONPATH=src $(PEERS)/python benchmarks/sdmetrics_check.py

.venv-flows/.stamp: benchmarks/requirements-flows.txt
	$(PYTHON) -m venv .venv-flows
	.venv-flows/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-flows.txt
	@touch $@

bench-flows: .venv-flows/.stamp ## the speed of flows beside the released libraries
	PYTHONPATH=src .venv-flows/bin/python benchmarks/flows.py $(ARGS)

bench-autoencoders: $(SETUP) ## likelihood of images under autoencoders, MNIST and Fashion-MNIST (hours)
	$(BIN)/python benchmarks/autoencoders.py $(ARGS)

bench-denoising: $(SETUP) ## noise taken off images, MNIST and Fashion-MNIST, beside a blur (half an hour)
	$(BIN)/python benchmarks/denoising.py $(ARGS)

bench-music: $(SETUP) ## likelihood and sound of JSB chorales (an hour)
	$(BIN)/python benchmarks/music.py $(ARGS)

bench-completion: $(SETUP) ## hidden halves of MNIST completed by models of digits, beside trivial fillers (ten minutes)
	$(BIN)/python benchmarks/completion.py $(ARGS)

bench-small: $(SETUP) ## tables of 100 to 800 rows: which model is taken, and whether synthetic rows help (an hour)
	$(BIN)/python benchmarks/small.py $(ARGS)

bench-going-on: $(SETUP) ## fit --from, more rows and a new level, beside a fit anew (an hour)
	$(BIN)/python benchmarks/going_on.py $(ARGS)

bench-constraints: $(SETUP) ## rows that break a constraint, with constraints and without (ten minutes)
	$(BIN)/python benchmarks/constraints.py $(ARGS)

bench-several-tables: $(SETUP) ## a made shop of five tables: keys, children, conditionals (five minutes)
	$(BIN)/python benchmarks/several_tables.py $(ARGS)

bench-scale: $(SETUP) ## one and five million rows from disk: rows a second, peak memory (half an hour)
	$(BIN)/python benchmarks/scale.py $(ARGS)

.venv-autoencoders/.stamp: benchmarks/requirements-autoencoders.txt
	$(PYTHON) -m venv .venv-autoencoders
	.venv-autoencoders/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-autoencoders.txt
	.venv-autoencoders/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

bench-autoencoder-peers: .venv-autoencoders/.stamp ## autoencoders beside pythae and pyod: speed, bound, outliers found
	.venv-autoencoders/bin/python benchmarks/autoencoder_peers.py $(ARGS)

bench-autoencoder-tables: $(SPLITS)/.stamp ## held-out likelihood of tables under autoencoders and simpler laws (an hour)
	$(BIN)/python benchmarks/autoencoder_tables.py $(ARGS)

bench-gans: $(SETUP) ## modes that adversarial networks keep, ten games, beside what was published (hours)
	$(BIN)/python benchmarks/gans.py $(ARGS)

bench-gan-images: $(SETUP) ## images from adversarial networks after equal minutes: skill, coverage, images a second (hours)
	$(BIN)/python benchmarks/gan_images.py --throughput $(ARGS)

bench-images: $(SETUP) ## images from flows, autoencoders and a gan after equal minutes, by class: bits, distances, accuracy (hours)
	$(BIN)/python benchmarks/images.py $(ARGS)

bench-stacked-mnist: $(SETUP) ## how many of 1,000 modes adversarial networks keep, beside what was published (hours)
	$(BIN)/python benchmarks/stacked_mnist.py $(ARGS)

bench-guard: $(SETUP) ## how often the guard accuses real examples and healthy fits, and how often it names a failure (hours)
	$(BIN)/python benchmarks/guard.py $(ARGS)

.venv-restore/.stamp: benchmarks/requirements-restore.txt
	$(PYTHON) -m venv .venv-restore
	.venv-restore/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-restore.txt
	.venv-restore/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

bench-sequences: $(SETUP) ## text, music and sounds, beside simpler laws and published figures (hours)
	$(BIN)/python benchmarks/sequences.py $(ARGS)
	$(BIN)/python benchmarks/music.py $(ARGS)
	$(BIN)/python benchmarks/audio.py $(ARGS)

.venv-sequences/.stamp: benchmarks/requirements-sequences.txt
	$(PYTHON) -m venv .venv-sequences
	.venv-sequences/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-sequences.txt
	.venv-sequences/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

bench-sequence-peers: .venv-sequences/.stamp ## text beside x-transformers, transformers and markovify (an hour)
	.venv-sequences/bin/python benchmarks/sequence_peers.py $(ARGS)

bench-restore: .venv-restore/.stamp ## photos enlarged and cleaned, beside bicubic, BM3D and published rows (hours)
	.venv-restore/bin/python benchmarks/restore.py $(ARGS)

.venv-privacy/.stamp: benchmarks/requirements-privacy.txt
	$(PYTHON) -m venv .venv-privacy
	.venv-privacy/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-privacy.txt
	@touch $@

bench-privacy-peers: .venv-privacy/.stamp $(SPLITS)/.stamp ## samples of smartnoise-synth at epsilon 1, 3, 10, kept for bench-privacy (hours)
	.venv-privacy/bin/python benchmarks/private_peers.py --data $(SPLITS) --cache benchmarks/cache/private_peers $(ARGS)

bench-privacy: $(SPLITS)/.stamp ## Adult with differential privacy at epsilon 1, 3, 10: a judge, use, attacks (an hour)
	$(BIN)/python benchmarks/privacy.py $(ARGS)

bench-density: .venv-flows/.stamp ## held-out likelihood of flows beside the released libraries (hours)
	PYTHONPATH=src .venv-flows/bin/python benchmarks/density.py $(ARGS)

clean: ## removes what was built, the environments and the demo's files; keeps benchmarks/
	rm -rf .venv .venv-peers .venv-flows .venv-autoencoders .venv-restore .venv-sequences .venv-privacy build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests recipes benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
