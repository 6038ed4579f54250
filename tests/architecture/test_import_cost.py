"""Importing the vocabulary or asking for help loads nothing heavy: counted in modules, not in seconds."""

import subprocess
import sys

import pytest

HEAVY = frozenset(
    (
        "confluent_kafka",
        "datasketches",
        "duckdb",
        "evidently",
        "faust",
        "feast",
        "hiredis",
        "httptools",
        "httpx",
        "jgo",
        "matplotlib",
        "mlflow",
        "mmh3",
        "msgspec",
        "numba",
        "numpy",
        "pandas",
        "psutil",
        "pyarrow",
        "redis",
        "rich",
        "river",
        "sklearn",
        "starlette",
        "temporalio",
        "torch",
        "uvicorn",
        "uvloop",
    )
)
_MOST_MODULES = 300
"""Loaded in total; Python alone loads about 60, argparse, dataclasses and typing make it 150."""


@pytest.mark.parametrize(
    "code",
    [
        "import headrace",
        "from headrace import *",
        "import headrace.spec.project",
        "from headrace.cli.main import main; main([])",
        "from headrace.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from headrace.cli.main import main\ntry: main(['up', '--help'])\nexcept SystemExit: pass",
        "from headrace.config import load_settings; load_settings()",
    ],
)
def test_stays_light(code: str) -> None:
    asked = f"import sys\n{code}\nprint('\\nloaded', *sys.modules)"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    loaded = said.rpartition("\nloaded ")[2].split()

    assert {name.split(".")[0] for name in loaded} & HEAVY == set()
    assert len(loaded) < _MOST_MODULES


def test_every_command_explains_itself() -> None:
    """`headrace COMMAND --help` works for every command in the table, which finds missing modules."""
    from headrace.cli.main import COMMANDS

    asked = "\n".join(
        [
            "import contextlib, io, sys",
            "from headrace.cli.main import main",
            "for name in sys.argv[1:]:",
            "    with contextlib.redirect_stdout(io.StringIO()) as said:",
            "        try: main([name, '--help'])",
            "        except SystemExit as end: assert end.code == 0, name",
            "    assert 'usage: headrace ' + name in said.getvalue(), name",
        ]
    )
    names = [command.name for command in COMMANDS]

    ended = subprocess.run([sys.executable, "-c", asked, *names], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
