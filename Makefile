# signstream. Every target uses .venv and makes it first.

BOARD ?= ulx3s
BUILD ?= build
WIDTH ?= 1
DEPTH ?= 20
IMAGES ?= 4
SIM ?= verilator
SEED ?= 1
PYTHON3 ?= python3
PYTHON := .venv/bin/python
GEN = $(PYTHON) -m gen --width $(WIDTH) --depth $(DEPTH) --board $(BOARD) --out $(BUILD) \
      $(if $(MHZ),--clock-mhz $(MHZ))
# A folder that's there is taken as it is: whoever names a network means another one, or that one.
named = $(filter command environment,$(foreach name,$(1),$(origin $(name))))
NAMED = $(call named,WIDTH DEPTH)
IS_NAMED = $(if $(NAMED),@grep -qF '"network": "wrn-$(DEPTH)-$(WIDTH)"' $(BUILD)/plan.json || { \
      echo "$(BUILD) holds another network than wrn-$(DEPTH)-$(WIDTH): take another BUILD=" \
           "or replace it with make gen" >&2; exit 2; })
# By default the board is the one that the folder is for.
ON = $(if $(call named,BOARD),--board $(BOARD))
export PYTHONHASHSEED := 0

.PHONY: help venv venv-train gen sim bitstream program test test-slow lint clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "variables: BUILD=$(BUILD) WIDTH=$(WIDTH) DEPTH=$(DEPTH) IMAGES=$(IMAGES) SIM=$(SIM)" \
	      "BOARD=$(BOARD) SEED=$(SEED) MHZ=$(MHZ)"

venv: .venv/ready ## the virtual environment that all targets use

# Everything but torch: generating, simulating and building run without it.
.venv/ready: pyproject.toml
	@test -x $(PYTHON) || $(PYTHON3) -m venv .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[sim,build,host,test]'
	@touch $@

venv-train: .venv/ready-train ## the same with torch, for `python -m export`

.venv/ready-train: .venv/ready
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(BUILD)/plan.json: | .venv/ready
	$(GEN)

gen: .venv/ready ## a fresh build folder for WIDTH, DEPTH, BOARD and MHZ
	$(GEN)

sim: .venv/ready $(BUILD)/plan.json ## real images through the simulated hardware, checked bit for bit
	$(IS_NAMED)
	$(PYTHON) -m sim.run --build $(BUILD) --images $(IMAGES) --sim $(SIM)

bitstream: .venv/ready $(BUILD)/plan.json ## bitstream for BOARD with measured speed and resources
	$(IS_NAMED)
	$(PYTHON) -m boards.build --build $(BUILD) $(ON) --seed $(SEED) $(if $(MHZ),--mhz $(MHZ))

program: .venv/ready ## load the bitstream into the board
	$(PYTHON) -m boards.program --build $(BUILD) $(ON)

test: .venv/ready-train ## the whole test suite
	$(PYTHON) -m pytest -m 'not slow' -n auto --dist loadfile

test-slow: .venv/ready-train ## checks that take minutes each
	$(PYTHON) -m pytest -m slow -n auto --dist loadfile

lint: .venv/ready ## style checks
	.venv/bin/ruff check .

clean: ## remove build folders, keep the virtual environment
	rm -rf build build-* .pytest_cache .ruff_cache
