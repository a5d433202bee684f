"""The file that all processes of a machine append to.

Other programs may rename it at any time: each write goes to the file that has the name then. A
process that is killed, or a full disk, can leave part of a line: it is ended before the next write,
so that no other line is damaged.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LOCK_TIME: Final = 1.0  # seconds to wait for another process, which may be stopped
LOCK_PAUSE: Final = 0.005
MODE: Final = 0o600


class AuditFile:
    """One process's descriptor of the file. Every method raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        # Whether an append that failed may have left whole lines.
        self.may_have_left = False

    def append(self, lines: bytes) -> None:
        """Append whole lines, all or none of them, unless `may_have_left` says otherwise."""
        self.may_have_left = False
        descriptor = self._open_current()
        with _locked(descriptor) as is_locked:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines
            try:
                self.may_have_left = True
                while lines:
                    lines = lines[os.write(descriptor, lines) :]
            except OSError:
                if is_locked:  # Otherwise another process may have appended since.
                    with suppress(OSError):
                        os.ftruncate(descriptor, size)
                        self.may_have_left = False
                raise

    def sync(self) -> None:
        """Wait until all that was appended is on the disk."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close it; the next append opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open_current(self) -> int:
        """Return a descriptor of the file that has the name now."""
        if self._descriptor is not None and not self._has_moved(self._descriptor):
            return self._descriptor
        self.close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, MODE)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "AUDIT_FILE is not a regular file")
        self._descriptor = descriptor
        return descriptor

    def _has_moved(self, descriptor: int) -> bool:
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(named, os.fstat(descriptor))


@contextmanager
def _locked(descriptor: int) -> Iterator[bool]:
    """Lock the file if that is possible; yield whether it is locked."""
    is_locked, end = False, time.monotonic() + LOCK_TIME
    while not is_locked:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
        except BlockingIOError:
            if time.monotonic() >= end:
                break
            time.sleep(LOCK_PAUSE)
        except OSError:  # a file system without locks
            break
    try:
        yield is_locked
    finally:
        if is_locked:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
