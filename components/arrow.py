"""Apache Arrow, the one way in: a file's schema runs no code.

Until 14.0.1 pyarrow unpickled an extension type that it found in a schema (CVE-2023-47248), and
TFX 1.16 asks for pyarrow 10. `pyarrow_hotfix` makes that an error, if it is there first.
"""

import pyarrow as pa

if int(pa.__version__.partition(".")[0]) < 15:
    import pyarrow_hotfix  # noqa: F401

from pyarrow import compute, ipc, parquet, types

__all__ = ["compute", "ipc", "pa", "parquet", "types"]
