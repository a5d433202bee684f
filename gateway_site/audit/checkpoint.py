"""Checkpoints of a process's chain, which show later that nothing before them was changed.

A checkpoint is a line of the chain, signed by KMS, with the last checkpoints of the other writers.
It is also stored in the table. So the end of a chain, or a whole chain, can be removed unnoticed
only after the last checkpoint, or by somebody who controls both the files and the table.
"""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from gateway_site.audit.chain import Chain, digest_of, read_line, signed_message, with_mac
from gateway_site.audit.event import CHECKPOINT, make_event
from gateway_site.edge.http_metrics import gateway
from sessions_kms import ahead
from sessions_kms.exceptions import InvalidRecord, SessionsKMSError, StoreUnavailable
from sessions_kms.hints import command
from sessions_kms.operations.audit_writers import AuditWriter, AuditWriters

logger = logging.getLogger(__name__)

INTERVAL: Final = 300.0  # seconds
RETRY: Final = 30.0  # seconds after one that failed
HEADS_MAX: Final = 100  # other writers, the newest

Heads = dict[str, tuple[int, str]]  # by writer: number and digest of its last checkpoint
# Seconds to wait for AWS. No event is written meanwhile, which must not make the log a failing one.
HEADS_TIME: Final = 1.0  # to read those of other writers
STEP_TIME: Final = 1.5  # to sign one, and again to store it
bounded = ahead.bounded


class Checkpoints:
    """The checkpoints of one chain. ``clock`` returns epoch seconds."""

    def __init__(
        self,
        chain: Chain,
        namespace: str,
        writers: Callable[[], AuditWriters],
        clock: Callable[[], float],
    ) -> None:
        self._chain = chain
        self._namespace = namespace
        self._writers = writers
        self._clock = clock
        self._stored = AuditWriter(chain.writer, int(clock()))
        # Other writers whose last line is in a checkpoint already, and in the next one.
        self._ended: set[str] = set()
        self._named: set[str] = set()

    def make(self, *, is_last: bool) -> bytes:
        """Return the next line, without adding it. Raises StoreUnavailable."""
        writers, heads = self._writers(), Heads()
        with suppress(StoreUnavailable), bounded(HEADS_TIME):
            self._read_heads(writers, heads)
        event = make_event(
            CHECKPOINT,
            self._clock(),
            namespace=self._namespace,
            host=socket.gethostname(),
            is_last=is_last,
            heads=heads,
        )
        unsigned = self._chain.link(event)
        with bounded(STEP_TIME):
            return with_mac(unsigned, writers.sign(signed_message(unsigned)))

    def store(self, line: bytes) -> None:
        """Store the line, the last of the chain, in the table. Raises StoreUnavailable."""
        self._ended |= self._named
        writers = self._writers()
        ours = replace(self._stored, number=self._chain.number, checkpoint=line)
        with bounded(STEP_TIME):
            stored = writers.put(ours)
            if stored is None:  # Our own, whose response was lost; or somebody else's.
                current = writers.get(ours.name)
                logger.warning("The audit log's checkpoint in the table was written by another.")
                stored = current and writers.put(replace(ours, stamp=current.stamp))
        self._stored = stored or self._stored

    def _read_heads(self, writers: AuditWriters, heads: Heads) -> None:
        """Add the last checkpoints of other writers. Raises StoreUnavailable."""
        for name in writers.newest(HEADS_MAX):
            if name == self._chain.writer or name in self._ended:
                continue
            try:
                found = writers.get(name)
            except InvalidRecord:
                continue
            line = None if found is None else read_line(found.checkpoint)
            if (
                found is not None
                and line is not None
                and (line.writer, line.number) == (name, found.number)
            ):
                heads[name] = line.number, digest_of(found.checkpoint)
                if line.event.get("is_last"):
                    self._named.add(name)


def try_to(step: str, action: Callable[[], None]) -> bool:
    """Run a step of a checkpoint; log and return False if it fails."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - the thread has to go on
        # Our own errors say little by design; of others only the type is logged.
        text = str(error) if isinstance(error, SessionsKMSError) else type(error).__name__
        logger.warning(
            "The audit log has no new checkpoint: could not %s it: %s `%s` checks key and table.",
            step,
            text,
            command("check_session_store"),
        )
        gateway.count("audit.failures", step=step)
        return False
    return True
