# Every target runs in the active environment: pip install -c constraints.txt -e '.[dev]'

.PHONY: run test test-slow test-full-size test-end-to-end test-gpu check docs bench bench-decoding bench-networks bench-peers bench-training bench-predictions format

# the environment of tools/oracles/build_environment.py, with torchvision and timm
ORACLES ?= $(HOME)/.cache/convatlas/oracles/bin/python
# the same with the counters of others: build_environment.py --peers
PEERS ?= $(HOME)/.cache/convatlas/peers/bin/python

run:            ## the main job, on scikit-learn's digits
	convatlas run

test:           ## the tests that need minutes
	pytest

test-slow:      ## every network at full size, and real training runs
	pytest -m slow

test-full-size: ## only that: one image of its own size through every network
	pytest -m slow tests/models/test_promises.py -k full_size

test-end-to-end: ## the main job against the separate commands: digits, HYMENOPTERA=folder, MNIST=folder
	pytest -m slow -rs tests/end_to_end

test-gpu:       ## the checks that need a CUDA device
	pytest -m gpu

check:          ## formatter, linter, types, then the tests of the house rules
	ruff format --check .
	ruff check .
	mypy
	pytest -q tests/house

docs:           ## regenerate what is generated: docs/cli.md, docs/models.md
	python tools/write_docs.py

bench:          ## timings, as ratios in one run
	python benchmarks/start_up.py
	python benchmarks/analyze.py
	python benchmarks/densenet_memory.py

bench-decoding: ## decoding of training images next to torchvision's, in the same environment
	PYTHONPATH=src:tools/oracles $(ORACLES) benchmarks/decoding.py

bench-networks: ## networks next to torchvision's and timm's, in the environment of the oracles
	PYTHONPATH=src:tools/oracles $(ORACLES) benchmarks/networks.py
	PYTHONPATH=src:tools/oracles $(ORACLES) benchmarks/building.py

bench-peers:    ## analyze next to the counters of others, in an environment of their own
	PYTHONPATH=src:tools/oracles $(PEERS) benchmarks/peers.py

bench-training: ## training steps next to torchvision's, in the environment of the oracles
	PYTHONPATH=src:tools/oracles $(ORACLES) benchmarks/training.py

bench-predictions: ## predicted memory and latency next to the measured ones; for a quiet machine
	python benchmarks/memory.py
	python benchmarks/latency.py

format:
	ruff format .
	ruff check --fix .
