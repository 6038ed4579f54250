"""Every role is started with what its ``run`` takes; read from the source, for some of them take seconds to import."""

import ast
from pathlib import Path

import pytest

from headrace.cli.run import READING, ROLES

_ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_what_it_takes(role: str) -> None:
    source = _ROOT / (ROLES[role][0].replace(".", "/") + ".py")
    (run,) = (
        node for node in ast.parse(source.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == "run"
    )

    taken = [argument.arg for argument in run.args.args]
    assert taken == ["settings", "project", *(["open_reader"] if role in READING else [])]
