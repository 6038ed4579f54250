"""The whole loop, as a user meets it: one command, real servers, every promise held."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(900)
def test_the_demo_keeps_its_promises(tmp_path: Path) -> None:
    """The whole demo on its own data: first model, drift, retraining, promotion, two bad candidates sent back."""
    home, out = tmp_path / "home", tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "demo", "--home", str(home), "--out", str(out)],
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")},
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "BROKEN" not in done.stdout
    assert (out / "quality.png").stat().st_size > 10_000
    assert "Promises" in (out / "summary.html").read_text()
    assert not _processes_of(home)


def _processes_of(home: Path) -> list[str]:
    """Command lines of processes that still mention the home."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if re.search(re.escape(str(home)), line):
            found.append(json.dumps(line))
    return found
