"""Imports go one way; what must stay pure reaches no server, no framework, no network."""

import re
import tomllib
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

from tests.architecture.conftest import PACKAGES

_ROOT = Path(__file__).parents[2]

PURE_PARTS = ("headrace.clock", "headrace.contracts", "headrace.errors", "headrace.spec")
PURE_NAMES = re.compile(
    r"(algebra|windows|\w*kernels|plan|point_in_time|topology|lateness|statistics|policy|decisions|canary|router|predictor)"
)
"""Names of files whose content is ideas only: tested without a server, usable anywhere."""

PURE = (
    *PURE_PARTS,
    *(
        ".".join(path.relative_to(_ROOT).with_suffix("").parts)
        for package in PACKAGES
        for path in sorted((_ROOT / package).rglob("*.py"))
        if PURE_NAMES.fullmatch(path.stem)
    ),
)

OUTSIDE = frozenset(
    (
        "aiohttp",
        "aiokafka",
        "asyncio",
        "confluent_kafka",
        "duckdb",
        "evidently",
        "fastapi",
        "faust",
        "feast",
        "hiredis",
        "httptools",
        "httpx",
        "mlflow",
        "mode",
        "redis",
        "requests",
        "socket",
        "sqlalchemy",
        "starlette",
        "temporalio",
        "urllib3",
        "uvicorn",
        "uvloop",
        "valkey",
    )
)
"""What a pure file must not reach, directly or through another file."""

NOT_IN_WORKFLOWS = OUTSIDE - {"temporalio", "asyncio"} | {"numpy", "numba", "pandas", "pyarrow", "torch", "river"}
"""Temporal runs workflow files in a sandbox that has to load all they import, for every run."""


def test_contracts_of_import_linter_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_ROOT)

    assert lint_imports(config_filename=str(_ROOT / "pyproject.toml"), no_cache=True) == 0


def test_every_part_of_headrace_has_a_place_in_the_layers(imports: grimp.ImportGraph) -> None:
    config = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = {name.strip(" ()") for layer in layers for name in layer.replace("|", ":").split(":")}
    parts = imports.find_children("headrace") - {"headrace.__main__"}

    assert parts - placed == set()


@pytest.mark.parametrize("module", PURE)
def test_a_pure_file_reaches_nothing_outside(imports: grimp.ImportGraph, module: str) -> None:
    assert _reached(imports, module) & OUTSIDE == set()


def test_workflow_definitions_reach_only_decisions_and_contracts(imports: grimp.ImportGraph) -> None:
    definitions = {
        module
        for module in imports.find_modules_directly_imported_by("workflows") | imports.find_children("workflows")
        if "workflow.defn" in _source(module)
    }
    reached = {name: _reached(imports, name) for name in definitions}

    assert {name: found & NOT_IN_WORKFLOWS for name, found in reached.items() if found & NOT_IN_WORKFLOWS} == {}
    ours = {"feature_store", "monitors", "trainers", "serving", "streams"}
    assert {name: found & ours for name, found in reached.items() if found & ours} == {}


def _reached(imports: grimp.ImportGraph, module: str) -> set[str]:
    """Top-level names of everything a module imports, directly or not."""
    is_package = bool(imports.find_children(module))
    return {name.split(".")[0] for name in imports.find_upstream_modules(module, as_package=is_package)}


def _source(module: str) -> str:
    path = _ROOT / (module.replace(".", "/") + ".py")
    return path.read_text() if module.split(".")[0] in PACKAGES and path.exists() else ""
