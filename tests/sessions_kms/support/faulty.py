"""The engine behind two fault proxies, one in front of DynamoDB and one in front of KMS.

A test module makes the fixture its own: ``make_faulty = faulty.make_faulty``.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from gateway_site.local.kms import LocalKMS
from sessions_kms import services
from sessions_kms.aws import calls
from sessions_kms.concurrency.threads import Background
from sessions_kms.concurrency.write_queue import WriteQueues
from sessions_kms.storage.not_before import NotBefore
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.faults import FaultProxy, running_proxy
from tests.sessions_kms.support.stacks import Stack, install
from tests.support.clock import FakeClock


@dataclass
class FaultyStack:
    """A stack whose engine reaches its services through proxies; the back door goes straight."""

    stack: Stack
    table: FaultProxy
    kms: FaultProxy

    def restart(self) -> None:
        """Begin as a new process does, with cold caches, and without faults.

        The clients stay: making them is what takes long.
        """
        config, clock = self.stack.config, self.stack.clock
        table = self.stack.services.table
        keyring = services.build_keyring(config, table, clock)
        # A renewal in the background would blur the moment at which a key is given up.
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
    """Put proxies between a stack's engine and its services; the back-off takes no time.

    Nor does the patience with others' writes: what is slept moves the clock that it goes by.
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
    make_stack: MakeStack, local_kms: LocalKMS, roto_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeFaulty]:
    """Give a maker of stacks (of real servers) behind proxies; the one made last is in force."""
    with ExitStack() as stacks:
        yield lambda **config: stacks.enter_context(
            behind_proxies(make_stack(**config), roto_url, local_kms.url, monkeypatch)
        )
