#!/bin/sh
# Installs the MLflow server (Apache-2.0) of the engine tests into a virtual environment of its own.
# mlflow.lock is made anew by:
#   echo mlflow | uv pip compile --no-header --universal --python-version 3.10 --generate-hashes - \
#     -o tests/engines/mlflow.lock
# usage: fetch_mlflow.sh FOLDER
set -eu
folder=${1:?usage: fetch_mlflow.sh FOLDER}
here=$(dirname "$0")
version=$(sed -n 's/^mlflow==\([^ ]*\).*/\1/p' "$here/mlflow.lock")
target=$folder/mlflow-$version
if [ -f "$target/ready" ]; then exit 0; fi
mkdir -p "$folder"
rm -rf "$target"
"${PYTHON:-python3}" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
  --require-hashes --requirement "$here/mlflow.lock"
touch "$target/ready"
