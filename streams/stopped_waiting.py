"""How a wait for a server that is away ends when the worker is told to stop."""

__all__ = ["StoppedWaitingError"]


class StoppedWaitingError(Exception):
    """Told to stop while a server was away; what waited for it is not done."""
