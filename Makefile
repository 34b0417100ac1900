# Every target but `clean` makes .venv if it is missing. `make demo` shows a real LTX 2.3 denoising; `make test` runs all checks.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test shuffled lint bench peers soak torture powercut fuzz keys pictures interop clean

demo: $(STAMP)
	$(BIN)/ltxtui demo

test: lint
	$(BIN)/pytest -n 2

# The suite in another order every time; the seed it prints repeats one: `make shuffled SEED=7`.
shuffled: $(STAMP)
	$(BIN)/pytest -v -n 2 -p randomly $(if $(SEED),--randomly-seed=$(SEED))

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# The same metrics into other tools, one table; those that are not installed are left out, and it says how. Ten minutes.
peers: $(STAMP)
	$(BIN)/python -m benchmarks.peers

# A million steps with viewer and dashboard attached, many stages, many runs; about two hours.
soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak

# 200 recordings killed with SIGKILL, by the clock and in the middle of things; about ten minutes.
torture: $(STAMP)
	$(BIN)/python -m benchmarks.torture

# Power cuts on ext4, xfs and btrfs in loop devices, in mid-run and up to a minute after the end; needs root; ten minutes.
powercut: $(STAMP)
	$(BIN)/python -m benchmarks.powercut

# A million changed inputs through the four readers; about ten minutes.
fuzz: $(STAMP)
	$(BIN)/python -m benchmarks.fuzz

# 2,000 random bursts of keys and mouse events on every screen and dialog; about five minutes.
keys: $(STAMP)
	$(BIN)/python -m benchmarks.keys

pictures: $(STAMP)
	$(BIN)/python docs/pictures.py

# The nano model in ltx-core, in an environment that sees .venv's packages; LTXTUI_LTX2=PATH tests a checkout of LTX-2
# instead, LTXTUI_COMFYUI=PATH one of ComfyUI too. A minute.
INTEROP := .venv/interop
SITE := -c "import sysconfig; print(sysconfig.get_path('purelib'))"
COMFYUI_NEEDS := torchsde trampoline boltons spandrel kornia kornia_rs comfy-kitchen comfy-aimdo sentencepiece aiohttp \
	yarl multidict propcache frozenlist aiosignal attrs aiohappyeyeballs simpleeval pydantic-settings
interop: $(STAMP)
	test -x $(INTEROP)/bin/python || $(BIN)/python -m venv $(INTEROP)
	$(BIN)/python $(SITE) > "$$($(INTEROP)/bin/python $(SITE))/outer.pth"
	$(INTEROP)/bin/python -m pip install --quiet --no-deps ltx-core==1.0.0 einops scipy $(if $(LTXTUI_COMFYUI),$(COMFYUI_NEEDS))
	$(INTEROP)/bin/python -m pytest -rs -s tests/interop

clean:
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis snapshot_report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ltx,dev]'
	touch $@
