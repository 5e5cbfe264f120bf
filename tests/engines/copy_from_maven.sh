#!/bin/sh
# Copies the jars of NAME/pom.xml from Maven Central into FOLDER, held to NAME/SHA256SUMS.
# usage: copy_from_maven.sh NAME FOLDER [OPTION OF MAVEN ...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
name=$1 folder=$2
shift 2
# Maven keeps what it has: a download that broke off goes on where it was.
mvn --quiet --batch-mode --strict-checksums -Dstyle.color=never --file "$here/$name/pom.xml" \
  org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
  "$@" -DoutputDirectory="$folder"
if ! (cd "$folder" && sha256sum --check --quiet --strict "$here/$name/SHA256SUMS"); then
  rm -r "$folder"
  echo "Error: a file from Maven Central is not the one that was pinned (above)." >&2
  echo "Fix:   remove it from Maven's own store (~/.m2/repository), then run again." >&2
  exit 1
fi
