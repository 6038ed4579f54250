"""Every role is started with what its ``run`` takes; read from the source, for some of them take seconds to import."""

import ast
from pathlib import Path

import pytest

from headrace.cli.main import main
from headrace.cli.roles import READING, ROLES

_ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_what_it_takes(role: str) -> None:
    source = _ROOT / (ROLES[role][0].replace(".", "/") + ".py")
    (run,) = (
        node for node in ast.parse(source.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == "run"
    )

    taken = [argument.arg for argument in run.args.args]
    assert taken == ["settings", "project", *(["open_reader"] if role in READING else [])]


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_help_names_the_roles_there_are(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)

    said = " ".join(capsys.readouterr().out.split())
    assert f"un a role: {', '.join(ROLES)}" in said
    assert "trainer" not in said
