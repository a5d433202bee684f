"""What a look measures: how long the engine takes, and how often it asks KMS."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from sessions_kms.aws import clients, kms
from sessions_kms.conf import Config


@dataclass
class Measurements:
    """Latencies are milliseconds, by what was done."""

    latencies: dict[str, float] = field(default_factory=dict)
    kms_calls: int = 0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a block of code; one that fails counts, too."""
        began = perf_counter()
        try:
            yield
        finally:
            self.latencies[name] = round((perf_counter() - began) * 1000, 1)

    @contextmanager
    def kms_calls_counted(self, config: Config) -> Iterator[None]:
        """Count the calls that this process makes to the KMS of the configured keys meanwhile."""
        regions = {kms.region_of(key) for key in (config.key_id, *config.decrypt_key_ids)}
        events = [clients.kms_client(region).meta.events for region in regions]
        for each in events:
            each.register("before-call.kms", self._count)
        try:
            yield
        finally:
            for each in events:
                each.unregister("before-call.kms", self._count)

    def _count(self, **_: Any) -> None:
        self.kms_calls += 1
