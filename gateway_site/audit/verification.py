"""Whether the files of an audit log are complete and unaltered, and up to where.

Files may be given in any order: those of several machines, rotated ones, and compressed ones. They
are read once; memory grows with the number of writers and checkpoints only. Each writer's last
checkpoint is verified by KMS; by the digests, that covers all that is before it.
"""

import glob
import gzip
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast

from gateway_site.audit.chain import (
    LINE_MAX,
    NOTHING,
    Line,
    digest_of,
    may_be_cut,
    read_line,
)
from gateway_site.audit.checkpoint import INTERVAL
from gateway_site.audit.event import CHECKPOINT, DROPPED, REPEATED, parse_time
from gateway_site.audit.file_writer import BATCH_MAX
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.operations.audit_writers import AuditWriter, AuditWriters

LATE: Final = 2 * INTERVAL  # seconds between two lines of a process that runs
RECENT: Final = 3 * BATCH_MAX  # lines that a process may repeat after a write that failed


@dataclass
class Segment:
    """Consecutive lines of a writer in one file, which has a number."""

    file: int
    first: Line
    last: Line
    latest: float = float("-inf")  # the time of its lines after its last checkpoint

    def note(self, line: Line) -> None:
        """Note the time of its last line."""
        is_checkpoint = line.event["event"] == CHECKPOINT
        now = float("-inf") if is_checkpoint else parse_time(line.event["time"])
        self.latest = now if is_checkpoint else max(self.latest, now)

    def continues_with(self, line: Line, file: int) -> bool:
        """Return True if a line is the next one in the same file."""
        place = self.file, self.last.number + 1, self.last.digest
        return (file, line.number, line.previous) == place


@dataclass
class WriterLog:
    """What the files have of one writer."""

    name: str
    segments: list[Segment] = field(default_factory=list)
    checkpoints: dict[int, str] = field(default_factory=dict)  # digests by number
    last_checkpoint: Line | None = None
    lost: int = 0  # events that the writer itself reported as dropped
    unordered: int | None = None  # the first line that follows a wrong one
    unnamed: int | None = None  # a line that is twice in a file, and that no `repeated` names
    # The digests of lines that a `repeated` names: another file may have the same ones.
    named: dict[int, str] = field(default_factory=dict, repr=False)
    end: int | None = None  # the last line of a process that ended by itself
    _previous: tuple[int, int] = (-1, 0)  # file and number of the line before
    _recent: deque[tuple[int, int, str]] = field(
        default_factory=lambda: deque(maxlen=RECENT), repr=False
    )  # file, number and digest
    _repeated: tuple[int, int, int] | None = None  # file, and the lines since the last `repeated`

    def add(self, line: Line, file: int) -> None:
        """Add the next line of a file."""
        current = self.segments[-1] if self.segments else None
        place = file, line.number, line.digest
        is_repeated = place in self._recent  # written again after a failure
        self._note_order(line, file, is_repeated=is_repeated)
        if is_repeated:
            self._note_repeated(line, file)
        elif current is not None and current.continues_with(line, file):
            current.last = line
            current.note(line)
        else:
            self.segments.append(Segment(file, line, line))
            self.segments[-1].note(line)
        self._recent.append(place)
        if line.event["event"] == REPEATED and not is_repeated:
            self._note_named(line, file)
        if line.event["event"] == CHECKPOINT:
            self.checkpoints[line.number] = line.digest
            if line.event.get("is_last") is True:
                self.end = line.number
            if self.last_checkpoint is None or self.last_checkpoint.number < line.number:
                self.last_checkpoint = line
        elif line.event["event"] == DROPPED:
            number = line.event.get("events")
            self.lost += number if isinstance(number, int) else 0

    def _note_order(self, line: Line, file: int, *, is_repeated: bool) -> None:
        """Note a line that does not follow the one before it in its file."""
        (last_file, number), self._previous = self._previous, (file, line.number)
        follows = line.number == number + 1 or (is_repeated and line.number <= number)
        if file == last_file and not follows and self.unordered is None:
            self.unordered = line.number

    def _note_repeated(self, line: Line, file: int) -> None:
        """Note a line that is twice in its file."""
        if self._repeated is None or self._repeated[0] != file:
            self.unnamed = self.find_unnamed()
            self._repeated = file, line.number, line.number
        else:
            _, first, last = self._repeated
            self._repeated = file, min(first, line.number), max(last, line.number)

    def _note_named(self, line: Line, file: int) -> None:
        """Note the lines that a `repeated` names, which are those right before it."""
        first, last = line.event.get("first"), line.event.get("last")
        if type(first) is not int or last != line.number - 1:
            return
        if self._repeated is not None and self._repeated[0] == file:
            if first <= self._repeated[1]:
                self._repeated = None
            self.unnamed = self.find_unnamed()
        self.named |= {
            number: digest
            for where, number, digest in self._recent
            if where == file and first <= number <= last
        }

    def find_unnamed(self) -> int | None:
        """Return the first line that is twice in a file without being named."""
        if self.unnamed is None and self._repeated is not None:
            return self._repeated[1]
        return self.unnamed

    @property
    def unauthenticated(self) -> int:
        """The number of lines after the last checkpoint."""
        last = self.last_checkpoint
        return self.last.number - (0 if last is None else last.number)

    @property
    def last(self) -> Line:
        """The line with the highest number."""
        return max((each.last for each in self.segments), key=lambda line: line.number)

    @property
    def first(self) -> Line:
        """The line with the lowest number."""
        return min((each.first for each in self.segments), key=lambda line: line.number)

    @property
    def has_ended(self) -> bool:
        """Whether the writer ended by itself, and the end is here."""
        return self.last.event["event"] == CHECKPOINT and self.last.event.get("is_last") is True


