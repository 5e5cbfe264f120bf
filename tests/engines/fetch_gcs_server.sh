#!/bin/sh
# Builds the Google Cloud Storage emulator of the engine tests: fake-gcs-server (BSD-2-Clause).
# usage: fetch_gcs_server.sh FOLDER
set -eu
version=v1.56.1  # its content is held to Go's checksum database
folder=${1:?usage: fetch_gcs_server.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ -x "$folder/fake-gcs-server-$version" ]; then exit 0; fi
if ! command -v go >/dev/null; then
  echo "Error: the storage emulator of the engine tests is built with Go, which is not installed." >&2
  echo "Fix:   install Go 1.25 or later: https://go.dev/doc/install" >&2
  exit 2
fi
GOBIN="$folder" go install "github.com/fsouza/fake-gcs-server@$version"
mv "$folder/fake-gcs-server" "$folder/fake-gcs-server-$version"
