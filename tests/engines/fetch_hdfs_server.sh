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
sh "$here/copy_from_maven.sh" hdfs "$folder/.hdfs"
mv "$folder/.hdfs" "$folder/hdfs"
