"""pyarrow with the system's memory: pools of its own keep what they once held, and a peak creeps up with the rows."""

from __future__ import annotations

import os

from worker.errors import UsageError

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # read once, when pyarrow is imported

try:
    import pyarrow as pa
    from pyarrow import dataset
    from pyarrow.parquet import ParquetFile, ParquetWriter
except ModuleNotFoundError as error:
    raise UsageError("Parquet and ORC need pyarrow: install modworker[arrow], or take CSV") from error

__all__ = ["ParquetFile", "ParquetWriter", "dataset", "pa"]
