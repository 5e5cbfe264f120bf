#!/bin/sh
# Builds one server of the engine tests with Go; its content is held to Go's checksum database.
# usage: build_with_go.sh FOLDER WHAT PACKAGE VERSION [NAME OF THE PROGRAM]
set -eu
folder=$1 what=$2 package=$3 version=$4
name=${5:-${package##*/}}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ -x "$folder/$name-$version" ]; then exit 0; fi
if ! command -v go >/dev/null; then
  echo "Error: the $what of the engine tests is built with Go, which is not installed." >&2
  echo "Fix:   install Go 1.25 or later: https://go.dev/doc/install" >&2
  exit 2
fi
GOBIN="$folder" go install "$package@$version"
mv "$folder/$name" "$folder/$name-$version"
