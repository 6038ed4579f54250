"""Progress on stderr: plain lines for files and pipes, a moving line on a terminal."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

__all__ = ["Teller"]


class Teller:
    """Call it with a name and a sentence; inside ``with`` a terminal shows that work goes on."""

    def __init__(self) -> None:
        self._console: Console | None = None
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
            self._status = self._console.status("working")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, name: str, sentence: str) -> None:
        if self._console is None:
            # One write, because several threads tell.
            sys.stderr.write(f"{name:<9} {sentence}\n")
            sys.stderr.flush()
        else:
            from rich.text import Text

            self._console.print(Text.assemble((f"{name:<9} ", "bold"), sentence), soft_wrap=True)
