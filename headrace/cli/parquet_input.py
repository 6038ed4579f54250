"""A Parquet file that a user names, read whole."""

from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_parquet"]


def read_parquet(path: Path) -> "pa.Table":
    """The file's rows.

    Raises:
        ConfigError: there is no such file, or it is no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ConfigError(f"{path} is no file", hint="give a Parquet file")
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:  # a broken footer is an OSError
        raise ConfigError(f"{path} cannot be read as Parquet: {error}", hint="give a Parquet file") from error
