# Every target runs in the active environment: pip install -c constraints.txt -e '.[dev]'

.PHONY: run test test-slow test-gpu check docs bench format

run:            ## the main job, on scikit-learn's digits
	convatlas run

test:           ## the tests that need minutes
	pytest

test-slow:      ## every network at full size, and real training runs
	pytest -m slow

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

format:
	ruff format .
	ruff check --fix .
