"""Writing files so that a crash loses nothing, and reading only what is a file."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write_atomic(path: Path, content: bytes | str) -> Path:
    """Write `content` to `path` by `replacing`; text is UTF-8.

    Returns:
        `path`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, which is then synced and renamed to `path`.

    Whatever happens, `path` holds the old content or the new, never a part. Missing folders are
    made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.close(handle)
        yield Path(name)
        # By its name: whoever wrote there may have put another file in its place.
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files private; a saved file has the rights any new file would have.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def regular(path: Path) -> Path:
    """`path`, if a file is there: a pipe would be waited for, and a device may have no end.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: there is something else.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"there is no file {path}.") from error
    if stat.S_ISREG(mode):
        return path
    if stat.S_ISDIR(mode):
        raise ValueError(f"{path} is a folder; give a file.")
    what = "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
    raise ValueError(f"{path} is {what}, which is not read; copy its content to a file first.")
