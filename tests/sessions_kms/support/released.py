"""A process of a release with its own versions of every item type (`worker`)."""

import json
import os
from typing import Any

from sessions_kms.concurrency.waits import run_sync
from tests.sessions_kms.support.worker import Commands, Worker, main

VERSIONS = "WORKER_VERSIONS"


class Release(Worker):
    """The handle of a process that reads and writes these versions of every item type."""

    module = "tests.sessions_kms.support.released"

    def __init__(self, settings: dict[str, Any], versions: tuple[list[int], int]) -> None:
        super().__init__(settings, {VERSIONS: json.dumps(versions)})


class ReleaseCommands(Commands):
    """Additional commands of such a process."""

    def __init__(self) -> None:
        from sessions_kms.format.item_types import ITEM_TYPES
        from tests.sessions_kms.support import every_kind

        super().__init__()
        for kind in ITEM_TYPES:
            every_kind.put(kind, *json.loads(os.environ[VERSIONS]))

    def write_all(self) -> dict[str, str]:
        from tests.sessions_kms.support import every_kind

        return every_kind.write()

    def read_all(self, names: dict[str, str]) -> dict[str, Any]:
        """Read one item of each type, each time with empty caches."""
        from sessions_kms import services
        from tests.sessions_kms.support import every_kind

        def afresh() -> None:
            services._services = None  # The clients stay, because creating them takes long.

        return every_kind.read(names, afresh)

    def claim(self, secret: str, holder: str) -> tuple[bool, str | None]:
        from sessions_kms.sealed_items.leases import Leases
        from sessions_kms.services import services

        claim = run_sync(Leases(services()).claim(secret, holder, seconds=30))
        return claim.held, None if claim.result is None else claim.result.decode()

    def complete(self, secret: str, holder: str, result: str) -> bool:
        from sessions_kms.sealed_items.leases import Leases
        from sessions_kms.services import services

        stamp = run_sync(Leases(services()).complete(secret, holder, result.encode(), keep=600))
        return bool(stamp)

    def end_before_of(self, name: str, moment: int) -> bool:
        from sessions_kms.operations.ending import end_before_of
        from sessions_kms.services import services

        return end_before_of(services(), name, moment)

    def moment_of(self, name: str) -> int:
        from sessions_kms.services import services

        return run_sync(services().not_before_items.get(name))


if __name__ == "__main__":
    main(ReleaseCommands)
