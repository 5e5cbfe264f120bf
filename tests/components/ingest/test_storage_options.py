"""Options of file systems mean what they mean to Beam, and cost no import of it."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

import pytest
from apache_beam.options.pipeline_options import (
    HadoopFileSystemOptions,
    PipelineOptions,
    S3Options,
)

from slimworks.components.beam_options import hdfs_options, s3_options
from slimworks.components.errors import ConfigError

KINDS = pytest.mark.parametrize(
    ("options", "beams"), [(s3_options, S3Options), (hdfs_options, HadoopFileSystemOptions)]
)
Options = Callable[[Sequence[str]], Namespace]


def by_beam(beams: type[PipelineOptions], flags: Sequence[str]) -> dict[str, object]:
    found = PipelineOptions(list(flags)).view_as(beams).get_all_options(current_only=True)
    return dict(found)


@KINDS
def test_defaults_are_beams(options: Options, beams: type[PipelineOptions]) -> None:
    assert vars(options(["--runner=FlinkRunner", "--direct_num_workers=2"])) == by_beam(beams, [])


@KINDS
def test_every_option_of_beam_is_read_as_beam_does(
    options: Options, beams: type[PipelineOptions]
) -> None:
    defaults = by_beam(beams, [])
    switches = [name for name, default in defaults.items() if default is False]
    flags = ["--runner=FlinkRunner", *(f"--{name}" for name in switches)]
    for number, name in enumerate(sorted(set(defaults) - set(switches))):
        flags += [f"--{name}=v{number}"] if number % 2 else [f"--{name}", f"v{number}"]
    found = vars(options(flags))
    assert found == by_beam(beams, flags)
    assert all(found[name] != default for name, default in defaults.items())


@KINDS
def test_a_shortened_option_is_no_option(options: Options, beams: type[PipelineOptions]) -> None:
    flags = [f"--{name[:-1]}=x" for name in by_beam(beams, [])]
    assert vars(options(flags)) == by_beam(beams, flags) == by_beam(beams, [])


@pytest.mark.parametrize(
    ("options", "flag"), [(s3_options, "--s3_endpoint_url"), (hdfs_options, "--hdfs_host")]
)
def test_an_option_without_its_value(options: Options, flag: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options([flag])
    assert caught.value.cause == f"Wrong Beam flag: argument {flag}: expected one argument."
    assert caught.value.fix == "Correct data.beam_pipeline_args: see docs/engines.md."


_REACH = """
import sys
from slimworks.components.errors import DataError
from slimworks.components.ingest.storage import access
from slimworks.components.storage import remote
remote.RETRY_SECONDS = 0
access.configure(sys.argv[2:])
try:
    access.is_folder(sys.argv[1])
except DataError as error:
    assert "did not answer" in str(error), error
    assert "apache_beam" not in sys.modules
    print("unreachable")
"""


@pytest.mark.parametrize(
    ("uri", "flags"),
    [
        (
            "s3://bucket/photos",
            [
                *("--s3_endpoint_url=http://127.0.0.1:9", "--s3_region_name=x"),
                *("--s3_access_key_id=a", "--s3_secret_access_key=b"),
            ],
        ),
        ("hdfs://photos", ["--hdfs_host=127.0.0.1", "--hdfs_port=9", "--hdfs_user=a"]),
    ],
)
def test_s3_and_hdfs_are_reached_without_importing_beam(uri: str, flags: list[str]) -> None:
    program = [sys.executable, "-c", _REACH, uri, *flags]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "unreachable\n"), done.stderr[-2000:]
