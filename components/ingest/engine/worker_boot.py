"""Starts Beam's Python worker where a runner wants a process: the `boot` of Beam's containers.

A runner calls it with `--id` and endpoints; the rest it learns from the provision service. It does
what the container's Go program does, as far as a machine needs it where everything is installed: no
artifact is fetched, no package installed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from slimworks.components.ingest.engine.processes import end_with_parent, spare_modules


def main(arguments: Sequence[str]) -> None:
    """Runs one worker until its runner ends it."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--id", required=True)
    for name in ("provision", "control", "logging", "artifact"):
        parser.add_argument(f"--{name}_endpoint", required=name == "provision")
    options, _ = parser.parse_known_args(list(arguments))
    end_with_parent(os.getppid())
    spare_modules()
    os.environ.update(_environment(options))

    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])


def _environment(options: argparse.Namespace) -> dict[str, str]:
    """Environment variables that the SDK's worker program reads."""
    import grpc
    from apache_beam.portability.api import (
        beam_provision_api_pb2,
        beam_provision_api_pb2_grpc,
        endpoints_pb2,
    )
    from google.protobuf import json_format, text_format

    with grpc.insecure_channel(options.provision_endpoint) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        response = stub.GetProvisionInfo(
            request, metadata=[("worker_id", options.id)], wait_for_ready=True, timeout=60
        )
    info = response.info

    def descriptor(given: str | None, provisioned: endpoints_pb2.ApiServiceDescriptor) -> str:
        url = given or provisioned.url
        return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))

    return {
        "WORKER_ID": options.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "LOGGING_API_SERVICE_DESCRIPTOR": descriptor(
            options.logging_endpoint, info.logging_endpoint
        ),
        "CONTROL_API_SERVICE_DESCRIPTOR": descriptor(
            options.control_endpoint, info.control_endpoint
        ),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
