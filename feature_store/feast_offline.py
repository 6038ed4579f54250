"""Feast's historical features from our feature log: one as-of join per view, in DuckDB.

Same answers as Feast's own DuckDB store (``event_timestamp <= q``, ttl included, newest ``created_timestamp`` among
equals, every entity row kept in its order), but that store joins each entity row with all earlier rows of its key:
4.4 s and 1 GB where this takes 0.3 s. Full ties go to the larger values, so that the answer is the same every time.

Configured by class path, ``offline_store: {type: feature_store.feast_offline.HeadraceOfflineStore}``; Feast finds the
configuration class by its name in this module.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
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

from feature_store.offline_log import segments_below
from headrace.errors import RejectedError

__all__ = ["HeadraceOfflineStore", "HeadraceOfflineStoreConfig"]

_ROW, _AT = "_headrace_row", "_headrace_at_us"


class HeadraceOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]  # Feast ships no types
    """Settings of the store."""

    type: str = "feature_store.feast_offline.HeadraceOfflineStore"
    memory_limit: str = "2GB"
    """Beyond it DuckDB works on disk."""


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
        frame = self._entity_df.copy()
        frame[self._time] = pd.to_datetime(frame[self._time], utc=True).astype("datetime64[us, UTC]")
        spine = pa.Table.from_pandas(frame, preserve_index=False)
        asked = spine.append_column(_ROW, pa.array(range(spine.num_rows), pa.int64()))
        asked = asked.append_column(_AT, pc.cast(spine[self._time], pa.int64()))
        limit = getattr(self._config.offline_store, "memory_limit", "2GB")
        with (
            tempfile.TemporaryDirectory(prefix="headrace-join-") as spill,
            duckdb.connect(config={"memory_limit": limit, "temp_directory": spill}) as connection,
        ):
            connection.register("given", asked)
            # Of a registered table DuckDB does not know the size; it would take it for tiny and join in nested loops.
            connection.execute("CREATE TEMP TABLE spine AS SELECT * FROM given")
            connection.execute("SET asof_loop_join_threshold = 0")
            for view in self._views:
                name = view.projection.name_to_use()
                features = [
                    reference.split(":")[1] for reference in self._references if reference.startswith(f"{name}:")
                ]
                found = _join(connection, view, features)
                prefix = f"{view.projection.name_alias or view.name}__" if self._full_names else ""
                for feature in features:
                    spine = spine.append_column(prefix + feature, found[feature])
        return spine

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result as one Parquet file."""
        target = Path(storage.to_data_source().path)
        if target.exists() and not allow_overwrite:
            raise RejectedError(f"{target} exists", hint="give another path or allow_overwrite=True")
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.to_arrow(timeout=timeout), target)


def _is_plain_parquet(source: DataSource | None) -> bool:
    return (
        isinstance(source, FileSource)
        and isinstance(source.file_format, ParquetFormat)
        and "://" not in source.path
        and not source.field_mapping
    )


def _join(connection: Any, view: FeatureView, features: Sequence[str]) -> pa.Table:
    """Features of the view for each row of ``spine``, in its order."""
    source = view.batch_source
    files = _files(Path(source.path))
    if not files:
        types = {field.name: field.dtype.to_value_type().name for field in view.features}
        nulls = {"INT64": pa.int64(), "DOUBLE": pa.float64(), "DOUBLE_LIST": pa.list_(pa.float64())}
        rows = connection.execute("SELECT count(*) FROM spine").fetchone()[0]
        return pa.table({name: pa.nulls(rows, nulls.get(types[name], pa.null())) for name in features})
    mapping = view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}
    keys, asked = [_quoted(name) for name in mapping], [_quoted(name) for name in mapping.values()]
    columns = [_quoted(name) for name in features]
    created = f", {_quoted(source.created_timestamp_column)} AS _created" if source.created_timestamp_column else ""
    newest = ["_created DESC"] if created else []
    newest += [f"{column} DESC NULLS LAST" for column in columns]
    ttl_us = view.ttl.days * 86_400_000_000 + view.ttl.seconds * 1_000_000 + view.ttl.microseconds if view.ttl else 0
    chosen = [f"CASE WHEN {_AT} - _at_us <= {ttl_us} THEN f.{c} END AS {c}" if ttl_us else f"f.{c}" for c in columns]
    query = f"""
        WITH rows AS (
            SELECT {", ".join(keys)}, epoch_us({_quoted(source.timestamp_field)}) AS _at_us {created},
                   {", ".join(columns)}
            FROM read_parquet(?, hive_partitioning = false, union_by_name = true)
            WHERE _at_us <= (SELECT max({_AT}) FROM spine)
              AND ({", ".join(keys)}) IN (SELECT ({", ".join(asked)}) FROM spine)
        ), f AS (
            SELECT * FROM rows
            QUALIFY row_number() OVER (PARTITION BY {", ".join(keys)}, _at_us ORDER BY {", ".join(newest)}) = 1
        )
        SELECT {", ".join(chosen)}
        FROM spine ASOF LEFT JOIN f
          ON {" AND ".join(f"spine.{a} = f.{k}" for a, k in zip(asked, keys, strict=True))} AND {_AT} >= f._at_us
        ORDER BY {_ROW}
    """  # noqa: S608  # names come from the registry and are quoted
    return connection.execute(query, [files]).to_arrow_table()


def _files(path: Path) -> list[str]:
    """Parquet files of a source that count; unfinished ones begin with a dot."""
    if path.is_file():
        return [str(path)]
    if log := segments_below(path):
        return [str(segment.path) for segment in log]
    return sorted(str(file) for file in path.rglob("*.parquet") if not file.name.startswith("."))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
