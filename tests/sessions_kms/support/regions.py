"""Two Regions for the tests: one multi-Region key, and a global table with its replication.

Each Region has its own table on a real server; KMS is the fake one. `replicate` copies the engine's
writes to the other Region, item by item, and the last write of each item wins, as in DynamoDB:
conditions and transactions only apply in the Region of the call.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import boto3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sessions_kms import services
from sessions_kms.aws import clients
from sessions_kms.aws.kms import DataKeyResponse
from sessions_kms.conf import Config
from sessions_kms.operations import provisioning
from sessions_kms.services import Services
from tests.sessions_kms.support.fakes import FakeKMS
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
    """The replicas of a table, and the writes that are not replicated yet."""

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
    kms: "ReplicatedKMS"
    keys: dict[str, str]
    services: dict[str, Services]

    def serve(self, region: str) -> Services:
        """Serve the next requests in a Region."""
        install(self.services[region])
        return self.services[region]

    def restart(self, region: str, clock: FakeClock, **config: Any) -> Services:
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
            clock=clock,
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
    made = TwoRegions(table, ReplicatedKMS(keys.values(), SINGLE), keys, {})
    for region in reversed(REGIONS):
        made.restart(region, clock)
    yield made
    table.close()
