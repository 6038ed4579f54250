"""The exceptions of headrace, as one tree.

    HeadraceError
    ├── ConfigError            a setting or a file is wrong; a person must change it
    │   └── DefinitionError    a declared stream, view or model is wrong
    ├── UnavailableError       a server did not answer; trying again is right
    ├── RejectedError          a request or an operation is not allowed as asked
    └── IntegrityError         bytes on disk or on the wire are not what they claim to be

A class exists only where some caller handles it differently.
Third-party errors become one of these in the adapter that meets them, and nowhere else.
"""

__all__ = [
    "ConfigError",
    "DefinitionError",
    "HeadraceError",
    "IntegrityError",
    "RejectedError",
    "UnavailableError",
]


class HeadraceError(Exception):
    """Base of every error raised on purpose.

    The message says what is wrong with the value in it; ``hint`` is the next step.
    """

    retryable = False
    """Whether the same call may succeed later without anybody changing anything."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message}\n  hint: {self.hint}" if self.hint else message


class ConfigError(HeadraceError):
    """A setting, an argument or a file is wrong."""


class DefinitionError(ConfigError):
    """A definition (stream, view, model …) is wrong; names the field and the value."""


class UnavailableError(HeadraceError):
    """A server did not answer or refused for now."""

    retryable = True


class RejectedError(HeadraceError):
    """The request is understood and not allowed: illegal transition, unknown entity, oversized batch …"""


class IntegrityError(HeadraceError):
    """A digest, checksum or version does not match; the bytes must not be used."""
