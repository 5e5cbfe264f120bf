"""The arg scope of Inception, under the module name that TF-Slim's users import."""

from __future__ import annotations

from slimworks.components.nets.inception_modules import inception_arg_scope

__all__ = ["inception_arg_scope"]
