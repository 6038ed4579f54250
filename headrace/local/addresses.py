"""From ports to the settings other commands read."""

from pathlib import Path

from headrace.config import KafkaSettings, MlflowSettings, RedisSettings, Settings, TemporalSettings
from headrace.local.ports import HOST

__all__ = ["addresses_of", "overridden", "settings_of"]


def addresses_of(ports: dict[str, int], names: set[str]) -> dict[str, dict[str, str]]:
    """Sections of settings for the running servers, as ``stack.json`` holds them.

    >>> addresses_of({"kafka": 20001}, {"kafka"})
    {'kafka': {'bootstrap': '127.0.0.1:20001'}}
    """
    sections: dict[str, dict[str, str]] = {}
    if "kafka" in names:
        sections["kafka"] = {"bootstrap": f"{HOST}:{ports['kafka']}"}
    if "valkey" in names:
        sections["redis"] = {"url": f"redis://{HOST}:{ports['redis']}/0"}
    if "temporal" in names:
        sections["temporal"] = {
            "address": f"{HOST}:{ports['temporal']}",
            "ui_url": f"http://{HOST}:{ports['temporal-ui']}",
        }
    if "mlflow" in names:
        sections["mlflow"] = {"ui_url": f"http://{HOST}:{ports['mlflow']}"}
    return sections


def settings_of(home: Path, ports: dict[str, int]) -> Settings:
    """Settings that name exactly this stack, whatever the environment or ``headrace.toml`` say."""
    sections = addresses_of(ports, {"kafka", "valkey", "temporal", "mlflow"})
    return Settings(
        home=home,
        kafka=KafkaSettings(**sections["kafka"]),  # type: ignore[arg-type]  # only text fields are given
        redis=RedisSettings(**sections["redis"]),
        temporal=TemporalSettings(**sections["temporal"]),
        mlflow=MlflowSettings(**sections["mlflow"]),
    )


def overridden(settings: Settings, ports: dict[str, int], names: set[str]) -> list[str]:
    """Settings that point somewhere else than this stack, as sentences."""
    return [
        f"{section}.{name} is set by the environment or headrace.toml, so commands will not use the embedded server"
        for section, wanted in addresses_of(ports, names).items()
        for name, address in wanted.items()
        if getattr(getattr(settings, section), name) != address
    ]
