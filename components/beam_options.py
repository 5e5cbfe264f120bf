"""Beam flags: the default runner, and what the flags ask for, without importing Beam."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from typing import NoReturn

from slimworks.components.errors import ConfigError, nearest

# Named because Beam's own default (DirectRunner) first tries to download and start the Prism
# binary, and only then falls back to this one.
DEFAULT_RUNNER = "FnApiRunner"

IN_MEMORY, MULTI_THREADING, MULTI_PROCESSING = "in_memory", "multi_threading", "multi_processing"
_RUNNERS = (
    "DataflowRunner", "DirectRunner", "FlinkRunner", "FnApiRunner", "PortableRunner", "PrismRunner",
    "SparkRunner",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RunnerFlags:
    """What the flags say about where work runs.

    Attributes:
        runner: Beam's name for it, such as "FlinkRunner", or a dotted path of the user's own.
        num_workers: Of the local runner.
        running_mode: Of the local runner: one of the constants above.
        others: The remaining flags, as they came.
    """

    runner: str
    num_workers: int
    running_mode: str
    others: tuple[str, ...]

    @property
    def is_local(self) -> bool:
        """Whether this machine does the work, without a job server."""
        return self.runner == DEFAULT_RUNNER

    def beam_flags(self) -> list[str]:
        """The flags for Beam itself, with the runner that they mean."""
        local = [
            f"--direct_num_workers={self.num_workers}",
            f"--direct_running_mode={self.running_mode}",
        ]
        return [f"--runner={self.runner}", *(local if self.is_local else ()), *self.others]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(
            f"Wrong Beam flag: {message}.", "Correct data.beam_pipeline_args: see docs/engines.md."
        )


def parse_flags(beam_pipeline_args: Sequence[str]) -> RunnerFlags:
    """Reads the flags that choose a runner.

    Raises:
        ConfigError: Not a flag, an unknown runner, or a value that does not fit.
    """
    for argument in beam_pipeline_args[:1]:
        if not argument.startswith("--"):
            raise ConfigError(
                f"data.beam_pipeline_args: {argument!r} is no Beam flag.",
                "Begin each with two dashes, such as --direct_num_workers=2.",
            )
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner", default=DEFAULT_RUNNER)
    parser.add_argument("--direct_num_workers", type=int, default=1)
    parser.add_argument(
        "--direct_running_mode",
        choices=(IN_MEMORY, MULTI_THREADING, MULTI_PROCESSING),
        default=IN_MEMORY,
    )
    flags, others = parser.parse_known_args(list(beam_pipeline_args))
    if flags.direct_num_workers < 0:
        raise ConfigError(
            f"--direct_num_workers is {flags.direct_num_workers}, expected 0 (one a core) or more.",
            "Write --direct_num_workers=2, for example.",
        )
    num_workers = flags.direct_num_workers or os.cpu_count() or 1
    return RunnerFlags(_runner(flags.runner), num_workers, flags.direct_running_mode, tuple(others))


def s3_options(beam_pipeline_args: Sequence[str]) -> argparse.Namespace:
    """Beam's S3Options; other flags are passed over.

    Raises:
        ConfigError: A value is missing.
    """
    values = ("access_key_id", "secret_access_key", "session_token", "endpoint_url", "region_name")
    names = [f"s3_{name}" for name in (*values, "api_version", "verify")]
    return _file_system_options(beam_pipeline_args, names, "s3_disable_ssl")


def hdfs_options(beam_pipeline_args: Sequence[str]) -> argparse.Namespace:
    """Beam's HadoopFileSystemOptions; other flags are passed over.

    Raises:
        ConfigError: A value is missing.
    """
    names = ("hdfs_host", "hdfs_port", "hdfs_user")
    return _file_system_options(beam_pipeline_args, names, "hdfs_full_urls")


def _file_system_options(
    beam_pipeline_args: Sequence[str], names: Sequence[str], switch: str
) -> argparse.Namespace:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}")
    parser.add_argument(f"--{switch}", action="store_true")
    return parser.parse_known_args(list(beam_pipeline_args))[0]


def _runner(name: str) -> str:
    """Beam's own spelling: it takes any case, and the name without `Runner`."""
    known = {runner.lower(): runner for runner in _RUNNERS}
    found = known.get(name.lower()) or known.get(f"{name}runner".lower())
    if found is None and "." not in name:
        raise ConfigError(
            f"--runner={name} is no runner.{nearest(name, _RUNNERS)}",
            f"Runners: {', '.join(_RUNNERS)}.",
        )
    return DEFAULT_RUNNER if found == "DirectRunner" else found or name


def with_default_runner(beam_pipeline_args: Sequence[str]) -> list[str]:
    """Beam's flags, with the local runner named where they name none.

    Raises:
        ConfigError: As `parse_flags`.
    """
    return parse_flags(beam_pipeline_args).beam_flags()
