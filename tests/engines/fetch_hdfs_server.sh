#!/bin/sh
# Fetches what the HDFS server of the engine tests is made of (Hadoop, Apache-2.0; 110 MB).
# usage: fetch_hdfs_server.sh FOLDER
set -eu
folder=${1:?usage: fetch_hdfs_server.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ -d "$folder/hdfs" ]; then exit 0; fi
for program in mvn javac; do
  if ! command -v "$program" >/dev/null; then
    echo "Error: the HDFS server of the engine tests comes from Maven Central and is compiled as it starts; $program is not installed." >&2
    echo "Fix:   apt-get install maven default-jdk-headless (Debian), dnf install maven (Fedora), brew install maven (macOS)" >&2
    exit 2
  fi
done
# Maven keeps what it has: a download that broke off goes on where it was.
mvn --quiet --batch-mode --strict-checksums -Dstyle.color=never --file "$here/hdfs/pom.xml" \
  org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
  -DoutputDirectory="$folder/.hdfs"
if ! (cd "$folder/.hdfs" && sha256sum --check --quiet --strict "$here/hdfs/SHA256SUMS"); then
  rm -r "$folder/.hdfs"
  echo "Error: a file from Maven Central is not the one that was pinned (above)." >&2
  echo "Fix:   remove it from Maven's own store (~/.m2/repository), then run again." >&2
  exit 1
fi
mv "$folder/.hdfs" "$folder/hdfs"
