#!/usr/bin/env bash
# Installs the trainers on a VM, from the source beside this script. It may be run again.
#
#   install.sh tpu|gpu jax|tensorflow
#
# Example, on the VM:  bash fma/deploy/tpu/install.sh tpu jax && fma/.venv/bin/fma train --help
set -euo pipefail
extra=${1:?tpu or gpu}-${2:?jax or tensorflow}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# A VM's own Python may be older than 3.11; uv brings one. Into its own folder, since the system's is often read-only.
uv=$PWD/.uv
[[ -x $uv/bin/uv ]] || python3 -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --target "$uv" \
	-r deploy/tpu/uv.txt
[[ -x .venv/bin/python ]] || "$uv/bin/uv" venv --quiet --python 3.11 .venv

pins=.venv/constraints.txt
if [[ $extra == tpu-tensorflow ]]; then
	grep -v -E '^(tensorflow|tensorboard|libtpu)==' constraints.txt >"$pins" # it has its own, see its requirements
else
	cp constraints.txt "$pins"
fi
install=("$uv/bin/uv" pip install --quiet --compile-bytecode --python .venv/bin/python)
"${install[@]}" -c "$pins" -r deploy/tpu/requirements.txt -r "deploy/tpu/requirements-$extra.txt"
"${install[@]}" --no-deps --reinstall-package fma-genres .
.venv/bin/fma train --help >/dev/null
echo "installed: $PWD/.venv/bin/fma"
