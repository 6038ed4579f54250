"""Times as they are typed."""

from headrace.clock import parse_us
from headrace.errors import ConfigError

__all__ = ["instant"]


def instant(text: str, option: str) -> int:
    """Microseconds of a time given on the command line.

    Raises:
        ConfigError: it is no timestamp with a zone.
    """
    try:
        return parse_us(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}", hint="write it like 2018-05-01T00:00:00Z") from error
