"""The objects that serve a process's sessions, created from the settings on first use.

Takes the `Config` and returns a `Services`, which contains all state: after changed settings or a
fork, a new one replaces it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from sessions_kms import conf
from sessions_kms.aws import calls, clients
from sessions_kms.aws.clock import ServerClock, has_passed, local_clock, set_clock, system_time
from sessions_kms.aws.errors import ClientUnsupported
from sessions_kms.aws.kms import KMS
from sessions_kms.aws.remote_table import warn_of_remote_table
from sessions_kms.aws.table_client import TableClient, create_table_client
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import BlockingCall, ErrorCheckingLock, Pause, Wait, run_sync
from sessions_kms.concurrency.write_queue import WriteQueues
from sessions_kms.data_keys.cached_keyring import CachingKeyring
from sessions_kms.data_keys.keyring import ConfirmingKeyring, DataKey, KMSKeyring, SharedKeyring
from sessions_kms.exceptions import InvalidRecord, TableUnavailable
from sessions_kms.format.item_types import session_id
from sessions_kms.format.record import Header, Tombstone
from sessions_kms.storage.not_before import NamedNotBefores, NotBefore, NotBeforeItems
from sessions_kms.storage.published_keys import DataKeyItems
from sessions_kms.storage.queries import Queries
from sessions_kms.storage.session_items import SessionItems
from sessions_kms.storage.table import Table

Clock = Callable[[], float]
BRIEF_GRANT_AGE = 15 * 60  # seconds


@dataclass(frozen=True)
class Services:
    """The connected parts of the store. ``clock`` returns epoch seconds.

    With ``for_grants`` they load only the sessions of grants.
    """

    config: conf.Config
    table: Table
    keyring: ConfirmingKeyring
    not_before: NotBefore
    clock: Clock = system_time
    sleep: Callable[[float], None] = time.sleep
    write_queues: WriteQueues[Any] = field(
        default_factory=WriteQueues, repr=False
    )  # of the writers of each session
    for_grants: bool = False
    # Created from these services by `SessionRepository.cached`; copies of the services have none.
    repositories: dict[Any, Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def of_grants(self) -> "Services":
        """The services for sessions of grants, which have a separate absolute timeout."""
        config = replace(self.config, absolute_timeout=self.config.grant_age)
        return replace(self, config=config, for_grants=True)

    @cached_property
    def of_brief_grants(self) -> "Services":
        """The services for starting grants that nothing extends: their items end with them."""
        timeout = min(BRIEF_GRANT_AGE, self.config.grant_age)
        return replace(self.of_grants, config=replace(self.config, absolute_timeout=timeout))

    @cached_property
    def of_any(self) -> "Services":
        """The services for reading the plaintext parts of records of both kinds.

        They use the longer absolute timeout: a session that ended earlier is found until its `ttl`.
        """
        if self.config.longest_age == self.config.absolute_timeout:
            return self
        return replace(self, config=replace(self.config, absolute_timeout=self.config.longest_age))

    @cached_property
    def session_items(self) -> SessionItems:
        """The records of sessions in the table."""
        return SessionItems(self.table)

    @cached_property
    def data_key_items(self) -> DataKeyItems:
        """The data keys of this namespace in the table."""
        return DataKeyItems(self.table, self.config.namespace)

    @cached_property
    def not_before_items(self) -> NotBeforeItems:
        """The cutoffs of this namespace in the table."""
        return NotBeforeItems(self.table, self.config.namespace)

    @cached_property
    def queries(self) -> Queries:
        """Scans and queries of the table."""
        return Queries(self.table)

    async def wait(self, seconds: float) -> None:
        """Pause, and charge the request's time budget."""
        if seconds > 0:
            sleep = self.sleep
            await (Pause(seconds) if sleep is time.sleep else BlockingCall(sleep, (seconds,)))
            deadline.spend(seconds)

    async def sealing_key(self) -> DataKey:
        """Return the data key to seal with now. Raises StoreUnavailable."""
        if isinstance(self.clock, ServerClock) and not self.clock.is_synchronized:
            # Nothing is sealed before a response of DynamoDB has confirmed the clock. The cutoff is
            # read again: after the clock was set, the last read is not of the last 30 seconds.
            await self.not_before.moment()
        return await self.keyring.generate(self.period())

    async def is_live(self, record: Header) -> bool:
        """Return True if a record is still a session. Raises TableUnavailable."""
        return not has_passed(self.clock, record.ttl) and await self.may_go_on(record.created_at)

    async def may_go_on(self, created_at: int) -> bool:
        """Return True if a session that was created then has not reached its maximum age.

        Raises TableUnavailable.
        """
        timeout = self.config.absolute_timeout
        if timeout is not None and has_passed(self.clock, created_at + timeout):
            return False
        return created_at > await self.not_before.moment()

    def period(self) -> int:
        """Return the start of the current key period. Raises StoreUnavailable."""
        return self.period_of(self.clock())

    def period_of(self, moment: float) -> int:
        """Return the start of the key period that a time is in."""
        return int(moment) - int(moment) % self.config.period_length

    def is_unsettled(self, tombstone: Tombstone) -> bool:
        """Return True if the response with a session's new key may still be on its way."""
        is_settled = has_passed(self.clock, tombstone.settled_at)
        return not is_settled and not tombstone.is_ahead(self.clock())

    def not_before_of(self, name: str) -> NotBefore:
        """Return the cutoff of this name, which `ending.end_before_of` raises."""
        return self._named_not_befores.of(name)

    @cached_property
    def _named_not_befores(self) -> NamedNotBefores:
        return NamedNotBefores(self.not_before_items.get, clock=local_clock(self.clock))

    def probe(self) -> None:
        """Use the table and KMS once. Raises StoreUnavailable when either cannot be used."""
        self.probe_table()
        self.probe_data_key()

    def probe_table(self) -> None:
        """Read the table once. Raises TableUnavailable."""
        try:
            run_sync(self.not_before_items.get())
        except InvalidRecord as exc:
            raise TableUnavailable from exc

    def probe_data_key(self) -> None:
        """Get a data key to seal with, from KMS if none is cached. Raises StoreUnavailable."""
        run_sync(self.sealing_key())


