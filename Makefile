# The README's commands. Everything runs in .venv, which is created when it is missing or the pins have changed.
# PYTHON=... chooses the interpreter (3.11 to 3.13).

PYTHON ?= $(firstword $(shell for p in python3.12 python3.11 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p; done))
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test test-long test-runners faults bench test-airflow lint clean

install: $(STAMP)

$(STAMP): setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "fma-genres needs Python 3.11, 3.12 or 3.13 (set PYTHON=...)"; exit 1; }
	@echo "installing TensorFlow, Beam and the rest into .venv: some minutes"
	@if command -v uv >/dev/null 2>&1; then \
		uv venv -q --clear --python $(PYTHON) .venv && \
		uv pip install -q --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev]'; \
	else \
		$(PYTHON) -m venv --clear .venv && \
		$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	fi
	@touch $(STAMP)
	@echo "installed into .venv: run $(BIN)/fma --help"

# Six epochs are too few to learn 128 synthetic songs from degraded sound.
demo: $(STAMP)
	$(BIN)/fma sample --out demo/corpus --subset small --clip-seconds 12
	$(BIN)/fma run --audio demo/corpus/audio --metadata demo/corpus/fma_metadata --subset small --out demo/work \
		--models mel_cnn,baselines --options 'mel_cnn=--epochs 6 --no-degrade'
	@$(BIN)/fma show demo/work/dataset --sheet demo/mels.png >/dev/null

test: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

# The tests that take long: whole commands under faults, growth after growth, buckets.
test-long: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m long

# Builds Prism and fetches Flink into .runners/ the first time; needs Go, Java and Maven.
test-runners: $(STAMP)
	$(BIN)/python -m pytest -q tests/runners

# At full length, an hour and a half on two idle cores: every command that writes, killed at its worst moments (the suite
# does one); 150 dead workers (one); 2,000 edited files (6); 11,500 damaged songs (350).
faults: $(STAMP)
	$(BIN)/python -m tests.faults.drill
	$(BIN)/python -m tests.faults.dead_workers --repeat 50
	$(BIN)/python -m tests.faults.edits --edits 2000
	$(BIN)/python -m tests.faults.fuzz --inputs 10000
	$(BIN)/python -m tests.faults.fuzz --inputs 1500 --family containers

# Half an hour on an idle machine; prints one table and writes bench/bench.json.
bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

# The DAG of deploy/airflow, in a separate environment, since Airflow's pins conflict with ours.
test-airflow: $(STAMP) .venv-airflow/.installed
	FMA_TEST_AIRFLOW=1 $(BIN)/python -m pytest -q tests/deploy/test_airflow.py

.venv-airflow/.installed: deploy/airflow/requirements.txt
	$(PYTHON) -m venv --clear .venv-airflow
	.venv-airflow/bin/python -m pip install -q --disable-pip-version-check -r deploy/airflow/requirements.txt
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf demo bench .pytest_cache .numba_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
