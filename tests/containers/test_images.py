"""The images as they are built: who runs in them, what is in them and what is not."""

from __future__ import annotations

import datetime
import json
import re

import container_engine
import pytest
from container_engine import engine, inspect, run

import slimworks

pytestmark = [pytest.mark.container, pytest.mark.timeout(1800)]

NAMES = ("client", "pipeline", "serving-embedded")
IN_PYTHON = """\
import importlib.metadata, json
found = {d.metadata["Name"].lower().replace("_", "-").replace(".", "-"): d.version
         for d in importlib.metadata.distributions()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    built = container_engine.build_images(*NAMES)
    return dict(zip(NAMES, built, strict=True))


@pytest.fixture(params=NAMES)
def image(request: pytest.FixtureRequest, images: dict[str, str]) -> str:
    return images[request.param]


def test_labels_say_what_the_image_is(image: str) -> None:
    config = inspect(image)["Config"]
    labels = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in config["Labels"].items()
    }
    assert labels["version"] == slimworks.__version__
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["revision"])
    assert datetime.datetime.fromisoformat(labels["created"])
    assert labels["licenses"].startswith("Apache-2.0")
    assert labels["title"] in image
    assert {"source", "description"} <= labels.keys()
    assert config["User"] == "10001"


def test_a_second_build_takes_what_is_there(images: dict[str, str]) -> None:
    before = inspect(images["pipeline"])["Id"]
    assert container_engine.build_images("pipeline") == [images["pipeline"]]
    assert inspect("localhost/slimworks-pipeline:dev")["Id"] == before


@pytest.mark.parametrize("user", ["10001:10001", "54321:0", "54321:54321"])
def test_runs_as_any_user_on_a_read_only_root(image: str, user: str) -> None:
    command = "id -u; slimworks --version; touch /tmp/file && ! touch /opt/file 2>&1"
    printed = run(
        image, "sh", "-ec", command,
        options=(f"--user={user}", "--read-only", "--tmpfs=/tmp", "--cap-drop=all",
                 "--security-opt=no-new-privileges"),
    )  # fmt: skip
    assert printed.startswith(f"{user.split(':')[0]}\nslimworks, version {slimworks.__version__}\n")
    assert "Read-only file system" in printed


def test_a_random_user_of_group_0_may_write_home_and_workspace(images: dict[str, str]) -> None:
    run(images["pipeline"], "sh", "-ec", "touch ~/a /workspace/a", options=("--user=54321",))


def test_no_build_tools_and_no_package_lists(image: str) -> None:
    command = (
        "for tool in gcc g++ cc c++ make ld pip pip3 uv git curl wget; do command -v $tool; done;"
        " ls /opt/build /installed /wheel /source 2>/dev/null;"
        " ls /var/lib/apt/lists /var/cache/apt 2>/dev/null;"
        " ls -d /opt/slimworks/lib/python3*/site-packages/pip /usr/lib/python3*/ensurepip"
        " /opt/slimworks/lib/python3*/site-packages/tensorflow/include 2>/dev/null; true"
    )
    assert run(image, "sh", "-c", command).replace("/var/lib/apt/lists:\n", "").strip() == ""


def test_nothing_of_the_building_machine_stays(image: str) -> None:
    names = {line.split("=")[0] for line in inspect(image)["Config"]["Env"]}
    assert not [name for name in names if re.search("PROXY|PIP_|UV_|SSL|CERT|INDEX", name)]
    command = (
        "ls -A /run/secrets /usr/local/share/ca-certificates 2>/dev/null;"
        " find / -xdev ( -name pip.conf -o -name uv.toml -o -name .netrc ) 2>/dev/null; true"
    )
    found = run(image, "sh", "-c", command.replace("(", r"\(").replace(")", r"\)"))
    assert not [line for line in found.splitlines() if line and not line.endswith(":")]
    bundle = run(image, "cat", "/etc/ssl/certs/ca-certificates.crt")
    texts = run(image, "sh", "-c", "cat /usr/share/ca-certificates/mozilla/*.crt")
    assert _certificates(bundle) == _certificates(texts)


def _certificates(text: str) -> set[str]:
    return set(re.findall("-----BEGIN CERTIFICATE-----[^-]+", text))


def test_sbom_names_every_package_that_is_installed(image: str) -> None:
    bill = json.loads(run(image, "cat", "/sbom.cdx.json"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    parts = {p["purl"]: p for p in bill["components"] if "purl" in p}
    assert len(parts) == len([p for p in bill["components"] if p["type"] == "library"])
    python = {p["name"]: p["version"] for u, p in parts.items() if u.startswith("pkg:pypi/")}
    assert python == json.loads(run(image, "/opt/slimworks/bin/python", "-c", IN_PYTHON))
    listed = run(image, "dpkg-query", "-W", "-f", "${Package} ${Version}\n").splitlines()
    debian = {(p["name"], p["version"]) for u, p in parts.items() if u.startswith("pkg:deb/")}
    assert debian == {tuple(line.split()) for line in listed}


def test_sbom_of_the_pipeline_names_tensorflow(images: dict[str, str]) -> None:
    bill = json.loads(run(images["pipeline"], "cat", "/sbom.cdx.json"))
    versions = {part["name"]: part["version"] for part in bill["components"]}
    assert versions["tensorflow"].startswith("2.16.")
    assert versions["mlflow-skinny"]
    assert versions["python3"].startswith("3.11.")


def test_licences_of_every_package_are_there(image: str) -> None:
    rows = [line.split("\t") for line in run(image, "cat", "/licenses/licences.tsv").splitlines()]
    bill = json.loads(run(image, "cat", "/sbom.cdx.json"))
    python = {p["name"] for p in bill["components"] if p.get("purl", "").startswith("pkg:pypi")}
    assert {row[0] for row in rows[1:]} == python
    assert [row for row in rows if not row[2].strip()] == []
    # BSD and MIT by name only: their authors ship no text.
    textless = {row[0] for row in rows[1:] if row[3] == "0"}
    assert textless <= {"ipython-genutils", "pickleshare"}
    assert "GNU" in run(image, "cat", "/licenses/debian/bash/copyright")


FIND_STALE = """\
import importlib.util, pathlib, sysconfig
packages, library = (pathlib.Path(sysconfig.get_paths()[name]) for name in ("purelib", "stdlib"))
sources = list(library.glob("*.py"))
for name in ("slimworks", "tensorflow/python", "tfx"):
    sources += (packages / name).rglob("*.py")