def build(
    config: conf.Config,
    *,
    clock: Clock | None = None,
    client: Any = None,
    kms: KMS | None = None,
    **parts: Any,
) -> Services:
    """Create the services for a config; ``parts`` replaces fields of the result.

    Unless one is given, the clock is corrected by the responses of DynamoDB. ``client`` has the
    methods of boto3's for DynamoDB; without it, the settings choose one. Raises
    ImproperlyConfigured if the configured client cannot be used.
    """
    clock = clock or ServerClock()
    if isinstance(clock, ServerClock):
        set_clock(clock)
    table = Table(
        _table_client(config) if client is None else client,
        name=config.table_name,
        pause=_pausing(parts.get("sleep")),
    )
    not_before = NotBefore(
        NotBeforeItems(table, config.namespace).get,
        at_least=config.not_before or 0,
        clock=local_clock(clock),
    )
    defaults: dict[str, Any] = {
        "table": table,
        "keyring": build_keyring(config, table, clock, kms),
        "not_before": not_before,
    }
    return Services(config, clock=clock, **(defaults | parts))


def _table_client(config: conf.Config) -> TableClient:
    try:
        client = create_table_client(config.region_name, config.client)
    except ClientUnsupported as exc:
        raise ImproperlyConfigured(str(exc)) from None
    warn_of_remote_table(client, config.table_name)
    return client


def build_keyring(
    config: conf.Config, table: Table, clock: Clock, aws_kms: KMS | None = None
) -> ConfirmingKeyring:
    """Connect KMS, the sharing of data keys (unless in strict mode) and the cache.

    The use of another KMS than AWS's takes no time, so no thread renews keys in advance.
    """
    kms = build_kms_keyring(config, aws_kms)
    published, length = DataKeyItems(table, config.namespace), config.data_key_period
    shared = SharedKeyring(kms, published, period_length=length, clock=clock) if length else kms
    return CachingKeyring(
        shared,
        context=kms.context,
        max_age=config.data_key_cache_age,
        max_stale=config.data_key_max_stale,
        period_length=length,
        clock=clock,
        wall=local_clock(clock),
        background=aws_kms is None,
    )


def _pausing(sleep: Callable[[float], None] | None) -> Callable[[float], Wait]:
    """Return the function that creates the pauses between attempts."""
    return Pause if sleep is None else lambda seconds: BlockingCall(sleep, (seconds,))


def build_kms_keyring(config: conf.Config, kms: KMS | None = None) -> KMSKeyring:
    """Return a keyring without a cache: each use is a call to KMS."""
    return KMSKeyring(
        kms or KMS(),
        key_id=config.key_id,
        decrypt_key_ids=config.decrypt_key_ids,
        namespace=config.namespace,
        encryption_context=config.encryption_context,
    )


_lock = ErrorCheckingLock()
_services: Services | None = None
_builder: Callable[[conf.Config], Services] = build  # which built them


def services() -> Services:
    """Return this process's services. Raises ImproperlyConfigured, or StoreUnavailable."""
    global _builder, _services  # noqa: PLW0603 - one per process, made on first use
    if (found := _services) is not None:
        return found
    with _lock:
        if _services is None:
            _builder = _builder_of_engine()
            _services = _builder(conf.config())
        return _services


def _builder_of_engine() -> Callable[[conf.Config], Services]:
    """Return what builds the services: `build`, unless the engine in the settings has its own.

    Only that of the test kit has.
    """
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):  # Django reports it.
        return build
    builder: Callable[[conf.Config], Services] = getattr(store, "build_services", build)
    return builder


def are_made() -> bool:
    """Return True if the services exist; creating them reads files and may use the network."""
    return _services is not None


def id_of(session_key: str) -> str:
    """Return the id that the session of this key is stored under."""
    __traceback_hide__ = True
    return session_id(services().config.namespace, session_key)


def reset() -> None:
    """Drop the services; the next use creates new ones."""
    global _builder, _lock, _services  # noqa: PLW0603 - the parent may have forked while it held it
    _lock = ErrorCheckingLock()
    _services, _builder = None, build
    clients.reset()
    calls.reset()


def _settings_changed(*, setting: str, **_: Any) -> None:
    is_other_builder = setting == "SESSION_ENGINE" and _builder_of_engine() is not _builder
    if setting == conf.SETTING or is_other_builder:
        reset()


setting_changed.connect(_settings_changed, dispatch_uid="sessions_kms.services")
os.register_at_fork(after_in_child=reset)
