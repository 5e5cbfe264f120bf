"""TFX's portable launcher for a workspace in a bucket: fetches before a step, stores after it.

Outputs are stored before ML Metadata hears of success: a published artifact is in the bucket.
"""

from __future__ import annotations

from typing import Any

from tfx.orchestration.portable import launcher

from slimworks.components.trainer.executor import work_folder
from slimworks.pipeline.kubeflow.bucket import Bucket


class _Driver:
    """A driver operator that first fetches what the driver looks at."""

    def __init__(self, operator: Any, bucket: Bucket) -> None:
        self._operator, self._bucket = operator, bucket

    def run_driver(self, info: Any) -> Any:
        places = [artifact.uri for group in info.input_dict.values() for artifact in group]
        self._bucket.before_driver(_node(info), places, info.exec_properties)
        return self._operator.run_driver(info)


class BucketLauncher(launcher.Launcher):
    """The launcher, around whose driver and executor files come and go."""

    def __init__(self, bucket: Bucket, **arguments: Any) -> None:
        """Takes the bucket, and the arguments of TFX's launcher."""
        super().__init__(**arguments)
        self._bucket = bucket
        if self._driver_operator is not None:
            self._driver_operator = _Driver(  # type: ignore[assignment]  # TFX has no hook
                self._driver_operator, bucket
            )

    def launch(self) -> Any:
        """Runs the node."""
        self._bucket.before_launch(str(self._pipeline_node.node_info.id))
        return super().launch()

    def _run_executor(self, info: Any) -> Any:
        node, bucket = _node(info), self._bucket
        inputs = {key: [a.uri for a in group] for key, group in info.input_dict.items()}
        bucket.before_executor(node, inputs, info.exec_properties)
        if node == "trainer":
            names = ("examples", "transform_graph", "label_map")
            bucket.fetch_unfinished(
                work_folder(info.exec_properties, *(inputs[name][0] for name in names))
            )
        try:
            output = super()._run_executor(info)
            outputs = [a.uri for group in info.output_dict.values() for a in group]
            bucket.after_executor(node, outputs)
        except BaseException:  # SIGTERM, too: the trainer has written a checkpoint
            bucket.keep_unfinished()
            raise
        return output


def _node(info: Any) -> str:
    return str(info.pipeline_node.node_info.id)