stale = []
for source in sources:
    compiled = pathlib.Path(importlib.util.cache_from_source(source))
    head = compiled.read_bytes()[4:16] if compiled.exists() else b""
    if head != b"\\1\\0\\0\\0" + importlib.util.source_hash(source.read_bytes()):
        stale.append(str(source))
print(len(sources), stale)
"""


def test_compiled_modules_hold_without_their_times(images: dict[str, str]) -> None:
    """Layers may change a file's time; a module compiled anew costs seconds at each start."""
    num_sources, stale = run(images["pipeline"], "python", "-c", FIND_STALE).split(" ", 1)
    assert int(num_sources) > 2000
    assert stale == "[]\n"


def test_health_check_of_the_pipeline_needs_a_writable_workspace(images: dict[str, str]) -> None:
    facts = inspect(images["pipeline"])  # podman tells it beside Config, docker in it
    check = {**facts["Config"], **facts}["Healthcheck"]["Test"][1:]
    assert "ok   tensorflow: 2.16" in run(images["pipeline"], *check)
    failed = run(images["pipeline"], *check, options=("--read-only",), check=False)
    assert "FAIL write permission: /workspace" in failed


SILENT_SERVER = """\
import socket, threading
server = socket.create_server(("127.0.0.1", 8500))
connection, _ = server.accept()
print("asked", flush=True)
threading.Event().wait()
"""
ASK = """\
python -c "from PIL import Image; Image.new('RGB', (8, 8)).save('/tmp/photo.png')"
python -c "$SILENT_SERVER" &
exec slimworks predict /tmp/photo.png --server 127.0.0.1:8500 --timeout 300
"""


def test_process_1_ends_by_sigterm(images: dict[str, str]) -> None:
    options = ("--network=none", f"--env=SILENT_SERVER={SILENT_SERVER}")
    with container_engine.started(images["client"], "sh", "-ec", ASK, options=options) as name:
        container_engine.wait_for_text(name, "asked")
        engine("stop", "--time=60", name)
        assert inspect(name)["State"]["ExitCode"] == 143  # SIGKILL would be 137
