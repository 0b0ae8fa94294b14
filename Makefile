# `make quickstart` and `make test` need python3 (3.11 or 3.12) and pip; they set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
# Of a Kubernetes cluster, for `make cluster`.
SITE ?= tests/integration/kubernetes/kind/site.toml

# Where this is set, each process compiles verl, vLLM and torch anew: 30 s instead of 12 to import them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup quickstart learn test slow long cluster lint format golden lock bench render docs soak fuzz clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup:  ## make or update .venv
	@$(PYTHON) tools/bootstrap.py

quickstart: setup  ## evaluate, train, merge and evaluate again a small real model on this machine; MODEL= overrides it
	@$(BIN)/deepscaler quickstart $(if $(MODEL),--model "$(MODEL)")

learn: setup  ## the same with 60 steps (about an hour)
	@$(BIN)/deepscaler quickstart --recipe learn $(if $(MODEL),--model "$(MODEL)")

test: lint  ## lint, types and unit tests
	@$(BIN)/pytest -n auto --dist worksteal

slow: setup  ## the real engines on real models, killed and resumed; groups of tests side by side
	@$(BIN)/pytest tests/integration -vv -n 4 --dist loadscope -m 'slow and not long' --timeout 3600 --durations=0 -rP

long: setup  ## what `make slow` leaves out: a RayJob, a killed chain, 32 ranks, the grader on texts of any length (45 minutes)
	@$(BIN)/pytest tests/integration tests/deepscaler/rewards/test_growth.py -m long --timeout 3600

cluster: setup  ## what a cluster with KubeRay makes of the kit; SITE= names its site file (default: kind's), an hour
	@DEEPSCALER_SITE=$(SITE) $(BIN)/pytest tests/integration/kubernetes -vv -m cluster --durations=0 -rP

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tools/prose.py
	@$(BIN)/shellcheck .ci/run .ci/image slurm/submit/restart.sh slurm/submit/successor.sh
	@$(BIN)/hadolint docker/Dockerfile

format: setup  ## let ruff rewrite the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

golden: setup  ## rewrite the golden reports and batch scripts after an intended change
	@UPDATE_GOLDEN=1 $(BIN)/pytest tests/evaluation/report/test_report.py tests/slurm/submit/test_script.py

render: setup  ## write k8s/jobs, Prometheus's rules and docs/reference after a change of what they are generated from
	@$(BIN)/deepscaler render
	@$(BIN)/deepscaler metrics --print prometheusrule >k8s/components/monitoring/prometheusrule.yaml
	@$(BIN)/python tools/reference.py

docs: setup  ## build the documents as a site in site/; a dead link, a missing anchor and an unlisted page fail
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: setup  ## resolve the locked requirements from pyproject.toml
	@$(BIN)/python tools/lock.py

bench: setup  ## our grader against math-verify, a reward of one's own, and training with the kit against verl alone, side by side
	@$(BIN)/python bench/grading.py
	@$(BIN)/python bench/reward.py
	@$(BIN)/python bench/step.py
	@[ -z "$$SLURM_CONF" ] || $(BIN)/python bench/launch.py

soak: setup  ## train 200 steps and print whose memory grows; the same command resumes
	@$(BIN)/python bench/soak.py

fuzz: setup  ## look for texts that make the grader raise or crawl, for an hour; needs `pip install atheris`
	@$(BIN)/python tools/fuzz_grader.py -max_total_time=3600

clean:  ## remove the environment and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
