"""What is typed wrongly in a lookup, an erasure or a publication is refused, with the next step."""

from pathlib import Path

import pytest

from headrace.cli.entity_keys import parse_key
from headrace.cli.main import main
from headrace.errors import ConfigError
from headrace.spec.types import Int64, String

_EXAMPLE = str(Path(__file__).parents[3] / "examples" / "fraud")


@pytest.mark.parametrize("text", ["0", "7", "-7", "007", str(2**63 - 1), str(-(2**63))])
def test_whole_numbers_are_plain_digits(text: str) -> None:
    assert parse_key("card", text, Int64()) == int(text)


@pytest.mark.parametrize(
    "text", ["", "abc", "1.5", "1_0", " 1", "1 ", "1\n", "+1", "--1", "١", "²", "0x1", str(2**63), "1" * 5000]
)
def test_what_only_looks_like_a_number_is_refused_and_is_a_text(text: str) -> None:
    with pytest.raises(ConfigError, match="no whole number of 64 bits") as refused:
        parse_key("card", text, Int64())
    assert "digits alone" in refused.value.hint

    assert parse_key("shop", text, String()) == text


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (["customer_id=1", "customer_id=2"], "'customer_id' has two keys: 1 and 2", "one after the other"),
        (["customer_id=1", "customer_id=1"], "'customer_id' has two keys: 1 and 1", "one after the other"),
        (["customer_id=abc"], "a key of 'customer_id' is no whole number of 64 bits: 'abc'", "digits alone"),
        (["customer_id="], "a key of 'customer_id' is no whole number of 64 bits: ''", "digits alone"),
        (["customer_id=1_0"], "'1_0'", "digits alone"),
        (["shop=1"], "entity 'shop=1' is not understood", "write one of"),
        (["customer_id=1", "--at", "yesterday"], "--at: ", "write it like 2018"),
        (["customer_id=1", "--at", "2018-05-01T00:00:00"], "no time zone", "write it like 2018"),
    ],
)
def test_a_lookup_says_what_is_wrong_and_what_to_do(
    words: list[str], says: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["features", "lookup", "--project", _EXAMPLE, *words]) == 1

    error = capsys.readouterr().err
    assert says in error
    assert hint in error


def test_an_erasure_takes_keys_as_a_lookup_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase", "--project", _EXAMPLE, "--entity", "customer_id", "--key", "1_0", "--dry-run"]) == 1

    assert "a key of 'customer_id' is no whole number of 64 bits: '1_0'" in capsys.readouterr().err


def test_a_publication_says_how_an_instant_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "--project", _EXAMPLE, "--events", "events.parquet", "--until", "foo"]) == 1

    error = capsys.readouterr().err
    assert "--until: " in error
    assert "write it like 2018" in error
