"""What we ask the Kubeflow Pipelines API (v2beta1) for: versions, runs, schedules."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slimworks
from slimworks.components.errors import ConfigError, nearest
from slimworks.pipeline.kubeflow.config import KubeflowConfig
from slimworks.pipeline.kubeflow.connection import Connection
from slimworks.pipeline.kubeflow.cron import Cron

if TYPE_CHECKING:
    from slimworks.pipeline.kubeflow.compiling import Compiled


class Server:
    """The API of one Kubeflow; every method raises ConfigError where it refuses or is silent."""

    def __init__(self, config: KubeflowConfig, connection: Connection) -> None:
        """Connects to nothing yet.

        Args:
            config: Namespace, experiment, service account.
            connection: To its API.
        """
        import kfp_server_api

        self._config, self._connection = config, connection
        self._api = kfp_server_api
        self._pipelines = kfp_server_api.PipelineServiceApi(connection.client)
        self._uploads = kfp_server_api.PipelineUploadServiceApi(connection.client)
        self._experiments = kfp_server_api.ExperimentServiceApi(connection.client)
        self._runs = kfp_server_api.RunServiceApi(connection.client)
        self._schedules = kfp_server_api.RecurringRunServiceApi(connection.client)

    @property
    def host(self) -> str:
        """Its address."""
        return self._connection.host

    # --- Versions -----------------------------------------------------------------------------

    def upload(self, compiled: Compiled) -> Any:
        """Returns the version that holds a compiled pipeline; uploads it where there is none."""
        pipeline_id = self._pipeline_id(compiled.name)
        digest = hashlib.sha256(compiled.text.encode("utf-8")).hexdigest()[:12]
        name = f"{slimworks.__version__}-{digest}"
        versions = self._connection.pages(
            self._pipelines.pipeline_service_list_pipeline_versions,
            "pipeline_versions",
            pipeline_id=pipeline_id,
        )
        for version in versions:
            if version.display_name == name:
                return version
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(compiled.text, encoding="utf-8")
            return self._connection.write(
                self._uploads.upload_pipeline_version,
                uploadfile=str(path),
                name=name,
                pipelineid=pipeline_id,
            )

    def _pipeline_id(self, name: str) -> str:
        where = self._where()
        found = self._connection.find(
            self._pipelines.pipeline_service_get_pipeline_by_name, name=name, **where
        )
        if found is None:
            body = self._api.V2beta1Pipeline(display_name=name, **where)
            found = self._connection.write(self._pipelines.pipeline_service_create_pipeline, body)
        return str(found.pipeline_id)

    def _experiment_id(self, name: str) -> str:
        where = self._where()
        listed = self._experiments.experiment_service_list_experiments
        for experiment in self._connection.pages(listed, "experiments", **where):
            if experiment.display_name == name:
                return str(experiment.experiment_id)
        body = self._api.V2beta1Experiment(display_name=name, **where)
        made = self._connection.write(self._experiments.experiment_service_create_experiment, body)
        return str(made.experiment_id)

    # --- Runs ---------------------------------------------------------------------------------

    def start(self, version: Any, pipeline: str, parameters: dict[str, Any], name: str = "") -> Any:
        """Starts a run of a version and returns it.

        Args:
            version: From `upload`.
            pipeline: Name of the experiment, where `kubeflow.experiment` names none.
            parameters: Of the run (compiling.PARAMETERS); the others keep their defaults.
            name: Shown in the UI; the pipeline's by default.
        """
        body = self._api.V2beta1Run(
            display_name=name or pipeline,
            experiment_id=self._experiment_id(self._config.experiment or pipeline),
            **self._of_version(version, parameters),
        )
        return self._connection.write(self._runs.run_service_create_run, body)

    def runs(self, limit: int) -> list[Any]:
        """The newest runs, oldest first."""
        found = self._connection.pages(
            self._runs.run_service_list_runs, "runs", sort_by="created_at desc", **self._where()
        )
        return [run for run, _ in zip(found, range(limit), strict=False)][::-1]

    def run(self, run_id: str) -> Any:
        """One run with its steps. Raises ConfigError where there is none of that id."""
        found = self._connection.find(self._runs.run_service_get_run, run_id=run_id)
        if found is None:
            raise ConfigError(
                f"Kubeflow has no run {run_id!r}.", "List them: slimworks runs --kubeflow"
            )
        return found

    def cancel(self, run_id: str) -> None:
        """Ends a run: its pods get SIGTERM, and a training writes its checkpoint."""
        self.run(run_id)
        self._connection.write(self._runs.run_service_terminate_run, run_id=run_id)

    # --- Schedules ----------------------------------------------------------------------------

    def schedules(self) -> list[Any]:
        """All schedules, by name."""
        listed = self._schedules.recurring_run_service_list_recurring_runs
        found = self._connection.pages(listed, "recurring_runs", **self._where())
        return sorted(found, key=lambda schedule: str(schedule.display_name))

    def schedule(self, name: str) -> Any:
        """One schedule by name or id. Raises ConfigError where none, or several, match."""
        schedules = self.schedules()
        found = [s for s in schedules if name in (s.display_name, s.recurring_run_id)]
        if len(found) != 1:
            names = [str(schedule.display_name) for schedule in schedules]
            what = "several schedules." if found else f"no schedule.{nearest(name, names)}"
            raise ConfigError(
                f"{name!r} names {what}",
                "List them with their ids: slimworks schedule list",
            )
        return found[0]

    def create_schedule(
        self,
        version: Any,
        pipeline: str,
        cron: Cron,
        parameters: dict[str, Any],
        name: str = "",
    ) -> Any:
        """Repeats a run by the clock (UTC): one at a time, and none for times that were missed.

        Args:
            version: From `upload`.
            pipeline: Name of the experiment, where `kubeflow.experiment` names none.
            cron: When.
            parameters: Of each run (compiling.PARAMETERS); the others keep their defaults.
            name: Of the schedule; the pipeline's by default.

        Raises:
            ConfigError: A schedule of this name exists.
        """
        name = name or pipeline
        if any(schedule.display_name == name for schedule in self.schedules()):
            raise ConfigError(
                f"The schedule {name!r} exists.",
                f"Delete it first (slimworks schedule delete {name}), or give --name.",
            )
        trigger = self._api.V2beta1Trigger(
            cron_schedule=self._api.V2beta1CronSchedule(cron=cron.six_fields())
        )
        body = self._api.V2beta1RecurringRun(
            display_name=name,
            experiment_id=self._experiment_id(self._config.experiment or pipeline),
            trigger=trigger,
            mode=self._api.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,
            **self._of_version(version, parameters),
        )
        if self._config.namespace:
            body.namespace = self._config.namespace
        return self._connection.write(
            self._schedules.recurring_run_service_create_recurring_run, body
        )

    def pause_schedule(self, name: str) -> Any:
        """Starts no more runs until it is resumed."""
        found = self.schedule(name)
        pause = self._schedules.recurring_run_service_disable_recurring_run
        self._connection.write(pause, recurring_run_id=found.recurring_run_id)
        return found

    def resume_schedule(self, name: str) -> Any:
        """Starts runs again, from the next time on."""
        found = self.schedule(name)
        resume = self._schedules.recurring_run_service_enable_recurring_run
        self._connection.write(resume, recurring_run_id=found.recurring_run_id)
        return found

    def delete_schedule(self, name: str) -> Any:
        """Removes it; its runs stay."""
        found = self.schedule(name)
        delete = self._schedules.recurring_run_service_delete_recurring_run
        self._connection.write(delete, recurring_run_id=found.recurring_run_id)
        return found

    def _where(self) -> dict[str, str]:
        return {"namespace": self._config.namespace} if self._config.namespace else {}

    def _of_version(self, version: Any, parameters: dict[str, Any]) -> dict[str, Any]:
        """What a run and a schedule have in common."""
        value = {
            "pipeline_version_reference": self._api.V2beta1PipelineVersionReference(
                pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
            ),
            "runtime_config": self._api.V2beta1RuntimeConfig(parameters=parameters),
        }
        if self._config.service_account:
            value["service_account"] = self._config.service_account
        return value
