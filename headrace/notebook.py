"""The verbs of the command line for notebooks: the same names, tables instead of text.

    from headrace.notebook import open_project

    fraud = open_project("examples/fraud")
    fraud.features().pandas()                                  every feature with type and window
    fraud.show("customer_activity")                            a definition, its windows drawn
    fraud.compute("events.parquet").duckdb()                   every feature of every event
    fraud.lookup(customer_id=[1, 2], terminal_id=[7, 8])       rows of the online store, and how fresh they are
    fraud.dataset("3f9a…").arrow                               a training set
    fraud.verify().mismatches                                  what was read online, computed again offline
    fraud.plan()                                               what changed definitions would cost
    fraud.erase("customer_id", [42], dry_run=True)             what would go

Tables come in as Arrow, pandas, DuckDB relations or paths of Parquet files, and go out as :class:`Answer`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.compute import Mode, compute_file
from feature_store.online.lookup import OnlineReader
from feature_store.training.dataset import build_dataset, knowledge_time, verify_dataset
from headrace.cli.entity_keys import has_text_keys, subject_type
from headrace.cli.feature_changes import planned
from headrace.cli.feature_list import feature_rows
from headrace.cli.feature_pictures import describe
from headrace.cli.instants import instant
from headrace.cli.pace import Pace
from headrace.cli.verify import compare
from headrace.clock import SystemClock
from headrace.config import Settings, load_settings
from headrace.contracts.artifacts import DatasetManifest
from headrace.dataset_format import DATA_FILE, MANIFEST_FILE, folder_of
from headrace.errors import ConfigError
from headrace.manifest_file import read_manifest
from headrace.notebook_inputs import keys_of, table_of
from headrace.notebook_tables import checks_table, erasure_table, examples_table, plan_table, text_table, view_columns
from headrace.spec.project import Project, load_project
from headrace.spec.types import String

if TYPE_CHECKING:
    import pandas as pd

    from streams.backfill.backfill_run import BackfillStep

__all__ = ["Answer", "Notebook", "Verification", "open_project"]


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


@dataclass(frozen=True, slots=True)
class Verification(Answer):
    """What ``headrace verify`` found, one row for each feature."""

    examples: Answer
    """Values that differ, some of each part."""
    skipped: Mapping[str, int]
    """Why reads were not compared -> how many."""

    @property
    def compared(self) -> int:
        return sum(self.arrow["compared"].to_pylist())

    @property
    def mismatches(self) -> int:
        return sum(self.arrow["mismatches"].to_pylist())


class Notebook:
    """One project, with the settings of this machine."""

    def __init__(self, project: Project, settings: Settings) -> None:
        self.project = project
        self.settings = settings

    def features(self) -> Answer:
        """Every feature, as ``headrace features list``: ``name``, ``type``, ``of`` and ``what``.

        Features of views also have ``kind``, ``column``, ``window`` and ``closed``.
        """
        more = {
            full: {
                "kind": str(feature.kind),
                "column": feature.column,
                "window": feature.window.name,
                "closed": view.closed,
            }
            for view in self.project.views
            for full, feature in zip(view.full_names, view.features, strict=True)
        }
        rows = [{**row, **more.get(row["name"], {})} for row in feature_rows(self.project)]
        return Answer(text_table(rows, ("name", "type", "of", "what", "kind", "column", "window", "closed")))

    def show(self, name: str) -> Answer:
        """A view, request features, derived ones, or one feature, as ``headrace features show``.

        Returns:
            One row for each feature; ``picture`` is its window as a timeline, or the function as it is written.

        Raises:
            ConfigError: there is nothing of that name.
        """
        rows = describe(self.project, name)
        texts = ("name", "type", "of", "kind", "column", "where", "window", "closed", "definition", "picture")
        table = text_table(rows, texts)
        for column, kind in (("delay_us", pa.int64()), ("empty", pa.float64())):
            table = table.append_column(column, pa.array([row.get(column) for row in rows], kind))
        return Answer(table)

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
        return Answer(compute_file(self.project, of, table_of(events), None if labels is None else table_of(labels)))

    def lookup(self, at: str | None = None, views: Sequence[str] = (), **entities: Any) -> Answer:
        """Rows of the online store, one for each position of the given keys.

        Args:
            at: instant to evaluate at, ISO 8601 with its zone; else the values as stored.
            views: by name; else all views of the entities.
            entities: keys by entity: lists or columns of one length, or single keys.

        Returns:
            The keys and every feature by full name; beside them, of each view, ``<view>__status``,
            ``<view>__event_time`` (since when the values hold), ``<view>__valid_until`` (null: until an event changes
            them), ``<view>__watermark`` (how far the stream had come) and ``<view>__version``.

        Raises:
            ConfigError: lists of unequal length, or an entity no view has.
            RejectedError: a key is null or of the wrong type.
            UnavailableError: Redis does not answer.
        """
        known = {view.entity for view in self.project.views}
        for name in entities.keys() - known:
            raise ConfigError(f"{name!r} is no entity of {self.project.name!r}", hint=f"entities are {sorted(known)}")
        named = [views] if isinstance(views, str) else views
        wanted = [self.project.view(name) for name in named] or [v for v in self.project.views if v.entity in entities]
        texts = {name: has_text_keys(self.project, name) for name in entities}
        keys = {name: keys_of(name, given, text=texts[name]) for name, given in entities.items()}
        sizes = {name: len(of_entity) for name, of_entity in keys.items()}
        if len(set(sizes.values())) != 1:
            raise ConfigError(f"keys of {sizes} do not make rows", hint="give keys, in lists of one length")
        at_us = None if at is None else instant(at, "at")
        arrays = {
            name: pa.array(of_entity, pa.string() if texts[name] else pa.int64()) for name, of_entity in keys.items()
        }
        reader = OnlineReader(self.settings.redis.url, self.project)
        try:
            asked = {name: array.to_numpy(zero_copy_only=False) for name, array in arrays.items()}
            found = reader.read_columns(wanted, asked, at_us=at_us)
        finally:
            reader.close()
        columns = dict(arrays)
        for view in wanted:
            columns |= view_columns(found[view.name])
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
            start_us=instant(start, "start"),
            end_us=instant(end, "end"),
            as_of_us=knowledge_time(None if as_of is None else instant(as_of, "as_of"), now_us=SystemClock().now_us()),
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

    def show_dataset(self, dataset_id: str) -> DatasetManifest:
        """The manifest of a training set, as ``headrace dataset show``.

        Raises:
            HeadraceError: there is no such data set.
        """
        return read_manifest(folder_of(self.settings.datasets_dir, dataset_id) / MANIFEST_FILE, DatasetManifest)

    def verify_dataset(self, dataset_id: str, *, recompute: bool = False) -> DatasetManifest:
        """Check the rows of a training set against its digest, as ``headrace dataset verify``.

        Args:
            dataset_id: which one.
            recompute: also compute it again from the offline log.

        Raises:
            HeadraceError: there is no such data set.
            IntegrityError: its rows are not those its manifest names, or come out otherwise now.
        """
        return verify_dataset(self.settings, self.project if recompute else None, dataset_id)

    def verify(
        self, *, online: bool = False, model: str | None = None, sample: int | None = None, wait_s: float = 60.0
    ) -> Verification:
        """Compare logged predictions with an offline recomputation, as ``headrace verify``.

        Args:
            online: compare rows of the online store instead.
            model: only this one; with ``online`` only the views it reads.
            sample: at most so many predictions, or keys of each view.
            wait_s: for so long at most the stream is waited for; 0: what is there is taken.

        Raises:
            ConfigError: there is no such model, or ``sample`` is less than one.
            UnavailableError: a server does not answer, or the stream does not get there in time.
        """
        parts = compare(self.settings, self.project, model=model, sample=sample, online=online, wait_s=wait_s)
        skipped = sum((Counter(part["skipped"]) for part in parts), Counter[str]())
        return Verification(checks_table(parts), examples=Answer(examples_table(parts)), skipped=dict(skipped))

    def plan(self) -> Answer:
        """What the definitions of today would change and cost, as ``headrace features plan``."""
        return self._planned()

    def backfill(self, view: str, *, since: str | None = None, replace: bool = False, dry_run: bool = False) -> Answer:
        """Compute a new or changed view from the offline log, as ``headrace backfill``.

        Interrupted, it goes on from its last snapshot when it is called again.

        Args:
            view: its name.
            since: first instant to compute rows for, ISO 8601 with its zone; else all.
            replace: take the place of another definition of the same name, whose rows go.
            dry_run: change nothing.

        Returns:
            One row, of what was done; with ``dry_run`` what it costs, as :meth:`plan` says it.

        Raises:
            ConfigError: there is no such view, or ``since`` and a feature over a lifetime.
            RejectedError: there is nothing to compute, readers would lose rows, or no stream worker runs.
            UnavailableError: Kafka does not answer.
        """
        from streams.backfill.backfill_run import run_backfill

        chosen = self.project.view(view)
        since_us = None if since is None else instant(since, "since")
        if dry_run:
            return self._planned(only=chosen.name)
        pace = Pace(print)

        def told(step: "BackfillStep") -> None:
            if step.waiting:
                print(f"{step.rows:,} rows read; waiting for the stream worker: {step.waiting}")
            else:
                pace(f"rows read for {chosen.name}", step.rows, step.total)

        outcome = run_backfill(self.settings, self.project, chosen, since_us=since_us, replace=replace, tell=told)
        return Answer(pa.Table.from_pylist([{"view": chosen.name, **asdict(outcome)}]))

    def erase(self, entity: str, keys: Any, *, dry_run: bool = False) -> Answer:
        """Remove subjects from everything headrace keeps, as ``headrace erase``.

        Args:
            entity: field whose value names a subject.
            keys: the subjects: a list, a column, or one key.
            dry_run: only count.

        Returns:
            One row for each fact, ``what`` it is about and its ``name``: places with the ``count`` of what went,
            training sets and models it touches, how long Kafka's topics keep their messages, and notes.

        Raises:
            ConfigError: the project has no such entity, or no key was given.
            RejectedError: a key is null or of the wrong type; a stream worker or a backfill runs.
            UnavailableError: Redis does not answer.
        """
        from headrace.erasure import erase

        subjects = keys_of(entity, keys, text=isinstance(subject_type(self.project, entity), String))
        if not subjects:
            raise ConfigError("no subject was given", hint="give one key or more")
        report = erase(
            self.settings,
            self.project,
            entity,
            list(dict.fromkeys(subjects)),
            dry_run=dry_run,
            tell=lambda place, sentence: print(f"{place:<9} {sentence}"),
        )
        return Answer(erasure_table(report))

    def _planned(self, only: str = "") -> Answer:
        changes, notes = planned(self.settings, self.project, only=only)
        for note in notes:
            print(note)
        return Answer(plan_table(changes))


def open_project(path: Path | str, home: Path | None = None) -> Notebook:
    """A project's folder and the settings of this machine (``HEADRACE_HOME``, or ``home``)."""
    return Notebook(load_project(path), load_settings(home))
