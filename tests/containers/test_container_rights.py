"""What a step's container may do, sees and gets; how it is stopped."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path

import pytest
from container_engine import engine

from slimworks.pipeline.containers.backend import ContainerBackend, Surroundings
from slimworks.pipeline.containers.engine import SCRATCH, Engine, Mount, container_user
from slimworks.pipeline.containers.execution import TIMED_OUT, Call
from slimworks.pipeline.containers.ir import Container

pytestmark = [pytest.mark.container, pytest.mark.timeout(300)]

IMAGE = f"localhost/slimworks-pipeline:{os.environ.get('IMAGE_TAG', 'dev')}"
KEY = "tests-of-rights"


class Step:
    """Runs scripts as a step's container; keeps what they say."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.engine = Engine.find("auto")
        self.shared = Surroundings(KEY, self.engine.image_id(IMAGE), folder / "logs")
        self.lines: list[str] = []
        self.backend: ContainerBackend

    def run(self, script: str, **more: object) -> int:
        """Runs a script; `more` is of its Container."""
        container = Container(IMAGE, ("sh", "-c"), (script,), {})
        call = Call(
            "step", 1, dataclasses.replace(container, **more), self._folder / "outputs/step"
        )  # type: ignore[arg-type]
        call.folder.mkdir(parents=True, exist_ok=True)
        self.lines.clear()
        self.backend = ContainerBackend(self.engine, self.shared, self._hear)
        return self.backend.run(call)

    def _hear(self, step: str, line: str) -> None:
        self.lines.append(line)
        if line == "stop me":
            threading.Thread(target=self.backend.stop).start()


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


def test_it_is_an_ordinary_user_without_rights_or_network(step: Step) -> None:
    code = step.run(
        "id -u; grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status; ls /sys/class/net"
    )
    assert code == 0
    assert step.lines == [
        str(container_user()[0]), "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1", "lo",
    ]  # fmt: skip
    assert step.lines[0] != "0"


def test_it_writes_only_where_it_is_meant_to(step: Step, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "photo").write_text("pixels")
    data.chmod(0o777)
    step.shared = dataclasses.replace(step.shared, mounts=[Mount(str(data), str(data))])
    output = tmp_path / "outputs/step/result"
    script = (
        f"cat {data}/photo; touch {data}/other; touch /opt/other; touch /tmp/a $TMPDIR/b $HOME/c; "
        f"echo; echo $TMPDIR; cat {data}/photo > {output}"
    )
    assert step.run(script) == 0
    text = "\n".join(step.lines)
    assert text.count("Read-only file system") == 2
    assert step.lines[-1] == SCRATCH
    assert output.read_text() == "pixels"
    assert [path.name for path in data.iterdir()] == ["photo"]
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["step"], "scratch is gone"


def test_limits_hold(step: Step) -> None:
    assert step.run(
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; "
        "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us; true",
        memory_bytes=256 * 2**20, cpus=0.5,
    ) == 0  # fmt: skip
    assert step.lines[0] == str(256 * 2**20)
    assert step.lines[1].split()[0] == "50000"


def test_too_much_memory_ends_it(step: Step) -> None:
    code = step.run("exec python -c 'b = bytearray(2**29); print(len(b))'", memory_bytes=64 * 2**20)
    assert code == 137
    assert step.lines == []


def test_secrets_arrive_and_are_in_no_list_of_processes(
    step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_KEY", "s3cret")
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "ca.pem").write_text("pem")
    folder.chmod(0o755)
    step.shared = dataclasses.replace(step.shared, secret_folders={"tls": str(folder)})
    code = step.run(
        "printf '%s\\n' $STORE_KEY; cat /etc/tls/ca.pem",
        secret_variables=(("store", "key", "STORE_KEY"),), secret_folders=(("tls", "/etc/tls"),),
    )  # fmt: skip
    assert (code, step.lines) == (0, ["s3cret", "pem"])


def test_a_step_that_takes_too_long_is_asked_to_end(step: Step) -> None:
    code = step.run(
        "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.1; done",
        timeout_seconds=3,
    )
    assert (code, step.lines) == (TIMED_OUT, ["ready", "saved"])


def test_a_run_that_ends_stops_its_containers(step: Step, tmp_path: Path) -> None:
    # No exit code: podman 4.3 says 0 at times where it was itself asked to end. And in its first
    # moment it ends without handing the signal on: the container is then ended by `rm`, unheard.
    step.run("trap 'echo saved; exit 7' TERM; sleep 2; echo stop me; while :; do sleep 0.1; done")
    assert step.lines == ["stop me", "saved"]
    late = Call("late", 1, Container(IMAGE, ("true",), (), {}), tmp_path)
    assert step.backend.run(late) != 0, "nothing starts any more"


def test_what_a_killed_run_left_is_removed(step: Step) -> None:
    name = "slimworks-left-over"
    engine(
        "run", "--detach", "--name", name, "--no-healthcheck", "--network=none", "--label",
        f"slimworks.pipeline={KEY}", "--entrypoint", "sh", IMAGE, "-c",
        "trap 'exit 0' TERM; while :; do sleep 0.1; done",
    )  # fmt: skip
    assert step.engine.remove_leftovers("another") == 0
    assert step.engine.remove_leftovers(KEY) == 1
    assert name not in engine("ps", "--all", "--format", "{{.Names}}").stdout


def test_an_unknown_image_is_named(step: Step) -> None:
    from slimworks.components.errors import ConfigError

    with pytest.raises(ConfigError, match=r"^The container image localhost/none:1 is not on"):
        step.engine.image_id("localhost/none:1")
