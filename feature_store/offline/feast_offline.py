"""Feast's historical features from our feature log: an as-of join per view, in memory or, of long logs, in DuckDB.

Same answers as Feast's own DuckDB store (``event_timestamp <= q``, ttl included, newest ``created_timestamp`` among
equals, every entity row kept in its order), but that store joins each entity row with all earlier rows of its key.
Full ties go to the larger values, so that the answer is the same every time.

Configured by class path, ``offline_store: {type: feature_store.offline.feast_offline.HeadraceOfflineStore}``; Feast
finds the configuration class by its name in this module.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.saved_dataset import SavedDatasetStorage

from feature_store.offline.asof_join import AsOfSource, join_in_memory
from feature_store.offline.asof_sql import SqlAsOfJoin
from feature_store.offline.offline_log import segments_below
from headrace.errors import RejectedError

__all__ = ["HeadraceOfflineStore", "HeadraceOfflineStoreConfig"]

_MEMORY_LIMIT, _ROWS_IN_MEMORY = "2GB", 10_000_000


class HeadraceOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]  # Feast ships no types
    """Settings of the store."""

    type: str = "feature_store.offline.feast_offline.HeadraceOfflineStore"
    memory_limit: str = _MEMORY_LIMIT
    """Beyond it DuckDB works on disk."""
    rows_in_memory: int = _ROWS_IN_MEMORY
    """Of the logs of all views joined at once; longer ones are joined by DuckDB, which works on disk."""


class HeadraceOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]  # Feast ships no types
    """Feast's DuckDB store with a join of our own; everything else is Feast's."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Feast's interface; see :class:`feast.infra.offline_stores.offline_store.OfflineStore`."""
        if not isinstance(entity_df, pd.DataFrame):
            raise RejectedError(
                f"entity_df is {type(entity_df).__name__}", hint="give a DataFrame of entity keys and event_timestamp"
            )
        plain = all(_is_plain_parquet(view.batch_source) for view in feature_views)
        if filter_by_created_timestamp or not plain:
            # A bound on the created time is a second inequality, which no as-of join has.
            return DuckDBOfflineStore.get_historical_features(
                config, feature_views, feature_refs, entity_df, registry, project,
                full_feature_names, filter_by_created_timestamp,
            )  # fmt: skip
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return _AsOfJob(config, feature_views, feature_refs, entity_df, on_demand, full_feature_names)


class _AsOfJob(RetrievalJob):  # type: ignore[misc]  # Feast ships no types
    """The join, done when its result is asked for."""

    def __init__(
        self,
        config: RepoConfig,
        views: list[FeatureView],
        references: list[str],
        entity_df: pd.DataFrame,
        on_demand: list[OnDemandFeatureView],
        full_feature_names: bool,
    ) -> None:
        super().__init__()
        self._config = config
        self._views = views
        self._references = references
        self._entity_df = entity_df
        self._on_demand = on_demand
        self._full_names = full_feature_names
        self._time = offline_utils.infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))

    @property
    def full_feature_names(self) -> bool:
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata:
        times = pd.to_datetime(self._entity_df[self._time], utc=True)
        return RetrievalMetadata(
            features=self._references,
            keys=[column for column in self._entity_df.columns if column != self._time],
            min_event_timestamp=times.min().to_pydatetime(),
            max_event_timestamp=times.max().to_pydatetime(),
        )

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002  # Feast's signature
        frame = self._entity_df.copy(deep=False)
        times = frame[self._time]
        if not isinstance(times.dtype, pd.DatetimeTZDtype):
            times = pd.to_datetime(times, utc=True)
        frame[self._time] = times.astype("datetime64[us, UTC]")
        spine = pa.Table.from_pandas(frame, preserve_index=False)
        wanted = [_Wanted(view, self._references) for view in self._views]
        for each, found in zip(wanted, self._join(spine, wanted), strict=True):
            prefix = f"{each.view.projection.name_alias or each.view.name}__" if self._full_names else ""
            for feature in each.features:
                spine = spine.append_column(prefix + feature, found[feature])
        return spine

    def _join(self, spine: pa.Table, wanted: Sequence["_Wanted"]) -> list[pa.Table]:
        """Features of each view for each row of ``spine``, in its order; views side by side, kernels hold no lock."""
        limits = self._config.offline_store
        workers = min(len(wanted), os.cpu_count() or 1)
        most_rows = getattr(limits, "rows_in_memory", _ROWS_IN_MEMORY) // workers
        instants = spine[self._time].cast(pa.int64())
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(lambda each: each.in_memory(spine, instants, most_rows), wanted))
        with SqlAsOfJoin(spine, self._time, getattr(limits, "memory_limit", _MEMORY_LIMIT)) as sql:
            return [each.in_sql(sql) if table is None else table for each, table in zip(wanted, found, strict=True)]

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result as one Parquet file."""
        target = Path(storage.to_data_source().path)
        if target.exists() and not allow_overwrite:
            raise RejectedError(f"{target} exists", hint="give another path or allow_overwrite=True")
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.to_arrow(timeout=timeout), target)


class _Wanted:
    """What is asked of one view."""

    def __init__(self, view: FeatureView, references: Sequence[str]) -> None:
        source = view.batch_source
        name = view.projection.name_to_use()
        self.view = view
        self.features = [reference.split(":")[1] for reference in references if reference.startswith(f"{name}:")]
        self._files = _files(Path(source.path))
        self._keys = view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}
        self._time, self._created = source.timestamp_field, source.created_timestamp_column or None
        self._ttl_us = (view.ttl // timedelta(microseconds=1) if view.ttl else 0) or None

    def in_memory(self, spine: pa.Table, instants: pa.ChunkedArray, most_rows: int) -> pa.Table | None:
        """None when it is left to SQL."""
        if not self._files:
            return self._nothing(spine.num_rows)
        if len(self._keys) != 1:
            return None
        ((key, asked),) = self._keys.items()
        log = AsOfSource(
            files=self._files,
            key=key,
            time=self._time,
            created=self._created,
            features=self.features,
            ttl_us=self._ttl_us,
        )
        return join_in_memory(log, spine[asked], instants, most_rows)

    def in_sql(self, sql: SqlAsOfJoin) -> pa.Table:
        """The same from DuckDB."""
        return sql.join(
            self._files,
            keys=self._keys,
            time=self._time,
            created=self._created,
            features=self.features,
            ttl_us=self._ttl_us,
        )

    def _nothing(self, rows: int) -> pa.Table:
        """Columns of a view whose log has no file yet."""
        types = {field.name: field.dtype.to_value_type().name for field in self.view.features}
        nulls = {"INT64": pa.int64(), "DOUBLE": pa.float64(), "DOUBLE_LIST": pa.list_(pa.float64())}
        return pa.table({name: pa.nulls(rows, nulls.get(types[name], pa.null())) for name in self.features})


def _is_plain_parquet(source: DataSource | None) -> bool:
    return (
        isinstance(source, FileSource)
        and isinstance(source.file_format, ParquetFormat)
        and "://" not in source.path
        and not source.field_mapping
    )


def _files(path: Path) -> list[str]:
    """Parquet files of a source that count; unfinished ones begin with a dot."""
    if path.is_file():
        return [str(path)]
    if log := segments_below(path):
        return [str(segment.path) for segment in log]
    return sorted(str(file) for file in path.rglob("*.parquet") if not file.name.startswith("."))
