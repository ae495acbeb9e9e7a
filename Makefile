# make demo   see the whole loop on an embedded sample, in a real Label Studio (Ctrl-C stops it)
# make test   install what the tests need, run all but the slow ones in random order (again in the same: TESTS="-p randomly --randomly-seed=N")
# make test-all  every test, and which lines and branches they reach; .ci/run does the same
# make dev    a virtual environment in .venv with everything for development
# make check  ruff, formatting, mypy, who imports whom
# make lock   write docker/requirements.txt, what the image installs, from the versions in .venv
# make docs   the documentation as a site in build/docs, its links checked
# make bench  side-by-side measurements against peers; CAMVID=DIR takes label maps from a copy of CamVid
# make soak   fifty annotators at work for ten minutes: failed requests, waits, memory (SOAK="--people 10 --minutes 1")
# make fuzz   mutated streams and files through every decoder
# make attack    hostile clients, hosts and files against fresh servers on loopback, see docs/security.md
# make api       requests drawn from /openapi.json, and recorded ones with damage, against a real server
# make faults    kill -9 of `maskloop label`, its workers and a node of its Ray cluster, a disk that is full, a third of the images broken
# make crashes   kill -9 of trainings, servers and promotions at random moments

PYTHON ?= python3
# processes that run tests; 0: none of their own, which a debugger wants
WORKERS ?= 2
BIN := .venv/bin
export MASKLOOP_HOME ?= $(CURDIR)/.maskloop
DEMO ?=
FUZZ_RUNS ?= 100000
CRASHES ?= 50
KILLS ?= 20
ATTACKS ?=
SOAK ?=
CASES ?= 10000

.PHONY: demo dev test test-all check docs format bench soak fuzz attack api crashes faults lock clean

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("maskloop needs Python 3.11 or newer, this is %d.%d: make PYTHON=/path/to/python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/.backend: pyproject.toml | .venv/bin/python
	@echo "Installing maskloop and TensorFlow into .venv: about 2.5 GB, some minutes"
	$(BIN)/python -m pip install --quiet --editable '.[backend]'
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ .venv/.backend

demo: .venv/.backend
	$(BIN)/maskloop demo $(DEMO)

dev: .venv/.dev

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Coverage takes time, and says little where the slow tests are missing.
test: CHOSEN := -m "not slow"
test-all: CHOSEN := --cov --cov-report=term:skip-covered
test test-all: .venv/.dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder $(CHOSEN) $(TESTS)

.maskloop/docs/.made: pyproject.toml
	$(PYTHON) -m venv .maskloop/docs
	@# the extra's packages alone: nothing of maskloop is imported
	.maskloop/docs/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > .maskloop/docs/packages.txt
	.maskloop/docs/bin/python -m pip install --quiet --requirement .maskloop/docs/packages.txt
	@touch $@

docs: .maskloop/docs/.made
	.maskloop/docs/bin/zensical build --clean --strict

bench: .venv/.dev
	$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	$(BIN)/python benchmarks/codecs.py $(if $(CAMVID),--camvid $(CAMVID)/trainannot)
	$(BIN)/python benchmarks/convert.py $(if $(CAMVID),--camvid $(CAMVID)/trainannot)
	$(BIN)/python benchmarks/convert.py --memory 1000 10000
	$(BIN)/python benchmarks/formats.py $(if $(PEERS),--peers $(PEERS))
	$(BIN)/python benchmarks/serving.py

soak: .venv/.dev
	$(BIN)/python benchmarks/soak.py $(SOAK)

fuzz: .venv/.dev
	$(BIN)/python fuzz/codecs.py --runs $(FUZZ_RUNS)
	$(BIN)/python fuzz/formats.py --runs $$(( $(FUZZ_RUNS) / 5 ))

attack: .venv/.dev
	$(BIN)/python fuzz/attack.py $(ATTACKS)

api: .venv/.dev
	$(BIN)/python fuzz/api.py --cases $(CASES) --bodies $$(( 2 * $(CASES) ))

crashes: .venv/.dev
	rm -rf $(MASKLOOP_HOME)/crashes
	$(BIN)/python fuzz/crashes.py --kills $(CRASHES) --home $(MASKLOOP_HOME)/crashes

faults: .venv/.dev
	rm -rf $(MASKLOOP_HOME)/faults
	$(BIN)/python fuzz/faults.py --folder $(MASKLOOP_HOME)/faults --kills $(KILLS)

# What the image installs: the versions that the tests in .venv ran with.
lock: .venv/.dev
	mkdir -p .maskloop
	$(BIN)/python -m uv pip freeze --quiet --python $(BIN)/python --exclude-editable > .maskloop/tested.txt
	$(BIN)/python -m uv pip compile --quiet --python-version 3.11 --python-platform linux --extra backend --extra openvino \
	  --generate-hashes --no-header --no-annotate --constraint .maskloop/tested.txt pyproject.toml \
	  --output-file docker/requirements.txt

clean:
	rm -rf .venv .maskloop .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build .cache
