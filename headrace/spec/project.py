"""A project: all definitions found in a folder's Python files."""

import ast
import hashlib
import importlib.util
import inspect
import sys
import textwrap
from dataclasses import Field, dataclass, fields, is_dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

from headrace.errors import ConfigError, DefinitionError
from headrace.spec.features import DerivedFeatures, FeatureView, RequestFeatures
from headrace.spec.model import Model
from headrace.spec.streams import UNVERSIONED, UNVERSIONED_AS, EventStream, LabelStream

__all__ = ["Project", "definitions_of", "fingerprint", "load_project"]

_Named = TypeVar("_Named", EventStream, FeatureView, Model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The definitions of one project; names are unique within their kind."""

    name: str
    """The folder's name; part of Feast's keys and of headrace's own topics."""
    path: Path
    streams: tuple[EventStream, ...]
    labels: tuple[LabelStream, ...]
    views: tuple[FeatureView, ...]
    requests: tuple[RequestFeatures, ...]
    models: tuple[Model, ...]
    derived: tuple[DerivedFeatures, ...] = ()

    def stream(self, name: str) -> EventStream:
        return _one(self.streams, name, "event stream")

    def view(self, name: str) -> FeatureView:
        return _one(self.views, name, "feature view")

    def model(self, name: str) -> Model:
        return _one(self.models, name, "model")

    def only_model(self, name: str | None = None) -> Model:
        """The model meant: the one named, or the only one.

        Raises:
            ConfigError: there is none of this name, or none was named and there are several, or none.
        """
        if name is not None:
            return self.model(name)
        if len(self.models) != 1:
            names = [model.name for model in self.models]
            raise ConfigError(f"project {self.name!r} has models {names}", hint="say which one with --model")
        return self.models[0]

    def only_stream(self) -> EventStream:
        """The event stream of a project that has just one.

        Raises:
            ConfigError: it has none or several.
        """
        if len(self.streams) != 1:
            names = [stream.name for stream in self.streams]
            raise ConfigError(f"project {self.name!r} has streams {names}", hint="say which one with --stream")
        return self.streams[0]

    def labels_of(self, stream: EventStream) -> LabelStream | None:
        """The label stream of an event stream, if one is declared."""
        return next((labels for labels in self.labels if labels.of is stream), None)


def load_project(path: Path | str) -> Project:
    """Import the Python files of a folder (or one file) and collect what they define.

    Raises:
        ConfigError: the folder does not exist or a file cannot be imported.
        DefinitionError: a definition is wrong, or two of a kind share a name.
    """
    root = Path(path).absolute()
    if not root.exists():
        raise ConfigError(f"project {path} does not exist", hint="give a folder such as examples/fraud")
    files = [root] if root.is_file() else sorted(root.glob("*.py"))
    if not files:
        raise ConfigError(f"project {path} holds no Python file", hint="give a folder such as examples/fraud")
    found: dict[type, dict[str, Any]] = {
        kind: {} for kind in (EventStream, LabelStream, FeatureView, RequestFeatures, DerivedFeatures, Model)
    }
    for file in files:
        for value in vars(_import(file)).values():
            kind = type(value)
            if kind in found and found[kind].setdefault(value.name, value) is not value:
                raise DefinitionError(f"two definitions of {kind.__name__} {value.name!r}", hint="rename one of them")
    for model in found[Model].values():
        for item in (*model.streams, model.label, *model.views, *model.requests, *model.derived):
            found[type(item)].setdefault(item.name, item)
    folder = root.parent if root.is_file() else root
    return Project(
        name=folder.name.replace("-", "_"),
        path=folder,
        streams=tuple(found[EventStream].values()),
        labels=tuple(found[LabelStream].values()),
        views=tuple(found[FeatureView].values()),
        requests=tuple(found[RequestFeatures].values()),
        models=tuple(found[Model].values()),
        derived=tuple(found[DerivedFeatures].values()),
    )


def fingerprint(*definitions: object) -> str:
    """Version of definitions by content: twelve hex digits that change when any of them changes.

    A function counts by its source, comments and layout left out; what it calls does not count.
    """
    return hashlib.sha256(repr([_plain(item) for item in definitions]).encode()).hexdigest()[:12]


def definitions_of(model: Model) -> dict[str, str]:
    """Name -> fingerprint of every view, request and derived feature a model needs."""
    definitions = {view.name: fingerprint(view) for view in model.views}
    definitions |= {request.name: fingerprint(request) for request in model.requests}
    return definitions | {derived.name: fingerprint(derived) for derived in model.derived}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        counted = [field.name for field in fields(value) if _is_versioned(field, value)]
        return (type(value).__name__, [(name, _plain(getattr(value, name))) for name in counted])
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "items"):
        return sorted((str(key), _plain(item)) for key, item in value.items())
    return _source(value) if callable(value) and not isinstance(value, type) else repr(value)


def _is_versioned(field: Field[Any], value: Any) -> bool:
    marks = field.metadata
    if UNVERSIONED_AS in marks:
        return bool(getattr(value, field.name) != marks[UNVERSIONED_AS])
    return not marks.get(UNVERSIONED)


def _source(function: Any) -> str:
    """A function's source without comments and layout; the same on every Python, which its bytecode is not."""
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(function))))
    except (OSError, TypeError, SyntaxError) as error:
        raise ConfigError(
            f"the source of {function!r} cannot be read: {error}", hint="define it with def, in a file of the project"
        ) from error


class _FromSource(SourceFileLoader):
    """Reads the file each time: Python tells its bytecode from that of another content by whole seconds and size."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _import(file: Path) -> Any:
    name = f"headrace_project_{file.parent.name}_{file.stem}"
    loader = _FromSource(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    if spec is None or file.suffix != ".py":
        raise ConfigError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{file} cannot be imported: {error!r}", hint="run it with python to see where") from error
    return module


def _one(items: tuple[_Named, ...], name: str, what: str) -> _Named:
    for item in items:
        if item.name == name:
            return item
    raise ConfigError(f"{what} {name!r} is not defined", hint=f"defined are {[item.name for item in items]}")
