"""The peers of ``headrace bench stream`` do the work they are measured for."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from feature_store.compute import compute_file
from feature_store.online.online_layout import decode_value, entity_key, feature_field
from headrace.bench.hand_made import HandMade, decode
from headrace.bench.workload import CUSTOMERS, TERMINALS, TRANSACTIONS, make_events, make_project
from headrace.config import Settings


@pytest.mark.parametrize("flush_events", [7, 10_000])
def test_features_made_by_hand_are_ours_where_nothing_is_late(
    stack: Settings, fresh_name: Callable[[str], str], flush_events: int
) -> None:
    events, project = make_events(3_000), fresh_name("by_hand")
    made = HandMade(stack.redis.url, project, flush_events=flush_events)
    for event in events.to_pylist():
        made.event(decode(json.dumps(event, default=lambda at: at.isoformat()).encode()))
    made.flush()

    ours = compute_file(make_project(project), TRANSACTIONS, events).to_pydict()
    client = redis.Redis.from_url(stack.redis.url)
    for view in (CUSTOMERS, TERMINALS):
        keys = events.column(view.entity).to_pylist()
        last = {key: row for row, key in enumerate(keys)}
        assert len(last) > 1_000
        for key, row in last.items():
            stored: Any = client.hgetall(entity_key(view.entity, key, project))
            theirs = {name: decode_value(stored[feature_field(view.name, name)]) for name in view.feature_names}
            expected = {name: ours[f"{view.name}__{name}"][row] for name in theirs}
            assert theirs == pytest.approx(expected), f"{view.name} of {key}"
    client.close()
