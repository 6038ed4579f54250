"""A request that cannot be answered as asked: what is wrong with which field."""

from headrace.errors import RejectedError

__all__ = ["RequestError"]


class RequestError(RejectedError):
    """Answered with a 4xx status that names the field; never logged as a failure of ours."""

    def __init__(self, field: str, message: str, *, hint: str = "", status: int = 400) -> None:
        super().__init__(message, hint=hint)
        self.field = field
        """Path of the offending field, such as ``events[3].tx_amount``; empty for the request as a whole."""
        self.status = status
        """HTTP status."""

    @property
    def message(self) -> str:
        """What is wrong, without the hint."""
        return str(self.args[0])
