#!/bin/sh
# Builds Prometheus' promtool (Apache-2.0) with Go: five minutes of CPU, so not part of `make engines`.
# usage: build_promtool.sh FOLDER
set -eu
folder=${1:?usage: build_promtool.sh FOLDER}
version=v0.305.0 # of Prometheus 3.5
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ -x "$folder/promtool-$version" ]; then exit 0; fi
if ! command -v go >/dev/null; then
  echo "Error: promtool is built with Go, which is not installed." >&2
  echo "Fix:   install Go 1.25 or later: https://go.dev/doc/install" >&2
  exit 2
fi
# Not `go install`: the module replaces one of its own folders, which only a build inside it may.
cd "$folder"
module=$(go mod download -json "github.com/prometheus/prometheus@$version" | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')
cd "$module"
go build -o "$folder/promtool-$version" ./cmd/promtool
