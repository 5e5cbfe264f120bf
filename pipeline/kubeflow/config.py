"""The `kubeflow` section: where the pipeline runs on a cluster, and what each step gets there."""

from __future__ import annotations

import re
from typing import Literal

import pydantic
from pydantic import Field

import slimworks
from slimworks.components.errors import ConfigError, nearest
from slimworks.components.settings import Settings

# What is not set for a step, nor for `default`.
PASSWORD_VARIABLE = "SLIMWORKS_METADATA_PASSWORD"  # of kubeflow.metadata, from its secret
RETRIES, BACKOFF_SECONDS, BACKOFF_FACTOR, MAX_BACKOFF_SECONDS = 2, 30, 2.0, 600
GPU_TYPE = "nvidia.com/gpu"

# `default`, dag.NODES and the exit handler.
STEPS = (
    "default", "ingest", "statistics", "schema", "validation", "transform", "trainer", "baseline",
    "evaluator", "gate", "replay", "pusher", "report",
)  # fmt: skip

_CPU = re.compile(r"(\d*\.)?\d+m?")
_MEMORY = re.compile(r"\d+([EPTGMK]i?)?")
_BUCKET = re.compile(r"(s3|gs)://[^/]+(/.*)?")
_PORTS = {"mysql": 3306, "postgresql": 5432, "grpc": 8080}


class Toleration(Settings):
    """A taint that a step's pod tolerates, in Kubernetes' words."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoExecute", "NoSchedule", "PreferNoSchedule"] = ""


class StepConfig(Settings):
    """What one step's pod gets; null: as in the step `default`."""

    cpu: str | None = Field(None, description="Cores requested: 4, 500m.")
    cpu_limit: str | None = Field(None, description="Cores at most.")
    memory: str | None = Field(None, description="Memory requested, and the limit: 8Gi.")
    gpus: Literal[0, 1, 2, 4, 8, 16] | None = Field(None, description="GPUs.")
    gpu_type: str | None = Field(None, description=f"Resource of the GPUs, {GPU_TYPE} by default.")
    node_selector: dict[str, str] | None = Field(None, description="Labels of the node.")
    tolerations: list[Toleration] | None = Field(None, description="Taints tolerated.")
    retries: int | None = Field(None, ge=0, le=10, description="Tries after the first.")
    backoff_seconds: int | None = Field(
        None, ge=0, le=3600, description="Pause before the first retry."
    )
    backoff_factor: float | None = Field(None, ge=1, description="Each pause is so much longer.")
    max_backoff_seconds: int | None = Field(
        None, ge=0, le=3600, description="Longest pause; Kubeflow allows an hour."
    )
    cache: bool | None = Field(
        None, description="Whether an earlier run's result is taken where nothing changed."
    )
    timeout_seconds: int | None = Field(
        None, ge=1, description="The pod is killed after so long; by default never."
    )

    @pydantic.field_validator("cpu", "cpu_limit", mode="before")
    @classmethod
    def _cores(cls, given: object) -> str | None:
        text = None if given is None else str(given)  # 4 is a number in YAML, 500m is not
        if text is not None and not _CPU.fullmatch(text):
            raise ValueError(f"{text!r} is no number of cores: write 4, 0.5 or 500m.")
        return text

    @pydantic.field_validator("memory")
    @classmethod
    def _bytes(cls, text: str | None) -> str | None:
        if text is not None and not _MEMORY.fullmatch(text):
            raise ValueError(f"{text!r} is no amount of memory: write 8Gi or 512Mi.")
        return text

    def over(self, below: StepConfig) -> StepConfig:
        """The same, with what is not set here taken from `below`."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return below.model_copy(update={k: v for k, v in given.items() if v is not None})


_FALLBACK = StepConfig(
    gpus=0,
    gpu_type=GPU_TYPE,
    node_selector={},
    tolerations=[],
    retries=RETRIES,
    backoff_seconds=BACKOFF_SECONDS,
    backoff_factor=BACKOFF_FACTOR,
    max_backoff_seconds=MAX_BACKOFF_SECONDS,
    cache=True,
)


class SecretConfig(Settings):
    """A Kubernetes Secret that every step sees; its values are in no file of ours."""

    name: str = Field(description="Name of the Secret.")
    env: dict[str, str] = Field(
        default_factory=dict, description="Environment variable of each key: {key: VARIABLE}."
    )
    mount_path: str = Field("", description="Or the folder where its keys are files.")

    @pydantic.model_validator(mode="after")
    def _is_used(self) -> SecretConfig:
        if not self.env and not self.mount_path:
            raise ValueError(
                f"The secret {self.name} goes nowhere: give env ({{key: VARIABLE}}) or mount_path."
            )
        return self


class MetadataConfig(Settings):
    """Where ML Metadata is kept."""

    kind: Literal["sqlite", "mysql", "postgresql", "grpc"] = Field(
        "sqlite",
        description="sqlite: a file on the volume, for a volume of one node; mysql, postgresql: "
        "a database; grpc: a server of ML Metadata.",
    )
    host: str = Field("", description="Host of the database or server.")
    port: int = Field(0, ge=0, le=65_535, description="0: the kind's own.")
    database: str = Field("slimworks", description="Database; it must exist.")
    user: str = Field("slimworks", description="Account.")
    secret: str = Field("", description="Secret that holds the account's password.")
    secret_key: str = Field("password", description="Its key.")

    @pydantic.model_validator(mode="after")
    def _has_host(self) -> MetadataConfig:
        if self.kind != "sqlite" and not self.host:
            raise ValueError(f"kubeflow.metadata.kind is {self.kind}, and it has no host.")
        return self

    @property
    def resolved_port(self) -> int:
        """The port, or the kind's own."""
        return self.port or _PORTS[self.kind]


