"""A target of the wire and the connections to it, and what one request needs beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sessions_kms.aws.transport.blocking import BlockingTransport
from sessions_kms.aws.transport.looping import LoopingTransport
from sessions_kms.aws.wire.exchange import Exchange, Target


class Line:
    """A target, and the connections to it of threads (``blocking``) and of loops (``looping``).

    ``authorities`` is the file of those whom TLS believes.
    """

    def __init__(self, target: Target, authorities: str) -> None:
        self.exchange: Callable[[str, Mapping[str, Any]], Exchange] = partial(Exchange, target)
        self.blocking = BlockingTransport(target.endpoint, authorities)
        self.looping = LoopingTransport(target.endpoint, authorities)


@dataclass(frozen=True)
class Ready:
    """What a request needs; without a line, only boto can send it."""

    credentials: Any = field(repr=False)
    line: Line | None
