"""Writing files so that a crash loses nothing and leaves little; reading only what is a file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

# Temporary folders beside a file: .<name>.posterity-<machine>-<process>-<its start>-<random>
MARK = re.compile(r"\..*\.posterity-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}", re.DOTALL)
LONG_AGO = 24 * 3600  # seconds without a change, after which a writer who cannot be asked is gone
LONGEST = 100  # letters of a file's name that the folder repeats; systems allow 255 in all


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
    made. What killed processes have left in the folder is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(path)
    # A folder of its own, as the library that writes there may have temporary files, too.
    folder = path.with_name(f".{path.name[:LONGEST]}.{_signature()}")
    folder.mkdir(mode=0o700)
    temporary = folder / "new"
    try:
        temporary.touch()
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # The folder is private; a saved file has the rights any new file would have.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def remove_stale(path: Path) -> None:
    """Remove what writers that are gone have left beside `path`; those that live lose nothing.

    A writer of this machine is gone if no process has its number and began when it did. One of
    another machine is gone after a day without a change.
    """
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            signed = entry.name.startswith(".") and MARK.fullmatch(entry.name)
            if not signed or not entry.is_dir(follow_symlinks=False):
                continue
            with contextlib.suppress(OSError):
                if signed[1] == _here() and os.name != "nt":  # where asking ends it
                    gone = not _lives(int(signed[2]), int(signed[3]))
                else:
                    gone = time.time() - _last_change(entry.path) > LONG_AGO
                if gone:
                    shutil.rmtree(entry.path, ignore_errors=True)


def _signature() -> str:
    return f"posterity-{_here()}-{os.getpid()}-{_begun(os.getpid())}-{secrets.token_hex(4)}"


def _here() -> str:
    """Eight letters for this machine since it started, and the container whose processes we see."""
    known = [socket.gethostname()]
    with contextlib.suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        known.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(" ".join(known).encode()).hexdigest()[:8]


def _last_change(folder: str) -> float:
    """When something was last written to a folder or to a file in it, in seconds."""
    with os.scandir(folder) as inside:
        times = [one.stat(follow_symlinks=False).st_mtime for one in inside]
    return max([os.stat(folder).st_mtime, *times])


def _lives(pid: int, begun: int) -> bool:
    """Whether the process that began then is there; in doubt it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        pass
    now = _begun(pid)
    return now == begun or 0 in (now, begun)


def _begun(pid: int) -> int:
    """When a process began, in ticks since the machine started; 0 where that cannot be known."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
