"""The verbs of the command line for notebooks: the same names, tables instead of text.

    from headrace.notebook import open_project

    fraud = open_project("examples/fraud")
    fraud.features().pandas()                                  every feature with type and window
    fraud.compute("events.parquet").duckdb()                   every feature of every event
    fraud.lookup(customer_id=[1, 2], terminal_id=[7, 8])       rows of the online store
    fraud.dataset("3f9a…").arrow                               a training set

Tables come in as Arrow, pandas, DuckDB relations or paths of Parquet files, and go out as :class:`Answer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.compute import Mode, compute_file
from feature_store.online.lookup import LookupRequest, OnlineReader
from feature_store.row_values import arrow_type
from feature_store.training.dataset import build_dataset, verify_dataset
from headrace.clock import SystemClock, parse_us
from headrace.config import Settings, load_settings
from headrace.contracts.artifacts import DatasetManifest
from headrace.dataset_format import DATA_FILE, folder_of
from headrace.errors import ConfigError
from headrace.spec.features import FeatureView
from headrace.spec.project import Project, load_project
from headrace.spec.types import String

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Answer", "Notebook", "open_project"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A table, in the form one likes."""

    arrow: pa.Table

    def pandas(self) -> "pd.DataFrame":
        """As a data frame; whole numbers with nulls stay whole (``Int64``)."""
        import pandas as pd

        whole = {pa.int64(): pd.Int64Dtype()}
        frame: pd.DataFrame = self.arrow.to_pandas(types_mapper=whole.get)
        return frame

    def duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """As a relation, of ``connection`` or of DuckDB's own."""
        return duckdb.from_arrow(self.arrow, connection=connection or duckdb.default_connection())

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        shown: str = self.arrow.slice(0, 20).to_pandas().to_html(index=False)
        return f"{shown}<p>{len(self):,} rows, {self.arrow.num_columns} columns</p>"


class Notebook:
    """One project, with the settings of this machine."""

    def __init__(self, project: Project, settings: Settings) -> None:
        self.project = project
        self.settings = settings

    def features(self) -> Answer:
        """Every feature: name, type, entity, window and what it is computed of."""
        rows = [
            {
                "name": full,
                "type": str(arrow_type(feature)),
                "entity": view.entity,
                "kind": str(feature.kind),
                "column": feature.column,
                "window": feature.window.name,
                "closed": view.closed,
            }
            for view in self.project.views
            for full, feature in zip(view.full_names, view.features, strict=True)
        ]
        others = [name for request in self.project.requests for name in request.full_names]
        others += [name for derived in self.project.derived for name in derived.full_names]
        rows += [{"name": name, "type": "double"} for name in others]
        columns = ("name", "type", "entity", "kind", "column", "window", "closed")
        return Answer(pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in columns}))

    def compute(self, events: Any, labels: Any = None, *, stream: str | None = None) -> Answer:
        """Every feature of every event, as :func:`feature_store.compute.compute_file`.

        Args:
            events: Arrow table, pandas frame, DuckDB relation, or path of a Parquet file.
            labels: likewise; ids and outcomes.
            stream: which stream's events, when the project has several.

        Raises:
            ConfigError: a column is missing or wrong, or the table cannot be read.
        """
        of = self.project.stream(stream) if stream else self.project.only_stream()
        return Answer(compute_file(self.project, of, _table(events), None if labels is None else _table(labels)))

    def lookup(self, at: str | None = None, views: Sequence[str] = (), **entities: Sequence[int | str]) -> Answer:
        """Rows of the online store, one for each position of the given keys.

        Args:
            at: instant to evaluate at, ISO 8601 with its zone; else the values as stored.
            views: by name; else all views of the entities.
            entities: keys by entity, lists of one length.

        Returns:
            The keys, every feature by full name, and ``<view>__status``.

        Raises:
            ConfigError: lists of unequal length, or an entity no view has.
            RejectedError: a key of the wrong type.
            UnavailableError: Redis does not answer.
        """
        wanted = [self.project.view(name) for name in views] or [
            view for view in self.project.views if view.entity in entities
        ]
        known = {view.entity for view in self.project.views}
        for name in entities.keys() - known:
            raise ConfigError(f"{name!r} is no entity of {self.project.name!r}", hint=f"entities are {sorted(known)}")
        if len({len(keys) for keys in entities.values()}) != 1:
            sizes = {name: len(keys) for name, keys in entities.items()}
            raise ConfigError(f"keys of {sizes} do not make rows", hint="give lists of one length")
        combinations = [dict(zip(entities, keys, strict=True)) for keys in zip(*entities.values(), strict=True)]
        at_us = None if at is None else _instant(at)
        reader = OnlineReader(self.settings.redis.url, self.project)
        try:
            found = reader.read([LookupRequest(views=wanted, entities=each, at_us=at_us) for each in combinations])
        finally:
            reader.close()
        columns = {name: pa.array(keys, _key_type(wanted, name)) for name, keys in entities.items()}
        for view in wanted:
            for full, feature in zip(view.full_names, view.features, strict=True):
                values = [row[view.name].values[feature.name] for row in found]
                columns[full] = pa.array(values, arrow_type(feature))
            columns[f"{view.name}__status"] = pa.array([row[view.name].status for row in found], pa.string())
        return Answer(pa.table(columns))

    def build_dataset(
        self, start: str, end: str, *, model: str | None = None, as_of: str | None = None, mode: Mode = "as_served"
    ) -> DatasetManifest:
        """Build a training set from the offline log, as ``headrace dataset build``.

        Args:
            start: first event time, ISO 8601 with its zone.
            end: event time after the last.
            model: which model, when the project has several.
            as_of: use only what was known then; now when absent.
            mode: ``as_served`` or ``corrected``.
        """
        return build_dataset(
            self.settings,
            self.project,
            self.project.only_model(model),
            start_us=_instant(start),
            end_us=_instant(end),
            as_of_us=SystemClock().now_us() if as_of is None else _instant(as_of),
            mode=mode,
            tell=print,
        )

    def dataset(self, dataset_id: str) -> Answer:
        """Rows of a training set, after its digest was checked.

        Raises:
            HeadraceError: there is no such data set.
            IntegrityError: its rows are not those its manifest names.
        """
        verify_dataset(self.settings, None, dataset_id)
        return Answer(pq.read_table(folder_of(self.settings.datasets_dir, dataset_id) / DATA_FILE))


def open_project(path: Path | str, home: Path | None = None) -> Notebook:
    """A project's folder and the settings of this machine (``HEADRACE_HOME``, or ``home``)."""
    return Notebook(load_project(path), load_settings(home))


def _table(given: Any) -> pa.Table:
    if isinstance(given, pa.Table):
        return given
    if isinstance(given, duckdb.DuckDBPyRelation):
        return given.to_arrow_table()
    if isinstance(given, str | Path):
        if not Path(given).is_file():
            raise ConfigError(f"{given} is no file", hint="give a Parquet file")
        return pq.read_table(given)
    try:
        return pa.Table.from_pandas(given, preserve_index=False)
    except (AttributeError, TypeError, pa.ArrowException) as error:
        raise ConfigError(
            f"{type(given).__name__} is no table: {error}", hint="give Arrow, pandas, a DuckDB relation or a path"
        ) from error


def _instant(text: str) -> int:
    try:
        return parse_us(text)
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}", hint="write it like 2018-05-01T00:00:00Z") from error


def _key_type(views: Sequence[FeatureView], entity: str) -> pa.DataType:
    kinds = [view.source.schema[entity] for view in views if view.entity == entity]
    return pa.string() if any(isinstance(kind, String) for kind in kinds) else pa.int64()
