"""One node of the pipeline as a command: what a container on Kubeflow runs.

    python -m slimworks.pipeline.run_node --node trainer --run-id ID --metadata FILE --ir TEXT

The same launcher as the local runner's; the exit code says what became of the node: 0 ran,
reused or skipped, else the code of its error.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from slimworks.pipeline import launcher, tfx_import


def encode_node(ir: Any, node_id: str) -> str:
    """Returns the pipeline reduced to one node, compressed, as text for a command line."""
    reduced = type(ir)()
    reduced.CopyFrom(ir)
    nodes = [n for n in ir.nodes if n.pipeline_node.node_info.id == node_id]
    del reduced.nodes[:]
    reduced.nodes.extend(nodes)
    content = reduced.SerializeToString(deterministic=True)
    # mtime=0: the same pipeline gives the same text.
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")


def decode_node(text: str) -> Any:
    """Inverts `encode_node`."""
    tfx_import.prepare()
    from tfx.proto.orchestration import pipeline_pb2

    return pipeline_pb2.Pipeline.FromString(gzip.decompress(base64.b64decode(text)))


def main() -> None:
    """Launches the node named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--metadata", required=True, type=Path, help="SQLite file of ML Metadata")
    parser.add_argument("--ir", required=True, help="pipeline from encode_node")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    tfx_import.prepare()
    from slimworks.pipeline.metadata import SqliteMetadata

    ir = decode_node(arguments.ir)
    launcher.bind_run_id(ir, arguments.run_id)
    arguments.metadata.parent.mkdir(parents=True, exist_ok=True)
    result = launcher.launch_node(ir, arguments.node, SqliteMetadata(arguments.metadata))
    print(json.dumps(result.to_json(), ensure_ascii=False))  # noqa: T201  # this command's output
    if result.error is not None:
        print("\n".join(launcher.error_lines(result.error)), file=sys.stderr)  # noqa: T201
    sys.stdout.flush()
    sys.stderr.flush()
    # s3:// through tensorflow-io aborts in its destructors; nothing is left to clean up.
    os._exit(int(result.error["exit_code"]) if result.error else 0)


if __name__ == "__main__":
    main()
