#!/bin/sh
# Builds the Google Cloud Storage emulator of the engine tests: fake-gcs-server (BSD-2-Clause).
# usage: fetch_gcs_server.sh FOLDER
set -eu
exec sh "$(dirname "$0")/build_with_go.sh" "${1:?usage: fetch_gcs_server.sh FOLDER}" \
  "storage emulator" github.com/fsouza/fake-gcs-server v1.56.1
