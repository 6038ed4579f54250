"""The embedded stack keeps its promises on real servers."""

import json

from headrace.config import Settings
from headrace.local.probes import PROBES


def test_every_server_answers_at_the_published_address(stack: Settings) -> None:
    published = json.loads((stack.home / "stack.json").read_text())["settings"]

    answered = {PROBES[name](stack) for name in ("kafka", "valkey", "temporal")}

    assert published["kafka"]["bootstrap"] in answered
    assert published["temporal"]["address"] in answered
