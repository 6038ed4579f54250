"""Where a command writes: never over what it reads, and known to be a place for a file before any work is done."""

from pathlib import Path

from headrace.errors import ConfigError

__all__ = ["check_output"]


def check_output(out: Path, inputs: dict[str, Path | None], option: str = "--out") -> None:
    """Refuse a path that cannot be the file to write.

    Args:
        out: the path.
        inputs: option -> file that is read under it; None where it was not given.
        option: under which ``out`` was given.

    Raises:
        ConfigError: it is a folder or lies below a file, or it is one of the inputs, by whatever name.
    """
    if out.is_dir():
        raise ConfigError(f"{option} {out} is a folder", hint=f"name a file, such as {out / 'out.parquet'}")
    above = next(path for path in out.absolute().parents if path.exists())
    if not above.is_dir():
        raise ConfigError(f"{option} {out} lies below {above}, which is a file", hint="name a file in a folder")
    for name, path in inputs.items():
        if path is not None and _is_same(out, path):
            raise ConfigError(f"{option} {out} is the file of {name}, which would be lost", hint="name another file")


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file; also by links, and in letters of another case where the disk minds none."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))
