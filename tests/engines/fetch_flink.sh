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
sh "$here/copy_from_maven.sh" flink "$folder/.flink" -DincludeScope=runtime
"$python" "$here/flink/job_server_jar.py" "$folder/.flink"
mv "$folder/.flink" "$folder/flink"
