"""One node of the pipeline as a command: what a container on Kubeflow runs.

    python -m slimworks.pipeline.run_node --node trainer --run-id ID --config JSON --data SOURCE

The same launcher as the local runner's; the exit code says what became of the node: 0 ran,
reused or skipped, else the code of its error. The node `report` is the exit handler: it writes
the run's report.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from slimworks.components import files
from slimworks.components.errors import EXIT_INTERRUPTED, ConfigError, SlimWorksError
from slimworks.components.terminal_text import shown
from slimworks.pipeline import dag, launcher, tfx_import
from slimworks.pipeline.config import PipelineConfig, load_values, parse_config
from slimworks.pipeline.facts import RunFacts
from slimworks.pipeline.kubeflow import compiling, finishing, outputs
from slimworks.pipeline.kubeflow.bucket import Bucket, open_bucket
from slimworks.pipeline.paths import PipelinePaths


def run_config(
    settings: Mapping[str, Any], data: str, overrides: list[str], window: int
) -> PipelineConfig:
    """The configuration of one run from the parameters of the compiled pipeline.

    Args:
        settings: The compiled configuration, nested.
        data: Source of the images; empty: the configuration's.
        overrides: `section.key=value`, as with --set.
        window: Newest spans to use; 0: as configured.

    Raises:
        ConfigError: A wrong value, or an override that is no text.
    """
    if not all(isinstance(override, str) for override in overrides):
        raise ConfigError(
            f"The parameter overrides is {json.dumps(overrides)}, expected a list of texts.",
            'Write it like ["train.epochs=5"].',
        )
    values = load_values(settings, overrides, data or None)
    if window:
        values.setdefault("data", {})["window"] = window
    return parse_config(values)


def build_ir(config: PipelineConfig, graph: str) -> Any:
    """Builds and compiles the pipeline; it must have the steps of the YAML.

    Args:
        config: The run's configuration.
        graph: `compiling.graph_digest` when the YAML was made.

    Raises:
        ConfigError: An override changed what waits for what.
    """
    tfx_import.load()
    locations = compiling.kubeflow_locations(config, config.name)
    ir = dag.compile_pipeline(dag.build_pipeline(config, config.name, locations))
    nodes = {n.pipeline_node.node_info.id: sorted(n.pipeline_node.upstream_nodes) for n in ir.nodes}
    if compiling.graph_digest(nodes) != graph:
        raise ConfigError(
            "The run's parameters change which step waits for which (retrain.when and its "
            "triggers do), or the image has another SlimWorks than the one that compiled.",
            "Compile with these settings: slimworks compile --set ...",
        )
    return ir


def main() -> None:
    """Launches the node named on the command line."""
    # A pod that is to go: a trainer ends its step and writes a checkpoint.
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = _parse()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        error = _run(arguments)
    except KeyboardInterrupt:
        _end(EXIT_INTERRUPTED)
    except SlimWorksError as fault:
        error = launcher.describe_fault(fault)
    if error is not None:
        print(shown("\n".join(launcher.error_lines(error))), file=sys.stderr)  # noqa: T201
    _end(int(error["exit_code"]) if error else 0)


def _interrupt(signum: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", required=True)
    parser.add_argument("--graph", required=True, help="digest of the compiled steps")
    parser.add_argument("--run-id", required=True, help="Kubeflow's id of the run")
    parser.add_argument("--run-name", default="", help="takes the id's place: resumes that run")
    parser.add_argument("--config", required=True, type=json.loads, help="settings as JSON")
    parser.add_argument("--data", required=True, help="source of the images")
    parser.add_argument("--overrides", type=json.loads, default=[], help='["train.epochs=5"]')
    parser.add_argument("--window", type=int, default=0, help="newest spans; 0: as configured")
    parser.add_argument("--no-cache", action="store_true", help="take no earlier run's result")
    parser.add_argument("--executor-input", type=json.loads, help="Kubeflow's ExecutorInput")
    for name in ("metrics", "confusion-matrix", "table", outputs.OUTCOME, "report-page"):
        parser.add_argument(f"--{name}", type=Path, help="output file, given by Kubeflow")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Runs the node; returns the error that ended it."""
    config = run_config(arguments.config, arguments.data, arguments.overrides, arguments.window)
    run_id = arguments.run_name or arguments.run_id
    paths = PipelinePaths(Path(config.kubeflow.folder), config.name)
    bucket = open_bucket(config, paths)
    tfx_import.load()
    from slimworks.pipeline import metadata

    connection = metadata.connect(config.kubeflow.metadata, paths.metadata)
    if config.kubeflow.metadata.kind != "sqlite":
        metadata.check_reachable(config.kubeflow.metadata, connection)
    if arguments.node == outputs.REPORT:
        if bucket is not None:
            bucket.fetch_run(RunFacts.collect(paths, run_id, connection))
        outcome = finishing.finish(config, paths, run_id, connection)
        if bucket is not None:
            bucket.store_run(run_id)
        _show_report(arguments, outcome.report)
        return None
    ir = build_ir(config, arguments.graph)
    launcher.bind_run_id(ir, run_id)
    if arguments.no_cache:
        for node in ir.nodes:
            node.pipeline_node.execution_options.caching_options.enable_cache = False
    result_path = finishing.result_path(paths, run_id, arguments.node)
    result_path.unlink(missing_ok=True)  # an earlier try's
    if bucket is not None:
        bucket.drop_run_file(run_id, result_path)
    with connection as handle:
        metadata.abandon_unfinished(handle.store, paths.name, (arguments.node,), run_id)
    result = launcher.launch_node(ir, arguments.node, connection, bucket)
    finishing.write_result(paths, run_id, result)
    if bucket is not None:
        bucket.store_run_file(run_id, result_path)
    print(json.dumps(result.to_json(), ensure_ascii=False))  # noqa: T201  # this command's output
    if result.error is None:
        _show(arguments, paths, run_id, connection, bucket)
    return result.error


def _show(
    arguments: argparse.Namespace,
    paths: PipelinePaths,
    run_id: str,
    connection: Any,
    bucket: Bucket | None,
) -> None:
    """Writes what the evaluator's and the gate's step show in the UI."""
    if arguments.executor_input is None:
        return
    facts = RunFacts.collect(paths, run_id, connection)
    if bucket is not None:  # a reused result is not here yet
        bucket.fetch_facts(facts, arguments.node)
    if arguments.metrics is not None:
        shown = outputs.metrics_shown(facts.metrics())
        # Kubeflow uploads each output; these two say everything in their metadata.
        for path in (arguments.metrics, arguments.confusion_matrix):
            files.write_text(path, "")
        outputs.write_executor_output(arguments.executor_input, shown)
    if arguments.table is not None:
        decision = facts.decision()
        files.write_text(arguments.table, outputs.gate_page(decision))
        files.write_text(arguments.outcome, outputs.gate_outcome(decision))
        outputs.write_executor_output(arguments.executor_input, {})


def _show_report(arguments: argparse.Namespace, report: str | None) -> None:
    if arguments.executor_input is None:
        return
    if report is None:
        text = outputs.page("Report", "The report could not be written: see this step's log.")
    else:
        text = Path(report).read_text(encoding="utf-8")
    files.write_text(arguments.report_page, text)
    outputs.write_executor_output(arguments.executor_input, {})


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    # s3:// through tensorflow-io aborts in its destructors; nothing is left to clean up.
    os._exit(code)


if __name__ == "__main__":
    main()