@dataclass
class AuditLog:
    """All writers of some files; how many lines were cut, and how many no writer wrote."""

    writers: dict[str, WriterLog] = field(default_factory=dict)
    damaged: int = 0
    foreign: int = 0
    heads: dict[str, tuple[int, str]] = field(default_factory=dict)  # as others' checkpoints say

    def add(self, text: bytes, file: int) -> None:
        """Add the next line of a file."""
        line = read_line(text)
        if line is None:
            is_cut = may_be_cut(text)
            self.damaged, self.foreign = self.damaged + is_cut, self.foreign + (not is_cut)
            return
        self.writers.setdefault(line.writer, WriterLog(line.writer)).add(line, file)
        if line.event["event"] == CHECKPOINT:
            for name, head in _heads_of(line):
                if head[0] > self.heads.get(name, (0, ""))[0]:
                    self.heads[name] = head


@dataclass(frozen=True)
class Fault:
    """Something that is missing or was changed."""

    writer: str
    sentence: str


def read_log(paths: Iterable[Path]) -> AuditLog:
    """Read the files of a log. Raises OSError."""
    log = AuditLog()
    for file, path in enumerate(paths):
        for text in read_texts(path):
            log.add(text, file)
    return log


def read_texts(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, which may be compressed, without their ends. Raises OSError."""
    open_file = gzip.open if path.suffix == ".gz" else Path.open
    with cast("BinaryIO", open_file(path, "rb")) as file:
        while text := file.readline(LINE_MAX + 1):
            if text.strip():
                yield text.removesuffix(b"\n")


def find_files(path: Path) -> list[Path]:
    """Return the current file of a log and those that were rotated, which have longer names."""
    name, stem = glob.escape(path.name), glob.escape(path.stem)
    found = {path, *path.parent.glob(f"{name}[.-]*"), *path.parent.glob(f"{stem}-*")}
    return sorted(each for each in found if each.is_file())


def find_faults(log: AuditLog, *, since: float | None = None) -> Iterator[Fault]:
    """Yield what the files alone show; files from before ``since`` may be missing."""
    if log.foreign:
        yield Fault("-", f"{log.foreign} lines are of no process: somebody else has written them.")
    for name, writer in sorted(log.writers.items()):
        faults = [*_chain_faults(writer, since), *_late_faults(writer)]
        yield from faults
        if (repeated := writer.find_unnamed()) is not None:
            yield Fault(name, f"The event {repeated} is twice in a file.")
        elif not faults and writer.unordered is not None:
            yield Fault(name, f"The event {writer.unordered} is not at its place in a file.")
        head = log.heads.get(name)
        if head is not None:
            yield from _head_faults(writer, *head, by="a checkpoint of another process")
    for name in sorted(log.heads.keys() - log.writers.keys()):
        if since is None:
            yield Fault(name, "A checkpoint of another process names it, and no file has it.")


def find_faults_by_aws(
    log: AuditLog, stored: Mapping[str, AuditWriter | None], aws: AuditWriters, since: float | None
) -> Iterator[Fault]:
    """Yield what KMS and the table show. Raises StoreUnavailable.

    ``stored`` are the writers of the table, read before the files; None for an unreadable one.
    """
    for name, writer in sorted(log.writers.items()):
        last = writer.last_checkpoint
        if last is None:
            yield Fault(name, "It has no checkpoint: nothing shows that it is unaltered.")
        elif not last.mac or not aws.is_signed(last.message, last.mac):
            yield Fault(name, f"The checkpoint {last.number} was not signed by KMS.")
        elif name not in stored and aws.should_have(name, parse_time(last.event["time"])):
            yield Fault(name, "The table has no checkpoint of it: its end may have been removed.")
    for name, found in sorted(stored.items()):
        yield from _stored_faults(log, name, found, since)


def read_stored(aws: AuditWriters) -> dict[str, AuditWriter | None]:
    """Return the writers that the table has. Raises StoreUnavailable."""
    found: dict[str, AuditWriter | None] = {}
    for name in aws.names():
        try:
            writer = aws.get(name)
        except InvalidRecord:
            found[name] = None
            continue
        if writer is not None:  # The index lags behind.
            found[name] = writer
    return found


def _stored_faults(
    log: AuditLog, name: str, found: AuditWriter | None, since: float | None
) -> Iterator[Fault]:
    line = None if found is None else read_line(found.checkpoint)
    if found is None or line is None or (line.writer, line.number) != (name, found.number):
        yield Fault(name, "Its item in the table cannot be read: the table was changed.")
        return
    when = line.event["time"]
    writer = log.writers.get(name)
    if writer is not None:
        digest = digest_of(found.checkpoint)
        yield from _head_faults(writer, found.number, digest, by=f"the table ({when})")
    elif since is None or parse_time(line.event["time"]) >= since:
        host = line.event.get("host")
        yield Fault(
            name, f"The table has {found.number} events of {host} up to {when}, and no file does."
        )


def _chain_faults(writer: WriterLog, since: float | None) -> Iterator[Fault]:
    """Yield where the chain of a writer is interrupted."""
    number, digest = 0, NOTHING
    seen: set[tuple[int, str, str]] = set()
    for segment in sorted(writer.segments, key=lambda each: (each.first.number, each.last.number)):
        first, last = segment.first, segment.last
        if (ends := (first.number, first.digest, last.digest)) in seen:
            continue  # the same file twice
        seen.add(ends)
        if first.number > number + 1:
            is_old = since is not None and parse_time(first.event["time"]) <= since + LATE
            if number or not is_old:
                yield Fault(writer.name, f"Events {number + 1} to {first.number - 1} are missing.")
        elif first.number == number + 1 and first.previous != digest:
            yield Fault(writer.name, f"The event {number} or {first.number} was changed.")
        elif first.number <= number and not (
            first.number in writer.named and writer.named.get(number) == digest
        ):
            yield Fault(writer.name, f"There are two versions of the event {first.number}.")
        if last.number > number:
            number, digest = last.number, last.digest
    if writer.end is not None and number > writer.end:
        yield Fault(writer.name, f"Events after {writer.end} follow its end.")


def _late_faults(writer: WriterLog) -> Iterator[Fault]:
    """Yield whether lines after the last checkpoint are too late for a process that was killed."""
    if (checkpoint := writer.last_checkpoint) is None:
        return
    after = [each.latest for each in writer.segments if each.last.number > checkpoint.number]
    if after and max(after) > parse_time(checkpoint.event["time"]) + LATE:
        yield Fault(
            writer.name,
            f"Events after the checkpoint {checkpoint.number} are dated over ten minutes later:"
            " nothing shows that they are unaltered.",
        )


def _head_faults(writer: WriterLog, number: int, digest: str, *, by: str) -> Iterator[Fault]:
    last = writer.last.number
    if number > last:
        yield Fault(writer.name, f"Events {last + 1} to {number} are missing, which {by} has.")
    elif writer.checkpoints.get(number) != digest and number >= writer.first.number:
        yield Fault(writer.name, f"The event {number} differs from what {by} has.")


def _heads_of(line: Line) -> Iterator[tuple[str, tuple[int, str]]]:
    heads = line.event.get("heads")
    for name, head in heads.items() if isinstance(heads, dict) else ():
        match head:
            case [int(number), str(digest)]:
                yield name, (number, digest)
