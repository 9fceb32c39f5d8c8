# Everything here makes its own virtual environment on first use, outside the checkout, from nothing but Python 3.11 and pip.
# An environment of your own is used as it is: make test PYTHON=/path/to/python. Another build of torch: make demo TORCH="torch==2.10.0 torchvision==0.25.0".

PYTHON3 ?= python3
TORCH ?= torch>=2.10 torchvision
PYTEST ?=
UNLOCKED = torch|torchvision|triton|nvidia-.*|cuda-.*|networkx|sympy|mpmath|setuptools|pip|stockpot
MARKED = browser or chaos or cluster or s3 or slow

# One thread a process: trials run side by side, and idle threads that spin would take the cores from them.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive
export PYTHONPATH := $(CURDIR)

ifdef PYTHON
python = python="$(PYTHON)"
else
python = python="$$($(PYTHON3) infra/deploy/environment.py $(foreach r,$(TORCH),'$(r)'))"
endif

.PHONY: help demo stockpot s3 cluster results bless test test-slow chaos lint check environment lock clean

help:  ## list what there is to make
	@sed -n 's/^\([a-z0-9-]*\):.*##/\1:/p' Makefile

demo:  ## sweep, soup and report on the embedded digits: some minutes on two cores
	@$(python) && "$$python" -m pipelines run soup tiny && echo 'more    make stockpot ARGS="predict soup ./photos", or ARGS="--help"'

stockpot:  ## any command: make stockpot ARGS="predict soup ./photos"
	@$(python) && exec "$$python" -m pipelines $(ARGS)

s3:  ## an object store on this machine until Ctrl-C, to try the README's section on S3 with
	@$(python) && exec "$$python" -m tests.s3.seaweed

cluster:  ## a cluster on this machine until Ctrl-C, with an object store and MLflow, to try the README's section on clusters with
	@$(python) && exec "$$python" -m tests.cluster.local

test:  ## the default suite: offline, on two cores, in minutes
	@$(python) && exec "$$python" -m pytest $(PYTEST)

test-slow:  ## the marked tests: Ray, an object store, Chromium, killed processes
	@$(python) && exec "$$python" -m pytest -m "$(MARKED)" $(PYTEST)

chaos:  ## the soup study on a cluster whose parts are killed, 20 schedules drawn from seeds: make chaos SEEDS=40:50
	@$(python) && exec "$$python" -m tests.cluster.chaos $(or $(SEEDS),20)

results:  ## every study over three base models and five seeds, into docs/results.md: hours; it goes on where it was stopped
	@$(python) && exec "$$python" -m tests.benchmarks.results $(STORE)

lint:  ## ruff and mypy --strict
	@$(python) && "$$python" -m ruff check . && "$$python" -m mypy

check: lint test  ## what to run before a commit

bless:  ## accept a changed component that gives the same results: make bless NAME=train (or all)
	@$(python) && exec "$$python" -m tests.plans.bless $(NAME)

environment:  ## make the virtual environment and print its Python
	@$(python) && echo "$$python"

lock:  ## write requirements.lock from the environment in use, less torch and what only torch needs
	@$(python) && { sed -n '/^#/p' requirements.lock; "$$python" -m pip freeze --exclude-editable | grep -Ev '^($(UNLOCKED))(==| @)'; } \
	> requirements.lock.new && mv requirements.lock.new requirements.lock

clean:  ## remove what runs and tools left in the checkout
	rm -rf store build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
