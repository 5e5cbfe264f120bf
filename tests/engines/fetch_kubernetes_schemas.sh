#!/bin/sh
# Unpacks the JSON schemas of Kubernetes from the package kubernetes-validate (Apache-2.0; 22 MB).
# usage: fetch_kubernetes_schemas.sh FOLDER
set -eu
folder=${1:?usage: fetch_kubernetes_schemas.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
target=$folder/kubernetes-schemas-1.37.0
if [ -d "$target" ]; then exit 0; fi
rm -rf "$target.part"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
  --require-hashes --target "$target.part" --requirement "$(dirname "$0")/kubernetes_schemas.txt"
mv "$target.part/kubernetes_validate/kubernetes-json-schema" "$target"
rm -r "$target.part"
