"""Requests drawn from an OpenAPI document, and answers held against it: the part of JSON Schema our document uses."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

__all__ = ["assert_matches", "bent", "drawn"]

Schema = Mapping[str, Any]
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_MOST_ITEMS = 4


def drawn(schema: Schema) -> st.SearchStrategy[Any]:
    """Values a schema allows."""
    if "anyOf" in schema:
        return st.one_of([drawn(each) for each in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        properties = {name: drawn(each) for name, each in schema["properties"].items()}
        required = set(schema["required"])
        return st.fixed_dictionaries(
            {name: each for name, each in properties.items() if name in required},
            optional={name: each for name, each in properties.items() if name not in required},
        )
    if kind == "array":
        most = min(schema.get("maxItems", _MOST_ITEMS), _MOST_ITEMS)
        return st.lists(drawn(schema["items"]), min_size=schema.get("minItems", 0), max_size=most)
    if kind == "integer":
        low, high = schema["minimum"], schema["maximum"]
        return st.integers(0, 9) | st.integers(low, high) | st.sampled_from([low, high])
    if kind == "number":
        return st.floats(schema["minimum"], schema["maximum"]) | st.integers(-5, 5)
    if kind == "string":
        if schema.get("format") == "date-time":
            return st.datetimes().map(lambda moment: moment.isoformat() + "Z")
        return st.text(max_size=min(schema.get("maxLength", 20), 20))
    return {"boolean": st.booleans(), "null": st.none()}.get(str(kind), _JSON)


@st.composite
def bent(draw: st.DrawFn, value: Any) -> Any:
    """A value with one place in it replaced, removed or added."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        rest = {key: each for key, each in value.items() if key != name}
        act = draw(st.sampled_from(["inside", "remove", "rename"]))
        if act == "inside":
            return {**rest, name: draw(bent(value[name]))}
        return rest if act == "remove" else {**rest, draw(st.text(max_size=6)): value[name]}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(bent(value[at])), *value[at + 1 :]]
    return draw(_JSON)


def assert_matches(value: Any, schema: Schema, document: Schema) -> None:
    """Fail when a schema does not allow the value."""
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        assert_matches(value, found, document)
    elif "anyOf" in schema:
        assert any(_matches(value, each, document) for each in schema["anyOf"]), (value, schema)
    elif (kind := schema.get("type")) is not None:
        assert _is_kind(value, kind), (value, schema)
        if kind == "object" and "properties" in schema:
            assert set(schema["required"]) <= value.keys() <= schema["properties"].keys(), (value, schema)
            for name, each in value.items():
                assert_matches(each, schema["properties"][name], document)
        if kind == "array":
            for each in value:
                assert_matches(each, schema["items"], document)


def _matches(value: Any, schema: Schema, document: Schema) -> bool:
    try:
        assert_matches(value, schema, document)
    except AssertionError:
        return False
    return True


def _is_kind(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        numbers = int if kind == "integer" else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, kinds[kind])
