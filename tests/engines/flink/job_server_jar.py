"""Writes flink-job-server.jar: a manifest that starts the job server from the jars beside it."""

from __future__ import annotations

import sys
import textwrap
import zipfile
from pathlib import Path

MAIN_CLASS = "org.apache.beam.runners.flink.FlinkJobServerDriver"
# Flink 1.19 reflects into the JDK; from Java 17 on that needs permission.
ADD_OPENS = "java.base/java.lang java.base/java.nio java.base/java.time java.base/java.util"
# Bytes of a manifest's line, its first space where it continues included.
_LINE_BYTES = 70


def manifest(jars: list[str]) -> str:
    """The manifest's text: lines are folded as the jar format wants it."""
    values = {
        "Manifest-Version": "1.0",
        "Main-Class": MAIN_CLASS,
        "Add-Opens": ADD_OPENS,
        "Class-Path": " ".join(jars),
    }
    return "".join(_fold(f"{name}: {value}") for name, value in values.items())


def _fold(line: str) -> str:
    wrapper = textwrap.TextWrapper(_LINE_BYTES, drop_whitespace=False, break_on_hyphens=False)
    return "\r\n ".join(wrapper.wrap(line)) + "\r\n"


def main(folder: Path) -> None:
    """Writes the jar into a folder with jars."""
    target = folder / "flink-job-server.jar"
    jars = sorted(path.name for path in folder.glob("*.jar") if path != target)
    with zipfile.ZipFile(target, "w") as jar:
        # ZipInfo has a fixed date: the same jar each time.
        jar.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF"), manifest(jars))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
