"""One attempt at an operation: in a thread it blocks, on an event loop it does not.

A client and what to ask it enter; its answer leaves, or its error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sessions_kms.aws.calls import Answer, NotBegun
from sessions_kms.concurrency.steps import Call, Wait
from sessions_kms.exceptions import StoreUnavailable


@dataclass(frozen=True)
class BotoAsks:
    """boto's client asks; an event loop has it do so in a thread."""

    client: Any = field(repr=False)
    operation: str
    params: Mapping[str, Any] = field(repr=False)

    def blocking(self) -> Answer:
        """Ask here. Raises what boto raises."""
        answer: Answer = getattr(self.client, self.operation)(**self.params)
        return answer

    async def looping(self) -> Answer:
        """Ask in a thread, which this task's deadline binds. Raises NotBegun, too."""
        try:
            answer: Answer = await Call(self.blocking).looping()
        except StoreUnavailable as exc:
            raise NotBegun(str(exc)) from exc
        return answer


def asking(client: Any, operation: str, params: Mapping[str, Any]) -> Wait:
    """Return what asks a client."""
    return BotoAsks(client, operation, params)