class KubeflowConfig(Settings):
    """How the pipeline runs on Kubeflow."""

    image: str = Field(
        f"localhost/slimworks-pipeline:{slimworks.__version__}",
        description="Container image of every node; this version's by default, as `make images` "
        "names it.",
    )
    workspace: str = Field(
        "/workspace",
        description="Folder where the shared volume is mounted in each container; or "
        "s3://BUCKET/PREFIX or gs://BUCKET/PREFIX: no volume, artifacts and state are there.",
    )
    scratch: str = Field(
        "/workspace",
        description="Folder of a step's own files, where the workspace is in a bucket.",
    )
    scratch_size: str = Field(
        "", description="Most that a step may have there: 100Gi; empty: what the node has."
    )
    volume_claim: str = Field("slimworks", description="PersistentVolumeClaim of the workspace.")
    models_claim: str = Field(
        "", description="Claim of push.base_path, where that is a folder outside the workspace."
    )
    metadata: MetadataConfig = Field(
        default_factory=MetadataConfig, description="Where ML Metadata is kept."
    )
    steps: dict[str, StepConfig] = Field(
        default_factory=dict,
        description="What the steps' pods get, by step; `default` holds for all. Keys: cpu, "
        "cpu_limit, memory, gpus, gpu_type, node_selector, tolerations, retries, "
        "backoff_seconds, backoff_factor, max_backoff_seconds, cache, timeout_seconds.",
    )
    secrets: list[SecretConfig] = Field(
        default_factory=list, description="Secrets that every step sees."
    )
    image_pull_secrets: list[str] = Field(
        default_factory=list, description="Secrets of the image's registry."
    )
    plain: bool = Field(
        False,
        description="Leaves out the exit handler and the condition on the push, which `kfp.local` "
        "cannot run.",
    )
    host: str = Field("", description="Address of the Kubeflow Pipelines API: https://HOST.")
    namespace: str = Field("", description="Namespace of a multi-user Kubeflow; else empty.")
    experiment: str = Field("", description="Experiment of the runs; empty: the pipeline's name.")
    service_account: str = Field("", description="Service account of the runs' pods.")
    ca_path: str = Field("", description="Certificates (PEM) that sign the API's own.")
    timeout_seconds: int = Field(30, ge=1, description="Wait so long for an answer of the API.")

    @property
    def is_in_bucket(self) -> bool:
        """Whether the workspace is in an object store."""
        return "://" in self.workspace

    @property
    def folder(self) -> str:
        """Where the containers see the workspace, or what they have of it."""
        return self.scratch if self.is_in_bucket else self.workspace

    def step(self, name: str) -> StepConfig:
        """What a step gets, with every default filled in."""
        default = self.steps.get("default", StepConfig()).over(_FALLBACK)
        return self.steps.get(name, StepConfig()).over(default)

    @pydantic.field_validator("steps")
    @classmethod
    def _are_steps(cls, steps: dict[str, StepConfig]) -> dict[str, StepConfig]:
        for name in steps:
            if name not in STEPS:
                raise ConfigError(
                    f"kubeflow.steps.{name}: there is no such step.{nearest(name, STEPS)}",
                    f"Steps: {', '.join(STEPS)}.",
                )
        return steps

    @pydantic.field_validator("workspace")
    @classmethod
    def _is_place(cls, workspace: str) -> str:
        if "://" in workspace and not _BUCKET.fullmatch(workspace):
            raise ConfigError(
                f"kubeflow.workspace is {workspace!r}: artifacts can be on a volume, on S3 or on "
                "GCS.",
                "Give the folder of a volume, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.",
            )
        return workspace.rstrip("/") or "/"

    @pydantic.field_validator("scratch")
    @classmethod
    def _is_absolute(cls, scratch: str) -> str:
        if not re.match(r"/[^/]", scratch):
            raise ValueError(f"kubeflow.scratch is {scratch!r}, expected an absolute path.")
        return scratch.rstrip("/")

    @pydantic.field_validator("scratch_size")
    @classmethod
    def _is_size(cls, text: str) -> str:
        if text and not _MEMORY.fullmatch(text):
            raise ValueError(f"kubeflow.scratch_size is {text!r}: write 100Gi.")
        return text

    @pydantic.model_validator(mode="after")
    def _bucket_has_database(self) -> KubeflowConfig:
        if self.is_in_bucket and self.metadata.kind == "sqlite":
            raise ConfigError(
                f"kubeflow.workspace is {self.workspace}, and ML Metadata is a SQLite file, which "
                "a bucket cannot hold.",
                "Name a database: kubeflow.metadata.kind mysql, postgresql or grpc, and its host.",
            )
        return self

    @pydantic.field_validator("host")
    @classmethod
    def _is_address(cls, host: str) -> str:
        if host and not re.match(r"https?://[^/]", host):
            raise ValueError(f"kubeflow.host is {host!r}, expected https://HOST.")
        return host.rstrip("/")
