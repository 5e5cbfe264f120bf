#!/bin/sh
# Fetches Flink and Beam's job server for it from Maven Central (Apache-2.0; 155 MB).
# usage: fetch_flink.sh FOLDER
set -eu
folder=${1:?usage: fetch_flink.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
python=${PYTHON:-python3}
if [ -f "$folder/flink/flink-job-server.jar" ]; then exit 0; fi
for program in mvn java; do
  if ! command -v "$program" >/dev/null; then
    echo "Error: Flink comes from Maven Central and runs on Java; $program is not installed." >&2
    echo "Fix:   apt-get install maven default-jre-headless (Debian), dnf install maven (Fedora), brew install maven (macOS)" >&2
    exit 2
  fi
done
# Maven keeps what it has: a download that broke off goes on where it was.
mvn --quiet --batch-mode --strict-checksums -Dstyle.color=never --file "$here/flink/pom.xml" \
  org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$folder/.flink"
if ! (cd "$folder/.flink" && sha256sum --check --quiet --strict "$here/flink/SHA256SUMS"); then
  rm -r "$folder/.flink"
  echo "Error: a file from Maven Central is not the one that was pinned (above)." >&2
  echo "Fix:   remove it from Maven's own store (~/.m2/repository), then run again." >&2
  exit 1
fi
"$python" "$here/flink/job_server_jar.py" "$folder/.flink"
mv "$folder/.flink" "$folder/flink"
