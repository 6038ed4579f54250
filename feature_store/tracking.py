"""How work that takes long says how far it is."""

from collections.abc import Callable

__all__ = ["Track", "untracked"]

Track = Callable[[str, int, int], None]
"""Takes what is done, in words such as ``files of clicks read``; how many of it are; and of how many.

Called with 0 when such work begins, so that a rate can be told.
"""


def untracked(what: str, done: int, total: int, /) -> None:
    """For whom nobody waits."""
