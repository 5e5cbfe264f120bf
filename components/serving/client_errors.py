"""What a server's refusal means for whoever asked, as one line of cause and one of fix."""

from __future__ import annotations

import grpc

from slimworks.components.errors import ServingError
from slimworks.components.serving.channels import Target

_REFUSALS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
_UNKNOWN_LABEL = "Unrecognized servable version label"  # TensorFlow Serving's words
_TOO_LARGE = "larger than max"  # gRPC's words, for a request and for an answer


class RequestRefusedError(ServingError):
    """The server refused this very request: an image may be to blame.

    Attributes:
        message: What the server said.
    """

    def __init__(self, cause: str, fix: str, message: str = "") -> None:
        super().__init__(cause, fix)
        self.message = message


def explained(target: Target, error: grpc.RpcError) -> ServingError:
    """Turns a gRPC status into what the user can do about it."""
    # TensorFlow adds the graph's nodes below the first line: nothing for a user.
    code, details = error.code(), (error.details() or "").partition("\n")[0]
    address, model = target.address, repr(target.model_name)
    if code == grpc.StatusCode.UNAVAILABLE:
        return ServingError(f"No server answers at {address} ({details}).", _how_to_reach(target))
    if code == grpc.StatusCode.NOT_FOUND:
        return _not_found(target, details)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServingError(
            f"{address} did not answer within {target.timeout_seconds:g} seconds.",
            "Raise --timeout, or send fewer images at once.",
        )
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _too_much(target, details)
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return ServingError(
            f"{address} answers gRPC, but is no TensorFlow Serving ({details}).",
            "Give the gRPC port of the model server (8500 by default) as --server HOST:PORT.",
        )
    if code in _REFUSALS and _UNKNOWN_LABEL in details:
        return ServingError(
            f"{address} has no label {target.label!r} for model {model} ({details}).",
            "Check --label, or leave it out to ask the newest version.",
        )
    if code in _REFUSALS:
        return RequestRefusedError(
            f"Model {model} at {address} refused the request: {details}",
            "Check that the images open, and that the model was exported by SlimWorks.",
            message=details,
        )
    return ServingError(
        f"Model {model} at {address} failed: {code.name} {details}",
        "Look into the server's log.",
    )


def _how_to_reach(target: Target) -> str:
    if target.tls is not None:
        return (
            "Check that the server runs there with --ssl_config_file, that --ca holds the "
            "authority of its certificate, and --server-name the name in it."
        )
    return (
        "Start one with `slimworks serve --port=8500 --model_name=NAME --model_base_path=DIR`, "
        "or name another with --server HOST:PORT."
    )


def _not_found(target: Target, details: str) -> ServingError:
    if target.version is not None:
        return ServingError(
            f"{target.address} has no version {target.version} of a model named "
            f"{target.model_name!r} ({details}).",
            "Leave --version out to ask the newest one, or check --model-name.",
        )
    return ServingError(
        f"{target.address} serves no model named {target.model_name!r} ({details}).",
        "Give the name that the server was started with (its --model_name) as --model-name.",
    )


def _too_much(target: Target, details: str) -> ServingError:
    cause = f"The answer of {target.address} is too large or the server is full: {details}."
    fix = "Send fewer images at once."
    if _TOO_LARGE in details:
        return RequestRefusedError(cause, fix, message=details)
    return ServingError(cause, fix)
