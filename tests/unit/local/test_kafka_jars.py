"""Kafka's jars are the locked ones or none."""

import json
from pathlib import Path

import pytest

from headrace.errors import IntegrityError
from headrace.local import kafka_jars
from headrace.local.layout import Layout


def test_remembered_jars_are_used_only_while_all_of_them_exist(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.run_dir.mkdir()
    jars = [tmp_path / "a.jar", tmp_path / "b.jar"]
    for jar in jars:
        jar.touch()
    (layout.run_dir / "kafka-jars.json").write_text(json.dumps([str(jar) for jar in jars]))

    assert kafka_jars.known_jars(layout) == jars
    jars[0].unlink()
    assert kafka_jars.known_jars(layout) == []


def test_a_changed_jar_is_refused(tmp_path: Path) -> None:
    jar = tmp_path / "kafka_2.13-4.1.2.jar"
    jar.write_bytes(b"not Kafka")

    with pytest.raises(IntegrityError, match="not the locked"):
        kafka_jars.verify([jar], kafka_jars.read_digests())


def test_an_unlisted_jar_is_refused(tmp_path: Path) -> None:
    jar = tmp_path / "extra.jar"
    jar.touch()

    with pytest.raises(IntegrityError, match="not listed"):
        kafka_jars.verify([jar], kafka_jars.read_digests())


def test_a_missing_jar_is_noticed() -> None:
    with pytest.raises(IntegrityError, match=r"without .*kafka_2\.13-4\.1\.2\.jar"):
        kafka_jars.verify([], kafka_jars.read_digests())
