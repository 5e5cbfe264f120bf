"""A checkpoint's values for the variables that an export needs: all of them, or an error."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from slimworks.components.checkpoints.names import (
    parse_name_map,
    stored_by_variable,
    values_to_read,
    variables_among,
)
from slimworks.components.checkpoints.restore import restore
from slimworks.components.errors import ConfigError
from slimworks.components.export.source import ExportSource


def restore_weights(variables: Mapping[str, tf.Variable], source: ExportSource) -> None:
    """Assigns a checkpoint's values, moving averages preferred, heads included.

    Raises:
        ConfigError: The checkpoint does not fit the network.
    """
    try:
        restore(
            variables,
            source.checkpoint_path,
            exclude_scopes=(),
            head_scopes=source.spec.head_scopes,
            name_map=source.name_map,
        )
    except ConfigError as error:
        # Restoring words its advice for training, where layers may be left out.
        raise ConfigError(
            error.cause,
            "Name the checkpoint's own network with --net, its channels with --use-grayscale or "
            "--no-use-grayscale, its size with --image-size; `slimworks nets --checkpoint FILE` "
            "tells what it is.",
            error.details,
        ) from error


def stored_names(variables: Mapping[str, tf.Variable], source: ExportSource) -> dict[str, str]:
    """Returns variable name -> name of the value in the checkpoint, as `restore_weights` reads it.

    For programs that read the checkpoint by other means.
    """
    path = source.checkpoint_path
    stored = [name for name, _ in tf.train.list_variables(path)]
    pairs = parse_name_map(source.name_map)
    names = stored_by_variable(variables_among(stored), variables, pairs, path)
    return values_to_read(names, set(stored))
