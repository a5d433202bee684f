"""A store in two Regions: failover, and the cost of last-writer-wins.

`serve` says which Region answers the requests, `replicate` lets the replication catch up.
docs/multi-region.md tells the same to those who operate it.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.contrib.sessions.backends.base import UpdateError
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.aws import clients
from sessions_kms.aws.kms import DataKeyResponse
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.exceptions import KMSUnavailable, SessionMoved, StoreUnavailable
from sessions_kms.format.item_types import session_id
from sessions_kms.operations import provisioning
from sessions_kms.operations.listing import Inspection
from sessions_kms.sealed_items.leases import Claim, Leases
from sessions_kms.services import Services
from tests.sessions_kms.support.fakes import FakeKMS, State
from tests.sessions_kms.support.sessions import save_changes, save_session
from tests.sessions_kms.support.stacks import install
from tests.support.clock import FakeClock

HOME, OTHER = "eu-west-1", "eu-central-1"
SINGLE = f"arn:aws:kms:{HOME}:123456789012:key/single"  # of the home Region alone
REGIONS = (HOME, OTHER)


@dataclass(frozen=True)
class Write:
    """An item that was written or deleted in a Region."""

    region: str
    item_id: str


class GlobalTable:
    """The replicas of a table, on real servers, and the writes that are not replicated yet.

    The last write of each item wins, as in DynamoDB. Conditions and transactions only apply in the
    Region of the call.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._clients = {region: boto3.client("dynamodb", region_name=region) for region in REGIONS}
        for client in self._clients.values():
            list(provisioning.create_table(client, name))
        self._pending: list[Write] = []

    def watch(self) -> None:
        """Record the engine's writes from now on; call this before its clients are created."""
        clients.reset()
        events = clients._session().get_component("event_emitter")
        events.register("before-parameter-build.dynamodb.*", _remember_writes)
        events.register("after-call.dynamodb.*", self._note)

    def replicate(self) -> None:
        """Replicate the recorded writes, the last write of each item last."""
        last = {write.item_id: write.region for write in self._pending}
        self._pending = []
        for item_id, region in last.items():
            (there,) = [each for each in REGIONS if each != region]
            self._put(there, item_id, self.item(item_id, region))

    def item(self, item_id: str, region: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = (
            self._clients[region]
            .get_item(TableName=self.name, Key={"id": {"S": item_id}}, ConsistentRead=True)
            .get("Item")
        )
        return found

    def items(self, region: str) -> dict[str, dict[str, Any]]:
        found = self._clients[region].scan(TableName=self.name, ConsistentRead=True)["Items"]
        return {item["id"]["S"]: dict(item) for item in found}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _put(self, region: str, item_id: str, item: dict[str, Any] | None) -> None:
        if item is None:
            self._clients[region].delete_item(TableName=self.name, Key={"id": {"S": item_id}})
        else:
            self._clients[region].put_item(TableName=self.name, Item=item)

    def _note(self, http_response: Any, context: dict[str, Any], **_: Any) -> None:
        if http_response.status_code == 200:
            region = context["client_region"]
            self._pending += [Write(region, each) for each in context.get("written", [])]


def _remember_writes(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
    parts: list[dict[str, Any]] = []
    if model.name == "TransactWriteItems":
        parts = [part for action in params["TransactItems"] for part in action.values()]
    elif model.name in {"PutItem", "DeleteItem", "UpdateItem"}:
        parts = [params]
    context["written"] = [(part.get("Item") or part["Key"])["id"]["S"] for part in parts]


class ReplicatedKMS(FakeKMS):
    """A multi-Region key: the keys of ``related`` share their material. ``single`` has its own."""

    def __init__(self, related: Iterable[str], single: str) -> None:
        super().__init__(*related, single)
        self._related = {key.encode(): key for key in related}
        self._material = dict.fromkeys(related, AESGCM.generate_key(256))

    def decrypt(
        self, key_id: str, ciphertext: bytes, context: Mapping[str, str]
    ) -> DataKeyResponse:
        wrapped_by, _, rest = ciphertext.partition(b"\0")
        if wrapped_by in self._related and key_id in self._related.values():
            opened = super().decrypt(key_id, key_id.encode() + b"\0" + rest, context)
            return replace(opened, ciphertext=ciphertext)
        return super().decrypt(key_id, ciphertext, context)


@dataclass(frozen=True)
class TwoRegions:
    """A store in two Regions. Requests are served by the Region of the last call of `serve`."""

    table: GlobalTable
    clock: FakeClock
    kms: "ReplicatedKMS"
    keys: dict[str, str]
    services: dict[str, Services]

    def serve(self, region: str) -> Services:
        """Serve the next requests in a Region."""
        install(self.services[region])
        return self.services[region]

    def replicate_to(self, region: str) -> None:
        """Replicate all writes, and serve the next requests in a Region."""
        self.table.replicate()
        self.serve(region)

    def restart(self, region: str, **config: Any) -> Services:
        """Restart the processes of a Region, with empty caches."""
        made = services.build(
            Config(
                **{
                    "key_id": self.keys[region],
                    "table_name": self.table.name,
                    "region_name": region,
                    **config,
                }
            ),
            clock=self.clock,
            kms=self.kms,
            sleep=lambda _: None,
        )
        self.services[region] = made
        return self.serve(region)


@contextmanager
def two_regions(name: str, clock: FakeClock) -> Iterator[TwoRegions]:
    """Yield a store in two Regions, served in the first."""
    keys = {region: f"arn:aws:kms:{region}:123456789012:key/mrk-1" for region in REGIONS}
    table = GlobalTable(name)
    table.watch()
    made = TwoRegions(table, clock, ReplicatedKMS(keys.values(), SINGLE), keys, {})
    for region in reversed(REGIONS):
        made.restart(region)
    yield made
    table.close()


DAY = 24 * 3600


@pytest.fixture
def regions(
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    roto_url: str,
) -> Iterator[TwoRegions]:
    settings.SESSION_ENGINE = "sessions_kms.backend"
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    with two_regions(f"sessions-{uuid.uuid4().hex[:12]}", clock) as made:
        yield made


def claim(holder: str) -> Claim:
    return run_sync(Leases(services.services()).claim("secret", holder, seconds=10))


# What a failover keeps


def test_session_is_read_saved_and_ended_in_the_other_region(regions: TwoRegions) -> None:
    key = save_session(_auth_user_id="7", token="t").session_key
    regions.table.replicate()

    regions.restart(OTHER)  # Nothing is cached there: KMS unwraps by the replica key.
    there = SessionStore(key)
    assert there["token"] == "t"
    there["token"] = "renewed"
    there.save()
    assert SessionStore(key)["token"] == "renewed"
    rows = run_sync(Inspection(services.services()).list_user_sessions("7")).rows
    assert [row.created_at.timestamp() for row in rows] == [int(regions.clock())]
    there.delete()
    assert SessionStore(key).load() == {}


def test_after_failback_the_home_region_has_the_other_regions_writes(regions: TwoRegions) -> None:
    kept, ended = save_session(n=1).session_key, save_session(n=1).session_key
    regions.replicate_to(OTHER)
    save_changes(kept, n=2)
    SessionStore(ended).delete()
    created = save_session(n=3).session_key
    regions.replicate_to(HOME)
    assert SessionStore(kept)["n"] == 2
    assert SessionStore(ended).load() == {}
    assert SessionStore(created)["n"] == 3


def test_key_of_a_session_is_changed_in_the_other_region(regions: TwoRegions) -> None:
    session = save_session(n=1)
    old = session.session_key
    regions.replicate_to(OTHER)
    there = SessionStore(old)
    there.cycle_key()
    regions.replicate_to(HOME)
    with pytest.raises(SessionMoved):
        SessionStore(old).load()
    assert SessionStore(there.session_key)["n"] == 1


def test_published_data_key_serves_both_regions(regions: TwoRegions) -> None:
    save_session(n=1)
    regions.table.replicate()
    before = regions.table.items(OTHER)
    regions.restart(OTHER)
    save_session(n=2)
    published = {name for name in regions.table.items(OTHER) if name.startswith("data-key#")}
    assert published == {name for name in before if name.startswith("data-key#")}
    wrapped = [
        item["encryptedKey"]["B"]
        for item in regions.table.items(OTHER).values()
        if "encryptedKey" in item
    ]
    assert len(wrapped) == 3
    assert len(set(wrapped)) == 1


def test_two_regions_that_begin_a_period_at_once_read_each_others_sessions(
    regions: TwoRegions,
) -> None:
    regions.clock.advance(DAY)
    regions.serve(HOME)
    here = save_session(n=1).session_key
    regions.serve(OTHER)
    there = save_session(n=2).session_key  # Nothing was replicated: it published its own data key.
    regions.table.replicate()
    for region in (HOME, OTHER):
        regions.restart(region)
        assert (SessionStore(here)["n"], SessionStore(there)["n"]) == (1, 2)
        save_session(n=3)


def test_finished_lease_is_replicated_to_the_other_region(regions: TwoRegions) -> None:
    leases = Leases(services.services())
    assert run_sync(leases.claim("secret", "here", seconds=10)).held
    assert run_sync(leases.complete("secret", "here", b"tokens", keep=60))
    regions.replicate_to(OTHER)
    assert claim("there").result == b"tokens"


def test_lease_of_a_region_that_went_down_is_taken_over_when_it_ends(regions: TwoRegions) -> None:
    assert claim("here").held
    regions.replicate_to(OTHER)
    later = claim("there")
    assert not later.held
    regions.clock.advance(later.wait)
    assert claim("there").held


def test_not_before_is_in_force_in_every_region(regions: TwoRegions) -> None:
    key = save_session(n=1).session_key
    now = int(regions.clock())
    assert run_sync(regions.services[HOME].not_before_items.raise_to(now, latest=now))
    regions.replicate_to(OTHER)
    regions.clock.advance(30)
    assert SessionStore(key).load() == {}


def test_replication_that_arrives_during_a_request_is_merged(regions: TwoRegions) -> None:
    key = save_session(a=1).session_key
    regions.table.replicate()
    here = SessionStore(key)
    here["b"] = 2
    regions.serve(OTHER)
    save_changes(key, c=3)
    regions.replicate_to(HOME)
    here.save()
    assert dict(SessionStore(key).items()) == {"a": 1, "b": 2, "c": 3}


# The keys of the Regions


@pytest.mark.parametrize("region", [HOME, OTHER])
def test_key_disabled_in_one_region_serves_on_in_the_others(
    regions: TwoRegions, region: str
) -> None:
    key = save_session(n=1).session_key
    regions.table.replicate()
    regions.kms.set_state(State.REFUSING, regions.keys[region])
    regions.restart(region)
    with pytest.raises(KMSUnavailable):
        SessionStore(key).load()
    (other,) = {HOME, OTHER} - {region}
    regions.restart(other)
    assert SessionStore(key)["n"] == 1


def test_key_of_one_region_only_leaves_the_other_without_its_sessions(regions: TwoRegions) -> None:
    regions.restart(HOME, key_id=SINGLE)
    key = save_session(n=1).session_key
    regions.table.replicate()
    regions.restart(OTHER)
    with pytest.raises(StoreUnavailable):
        SessionStore(key).load()
    # While the home Region's KMS can be reached, naming its key there helps.
    regions.restart(OTHER, decrypt_key_ids=(SINGLE,))
    assert SessionStore(key)["n"] == 1


# What last-writer-wins costs: each of these holds within one Region


def test_cost_changes_of_two_regions_at_once_are_not_merged(regions: TwoRegions) -> None:
    key = save_session(a=1).session_key
    regions.table.replicate()
    save_changes(key, b=2)
    regions.serve(OTHER)
    save_changes(key, c=3)
    regions.table.replicate()
    for region in (HOME, OTHER):
        regions.serve(region)
        assert dict(SessionStore(key).items()) == {"a": 1, "c": 3}  # Not b.


def test_cost_session_ended_in_one_region_is_revived_by_a_later_save_in_another(
    regions: TwoRegions,
) -> None:
    key = save_session(a=1).session_key
    regions.table.replicate()
    SessionStore(key).delete()
    regions.serve(OTHER)
    save_changes(key, b=2)
    regions.replicate_to(HOME)
    assert dict(SessionStore(key).items()) == {"a": 1, "b": 2}


def test_session_ended_after_a_save_in_another_region_stays_ended(regions: TwoRegions) -> None:
    key = save_session(a=1).session_key
    regions.replicate_to(OTHER)
    there = save_changes(key, b=2)
    regions.serve(HOME)
    SessionStore(key).delete()
    regions.table.replicate()
    for region in (HOME, OTHER):
        regions.serve(region)
        assert SessionStore(key).load() == {}
    there["c"] = 3
    with pytest.raises(UpdateError):
        there.save()


def test_cost_session_whose_key_was_changed_lives_on_under_the_old_key(regions: TwoRegions) -> None:
    session = save_session(a=1)
    old = session.session_key
    regions.table.replicate()
    session.cycle_key()
    regions.serve(OTHER)
    save_changes(old, b=2)
    regions.replicate_to(HOME)
    assert SessionStore(session.session_key)["a"] == 1
    assert SessionStore(old)["b"] == 2


def test_cost_lease_is_held_in_both_regions(regions: TwoRegions) -> None:
    assert claim("here").held
    regions.serve(OTHER)
    assert claim("there").held


def test_cost_not_before_raised_in_two_regions_may_end_up_lower(regions: TwoRegions) -> None:
    now = int(regions.clock())
    assert run_sync(regions.services[HOME].not_before_items.raise_to(now, latest=now))
    assert run_sync(regions.services[OTHER].not_before_items.raise_to(now - 60, latest=now))
    regions.clock.advance(30)
    assert run_sync(regions.services[HOME].not_before.moment()) == now
    regions.table.replicate()
    regions.clock.advance(30)
    assert run_sync(regions.services[OTHER].not_before.moment()) == now - 60
    assert (
        run_sync(regions.services[HOME].not_before.moment()) == now
    )  # Only processes that saw it know.


def test_cost_unreplicated_writes_are_lost_after_a_failover(regions: TwoRegions) -> None:
    key = save_session(a=1).session_key
    regions.table.replicate()
    save_changes(key, a=2)
    new = save_session(b=1).session_key
    regions.serve(OTHER)
    assert SessionStore(key)["a"] == 1
    assert SessionStore(new).load() == {}
    regions.table.replicate()  # The home Region is back: its writes arrive late.
    assert SessionStore(key)["a"] == 2
    assert SessionStore(new)["b"] == 1


# The model itself


def test_regions_are_apart_until_replication(regions: TwoRegions) -> None:
    name = session_id("django", save_session(n=1).session_key or "")
    assert regions.table.item(name, HOME) is not None
    assert regions.table.item(name, OTHER) is None
    regions.table.replicate()
    assert regions.table.items(HOME) == regions.table.items(OTHER)
