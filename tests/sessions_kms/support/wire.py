"""What goes wrong between the engine and AWS, call by call, without a network.

A `Wire` counts the calls of DynamoDB and KMS alike. A fault is told for one of them
and decides whether, and how often, the service handles it, and what comes back.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from sessions_kms.aws.kms import DataKeyResponse
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.testing.dynamodb import Handle
from tests.sessions_kms.support.fakes import FakeKMS

Fault = Callable[[Handle], Any]


class Killed(BaseException):
    """The process is gone at this moment: nothing of it runs on, and nobody gets a response."""


class Delayed(Exception):
    """A request is on its way for so many more calls: who sent it has given up by then."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls


class Wire:
    """``calls`` names the operations that were asked, in order; ``delayed`` were late."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.delayed = 0
        self._faults: dict[int, Fault] = {}
        self._late: list[tuple[int, Handle]] = []
        self.holds = False  # what is late

    def strike(self, call: int, fault: Fault) -> int:
        """Let a fault strike one of the coming calls, the next being 0; return its number."""
        self._faults[len(self.calls) + call] = fault
        return len(self.calls) + call

    def spare(self, number: int) -> None:
        """Forget the fault of one call."""
        self._faults.pop(number, None)

    def heal(self) -> None:
        """Forget the faults that did not strike."""
        self._faults.clear()

    def send(self, operation: str, handle: Handle) -> Any:
        """Have a call handled, unless a fault was told for it."""
        if not self.holds:
            self.arrive(len(self.calls))
        fault = self._faults.pop(len(self.calls), None)
        self.calls.append(operation)
        try:
            return fault(handle) if fault else handle()
        except Delayed as exc:
            self.delayed += 1
            self._late.append((len(self.calls) + exc.calls, handle))
            raise ReadTimeoutError(endpoint_url="aws") from None

    def arrive(self, call: float = math.inf) -> bool:
        """Have the service handle what was delayed until a call; tell whether there was any."""
        due = [handle for until, handle in self._late if until <= call]
        self._late = [each for each in self._late if each[0] > call]
        for handle in due:
            handle_now(handle)
        return bool(due)


class WiredKMS(FakeKMS):
    """A KMS whose calls go over a wire, and whose responses may be lost on it."""

    def __init__(self, wire: Wire, *key_ids: str) -> None:
        super().__init__(*key_ids)
        self.wire = wire

    def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKeyResponse:
        handle = super().generate_data_key
        return self._send("GenerateDataKey", lambda: handle(key_id, context))

    def decrypt(
        self, key_id: str, ciphertext: bytes, context: Mapping[str, str]
    ) -> DataKeyResponse:
        handle = super().decrypt
        return self._send("Decrypt", lambda: handle(key_id, ciphertext, context))

    def _send(self, operation: str, handle: Callable[[], DataKeyResponse]) -> DataKeyResponse:
        try:
            response = self.wire.send(operation, handle)
        except (OSError, BotoCoreError, ClientError):
            raise KMSUnavailable from None
        if not isinstance(response, DataKeyResponse):
            raise KMSUnavailable
        return response


# Faults


def unreachable(handle: Handle) -> Any:
    """The connection is dropped before the request arrived."""
    raise ConnectionError


def stray(_: Handle) -> Any:
    """The request is not handled, and has a response to another one: a miss, or a write's."""
    return {"ConsumedCapacity": {"CapacityUnits": 1.0}}


def lose_response(handle: Handle) -> Any:
    """The service does what it was asked, and its response is lost."""
    handle_now(handle)
    raise ConnectionError


def late(handle: Handle) -> Any:
    """The service does what it was asked, later than anybody waits."""
    handle_now(handle)
    raise ReadTimeoutError(endpoint_url="aws")


def delay_by_call(handle: Handle) -> Any:
    """The service does what it was asked after whoever asked has looked."""
    raise Delayed(1)


def delay_by_two_calls(handle: Handle) -> Any:
    """The service does what it was asked after another call."""
    raise Delayed(2)


def delay_for_long(handle: Handle) -> Any:
    """The service does what it was asked long after nobody waits for it any more."""
    raise Delayed(1000)


def refuse_connection(handle: Handle) -> Any:
    """There is no connection, so that nothing is sent."""
    raise EndpointConnectionError(endpoint_url="aws")


def twice(handle: Handle) -> Any:
    """Something between sends the request again: it is handled twice."""
    handle_now(handle)
    return handle()


def throttle(handle: Handle) -> Any:
    """The service says that it has too much to do."""
    response: Any = {"Error": {"Code": "ThrottlingException", "Message": "told by a test"}}
    raise ClientError(response, "any")


def truncate_response(handle: Handle) -> Any:
    """The response is cut so short that boto parses nothing of it."""
    handle_now(handle)
    return {}


def kill(handle: Handle) -> Any:
    """The process dies before its request leaves."""
    raise Killed


def kill_after(handle: Handle) -> Any:
    """The process dies before the response reaches it."""
    handle_now(handle)
    raise Killed


FAULTS: dict[str, Fault] = {
    "unreachable": unreachable,
    "unconnected": refuse_connection,
    "lost": lose_response,
    "late": late,
    "twice": twice,
    "throttled": throttle,
    "truncated": truncate_response,
    "killed": kill,
    "killed_after": kill_after,
    "delayed_by_a_call": delay_by_call,
    "delayed_by_two_calls": delay_by_two_calls,
    "delayed_for_long": delay_for_long,
}


def handle_now(handle: Handle) -> None:
    """Have the service handle a request whose response nobody gets, be it an error."""
    with suppress(ClientError, KMSUnavailable, InvalidRecord):
        handle()
