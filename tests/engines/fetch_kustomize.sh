#!/bin/sh
# Builds kustomize (Apache-2.0) with Go, which renders k8s/ as `kubectl kustomize` does.
# usage: fetch_kustomize.sh FOLDER
set -eu
folder=${1:?usage: fetch_kustomize.sh FOLDER}
version=v5.8.1
if [ -x "$folder/kustomize-$version" ]; then exit 0; fi
# The module's path ends in /v5, the program's name does not.
sh "$(dirname "$0")/build_with_go.sh" "$folder" "renderer of manifests" \
  sigs.k8s.io/kustomize/kustomize/v5 "$version" kustomize
