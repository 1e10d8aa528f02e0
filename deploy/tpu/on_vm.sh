#!/usr/bin/env bash
# Runs `fma train` on a VM so that it outlives the connection that started it; a second call waits for the first.
#
#   on_vm.sh MODEL --data gs://... --run gs://... [options of fma train]
#
# The exit code is that of fma train; it is also written to .train/status, in case the connection is lost.
# Example, on the VM:  bash fma/deploy/tpu/on_vm.sh mel_cnn --data gs://my-fma/large --run gs://my-fma/runs/mel_cnn
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p .train
touch .train/log

# shellcheck disable=SC2016 # the inner shell expands it
nohup flock .train/lock bash -c '
	rm -f .train/status
	.venv/bin/fma train "$@" >>.train/log 2>&1 && code=0 || code=$?
	echo "$code" >.train/status
	exit "$code"' train "$@" >/dev/null 2>&1 &
training=$!
tail -n 0 -F --pid="$training" .train/log 2>/dev/null || true
wait "$training"
