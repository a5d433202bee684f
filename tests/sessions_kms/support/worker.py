"""A process that uses sessions on command; `Worker` is the test's handle."""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from statistics import median
from types import SimpleNamespace
from typing import Any

from sessions_kms.concurrency.waits import Wait
from tests.support.talking_process import TalkingProcess, obey

ENVIRONMENT = "WORKER_SESSIONS_KMS"


class Worker(TalkingProcess):
    """The test's handle of one such process."""

    module = "tests.sessions_kms.support.worker"

    def __init__(self, settings: dict[str, Any], more: Mapping[str, str] = {}) -> None:
        super().__init__(self.module, {ENVIRONMENT: json.dumps(settings), **more})


def at_once(*told: tuple[Worker, str, dict[str, Any]]) -> list[Any]:
    """Send commands to several processes at once, then return their results."""
    for worker, do, arguments in told:
        worker.tell(do, **arguments)
    return [worker.read_result() for worker, _, _ in told]


@dataclass(frozen=True)
class Slowly(Wait):
    """A wait for a call in a thread, with a delay in seconds before and after it."""

    wait: Any
    way: float

    def block(self) -> Any:
        time.sleep(self.way)
        try:
            return self.wait.block()
        finally:
            time.sleep(self.way)


class Commands:
    """The commands of the process. They use the session that was opened last."""

    def __init__(self) -> None:
        from sessions_kms.backend import SessionStore

        self._store_class = SessionStore
        self._store = SessionStore()
        self._stores: list[Any] = []
        self._writes: list[int] = []

    def use(self, settings: dict[str, Any]) -> None:
        """Use this table and this KMS key, like a new process."""
        from django.conf import settings as configuration
        from django.core.signals import setting_changed

        configuration.SESSIONS_KMS = settings
        setting_changed.send(sender=None, setting="SESSIONS_KMS", value=settings, enter=True)
        self.__init__()  # type: ignore[misc]  # nothing of before is left

    def warm_up(self) -> None:
        """Create the clients, which takes long, by loading a missing session."""
        from sessions_kms import services
        from sessions_kms.aws import clients
        from sessions_kms.aws import kms as aws

        clients.kms_client(aws.region_of(services.services().config.key_id))
        self._store_class().exists("0" * 32)

    def open(self, key: str | None = None, **changes: Any) -> None:
        """Load a session like a request, and change it without saving."""
        self._store = self._store_class(key)
        self._store.get("anything")
        self._store.update(changes)

    def create(self, key: str) -> None:
        self._store._session_key = key
        self._store.save(must_create=True)

    def save(self) -> None:
        self._store.save()

    def cycle(self) -> None:
        self._store.cycle_key()

    def flush(self) -> None:
        self._store.flush()

    def look(self) -> dict[str, Any]:
        return {"key": self._store.session_key, "content": dict(self._store.items())}

    def sign_in(self, user: str, at: float, outage_of: str | None = None) -> str | None:
        """Sign in at a time by this process's clock; return the session's key.

        DynamoDB may be out of reach for an operation, once the session is stored.
        """
        from sessions_kms import services
        from sessions_kms.session import sign_ins

        services._services = replace(services.services(), clock=lambda: at)
        table_client: Any = import_module("sessions_kms.aws.table_client")
        ask = table_client.request_for

        def fail(client: Any, operation: str, *more: Any) -> Any:
            if operation == outage_of:
                raise ConnectionError
            return ask(client, operation, *more)

        self._store = self._store_class()
        self._store["_auth_user_id"] = user
        request = SimpleNamespace(session=self._store)
        sign_ins._note_sign_in(request=request)
        table_client.request_for = fail
        try:
            self._store.save()
        finally:
            table_client.request_for = ask
        return self._store.session_key

    def burst(self, threads: int) -> list[str | None]:
        """Save new sessions in threads that start together; return their keys."""
        barrier = threading.Barrier(threads)
        keys: list[str | None] = []

        def save() -> None:
            store = self._store_class()
            store["pid"] = os.getpid()
            barrier.wait(timeout=30)
            store.save()
            keys.append(store.session_key)

        running = [threading.Thread(target=save) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(timeout=30)
        return keys

    def be_slow(self, seconds: float) -> None:
        """Delay each call of DynamoDB: half before it, half after it."""
        table_client: Any = import_module("sessions_kms.aws.table_client")
        ask = table_client.request_for

        def slowly(client: Any, operation: str, *more: Any) -> Slowly:
            if operation == "put_item":
                self._writes.append(1)
            return Slowly(ask(client, operation, *more), seconds / 2)

        table_client.request_for = slowly

    def save_alone(self, times: int) -> float:
        """Return the median of the seconds of saves without competition."""
        store = self._store_class()
        store.save()
        took = []
        for number in range(times):
            store["number"] = number
            began = time.perf_counter()
            store.save()
            took.append(time.perf_counter() - began)
        return median(took)

    def load_many(self, key: str, writers: int) -> None:
        """Load a session for some writers."""
        self._stores = [self._store_class(key) for _ in range(writers)]
        for store in self._stores:
            store.get("anything")

    def save_many(self, name: str, saves: int) -> dict[str, Any]:
        """Save concurrently with all writers, each under its own key and ``saves`` times.

        Returns their results, the seconds of each save, and the number of `PutItem`s sent.
        """
        told: list[str | None] = []
        took: list[float] = []
        barrier = threading.Barrier(len(self._stores))
        self._writes.clear()

        def write(number: int, store: Any) -> None:
            barrier.wait(timeout=30)
            for value in range(1, saves + 1):
                store[f"{name}.{number}"] = value
                began = time.perf_counter()
                try:
                    store.save()
                    told.append(None)
                except Exception as exc:  # noqa: BLE001 - handed to the test
                    told.append(type(exc).__name__)
                took.append(time.perf_counter() - began)

        running = [threading.Thread(target=write, args=each) for each in enumerate(self._stores)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(timeout=120)
        return {"told": told, "took": took, "writes": len(self._writes)}

    def read(self, keys: list[str]) -> list[Any]:
        return [self._store_class(key).get("pid") for key in keys]


def set_up() -> None:
    """Configure Django for the store that the environment names."""
    import django
    from django.conf import settings

    settings.configure(
        SESSION_ENGINE="sessions_kms.backend",
        SESSIONS_KMS=json.loads(os.environ[ENVIRONMENT]),
        USE_TZ=True,
    )
    django.setup()


def main(made: Callable[[], Any] = Commands) -> None:
    set_up()
    obey(made())


if __name__ == "__main__":
    main()
