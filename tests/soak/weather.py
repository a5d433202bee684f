"""The disturbances of a soak: killed processes, and outages of KMS and the table."""

import time
from collections import Counter
from collections.abc import Callable

from tests.sessions_kms.support.faults import Fault, FaultProxy, drop_connection, error
from tests.soak.fleet import Process
from tests.soak.ledger import Ledger

CALM = 10.0  # seconds between two disturbances
OUTAGE = 6.0  # seconds
KMS = ("GenerateDataKey", "Decrypt")
TABLE = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "Query")


class Weather:
    """Disturbs one thing after another. The first process is spared: its memory is watched."""

    def __init__(
        self, fleet: list[Process], kms: FaultProxy, table: FaultProxy, ledger: Ledger
    ) -> None:
        self._fleet = fleet
        self._kms = kms
        self._table = table
        self._ledger = ledger
        self.calls: Counter[str] = Counter()

    def until(self, deadline: float) -> None:
        """Disturb until this moment of the monotonic clock; then all is well again."""
        while True:
            for disturb in self._disturbances():
                self._wait(CALM, deadline)
                if time.monotonic() + OUTAGE >= deadline:
                    return
                disturb()
                self._count()

    def _disturbances(self) -> list[Callable[[], None]]:
        throttled = error("ThrottlingException")
        exhausted = error("ProvisionedThroughputExceededException")
        return [
            lambda: self._kill(self._fleet[1]),
            lambda: self._outage("KMS unreachable", self._kms, KMS, drop_connection),
            lambda: self._outage("table unreachable", self._table, TABLE, drop_connection),
            lambda: self._kill(self._fleet[2]),
            lambda: self._outage("KMS throttled", self._kms, KMS, throttled),
            lambda: self._outage("table throttled", self._table, TABLE, exhausted),
            lambda: self._outage("KMS key disabled", self._kms, KMS, error("DisabledException")),
        ]

    def _kill(self, process: Process) -> None:
        with self._ledger.disturbance("process killed", kills=True):
            process.kill()
            process.start()
            process.wait()

    def _outage(
        self, name: str, proxy: FaultProxy, operations: tuple[str, ...], fault: Fault
    ) -> None:
        self._count()
        with self._ledger.disturbance(name):
            for operation in operations:
                proxy.on(operation, fault)
            time.sleep(OUTAGE)
            self._count()  # which heals

    def _wait(self, seconds: float, deadline: float) -> None:
        time.sleep(max(0.0, min(seconds, deadline - time.monotonic())))

    def _count(self) -> None:
        """Count the calls until now; heal, which also empties what the proxies recorded."""
        for proxy in (self._kms, self._table):
            self.calls.update(proxy.operations)
            proxy.heal()
