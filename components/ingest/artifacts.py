"""Names of the artifact types that ingest makes, for the nodes that read them."""

from slimworks.components.artifacts import IngestReport, LabelMap

__all__ = ["IngestReport", "LabelMap"]
