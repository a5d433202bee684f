"""The engine behind two fault proxies, one in front of DynamoDB and one in front of KMS."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from sessions_kms import services
from sessions_kms.aws import calls
from sessions_kms.concurrency.threads import Background
from sessions_kms.concurrency.write_queue import WriteQueues
from sessions_kms.storage.not_before import NotBefore
from tests.sessions_kms.support.faults import FaultProxy, running_proxy
from tests.sessions_kms.support.stacks import Stack, install
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS


@dataclass
class FaultyStack:
    """A stack whose engine uses proxies; the test's own access does not."""

    stack: Stack
    table: FaultProxy
    kms: FaultProxy

    def restart(self) -> None:
        """Start like a new process, with cold caches and without faults.

        The clients stay, because creating them takes long.
        """
        config, clock = self.stack.config, self.stack.clock
        table = self.stack.services.table
        keyring = services.build_keyring(config, table, clock)
        # With a renewal in the background, the time at which a key is dropped would vary.
        keyring._background = Background(None)  # type: ignore[attr-defined]
        self.stack.services = dataclasses.replace(
            self.stack.services,
            keyring=keyring,
            not_before=NotBefore(self.stack.services.not_before_items.get, at_least=0, clock=clock),
        )
        install(self.stack.services)
        self.table.heal()
        self.kms.heal()


@contextmanager
def behind_proxies(
    stack: Stack, table_url: str, kms_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyStack]:
    """Put proxies between a stack's engine and its services, with back-offs that take no time.

    Waiting for other writers takes no time either: sleeping advances the clock.
    """
    steady = FakeClock(0)
    monkeypatch.setattr(calls, "sleep", lambda _: None)
    with running_proxy(table_url) as table, running_proxy(kms_url) as kms:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", table.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.url)
        services.reset()
        stack.services = services.build(
            stack.config, clock=stack.clock, sleep=steady.advance, write_queues=WriteQueues(steady)
        )
        faulty = FaultyStack(stack, table, kms)
        faulty.restart()
        yield faulty


MakeFaulty = Callable[..., FaultyStack]


@pytest.fixture
def make_faulty(
    make_stack: Callable[..., Stack],
    local_kms: LocalKMS,
    roto_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[MakeFaulty]:
    """Yield a function that installs a stack with real servers behind proxies."""
    with ExitStack() as stacks:
        yield lambda **config: stacks.enter_context(
            behind_proxies(make_stack(**config), roto_url, local_kms.url, monkeypatch)
        )


@pytest.fixture
def faulty(make_faulty: MakeFaulty) -> FaultyStack:
    return make_faulty()
