"""Kafka's jars are the locked ones or none."""

import fcntl
import json
import queue
from concurrent.futures import ThreadPoolExecutor
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


def test_two_first_starts_do_not_download_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """jgo takes a cache that another jgo is filling for the whole; the second start waits, and finds the jars."""
    monkeypatch.setenv("HOME", str(tmp_path))
    layout, jar, said = Layout(tmp_path), tmp_path / "a.jar", queue.Queue[str]()
    layout.run_dir.mkdir()
    jar.touch()
    (tmp_path / ".cache" / "headrace").mkdir(parents=True)
    with (tmp_path / ".cache" / "headrace" / "kafka-jars.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with ThreadPoolExecutor() as pool:
            second = pool.submit(kafka_jars.fetch_jars, layout, said.put)
            assert "waiting" in said.get(timeout=30)
            (layout.run_dir / "kafka-jars.json").write_text(json.dumps([str(jar)]))
            fcntl.flock(held, fcntl.LOCK_UN)

            assert second.result(timeout=30) == [jar]


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
