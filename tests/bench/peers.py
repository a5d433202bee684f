"""The contestants for storing a session: Django's engines, ours, items of boto3, bare boto3.

Each can store a session, and then prepare to load it, or to load, change and save it.
"""

import json
from collections.abc import Callable
from importlib import import_module
from itertools import count
from typing import Any, Protocol

import boto3

from sessions_kms.aws import clients
from sessions_kms.services import services
from tests.bench.measuring import Call
from tests.support.production.aws import REGION, TABLE

OURS = "sessions_kms"
BY_BOTO = f"{OURS}, by boto3"
BARE = "boto3, the same calls"
ENCRYPTION_SDK = "AWS Encryption SDK, caching"
SQLITE, POSTGRESQL = "Django db (SQLite)", "Django db (PostgreSQL)"
DYSESSION = "django-dysession"
ENGINES = {
    OURS: "sessions_kms.backend",
    DYSESSION: "dysession.backends.db",
    SQLITE: "django.contrib.sessions.backends.db",
    "Django cached_db": "django.contrib.sessions.backends.cached_db",
    "Django cache": "django.contrib.sessions.backends.cache",
    "Django signed_cookies": "django.contrib.sessions.backends.signed_cookies",
}

_numbers = count(100_001)  # six digits, so that a change keeps the size


def peer(name: str) -> "Peer":
    """Return a peer of this process, whose settings decide how the engines talk to what they use.

    Raises ImportError if its package is not installed.
    """
    if name == BARE:
        return BarePeer()
    if name == ENCRYPTION_SDK:
        from tests.bench import encryption_sdk

        return encryption_sdk.peer(services().config.key_id)
    return EnginePeer({BY_BOTO: OURS, POSTGRESQL: SQLITE}.get(name, name))


class Peer(Protocol):
    """One way to store a session."""

    def store(self, content: dict[str, Any]) -> None: ...
    def prepare_load(self) -> Call: ...
    def prepare_load_and_save(self) -> Call: ...


class EnginePeer:
    """A Django session engine."""

    def __init__(self, name: str) -> None:
        self._engine: Any = import_module(ENGINES[name]).SessionStore
        self.key: str | None = None

    def store(self, content: dict[str, Any]) -> None:
        session = self._engine(None)
        for name, value in content.items():
            session[name] = value
        session.save()
        self.key = session.session_key

    def prepare_load(self) -> Call:
        return lambda: self._engine(self.key).get("n")

    def prepare_load_and_save(self) -> Call:
        return self._load_and_save

    def _load_and_save(self) -> None:
        session = self._engine(self.key)
        session.get("n")
        session["n"] = next(_numbers)
        session.save()


class BarePeer:
    """boto3 alone: exactly the two calls that the engine makes, and nothing else."""

    def __init__(self) -> None:
        self._client: Any = boto3.client("dynamodb", region_name=REGION)
        self._calls: dict[str, dict[str, Any]] = {}

    def store(self, content: dict[str, Any]) -> None:
        ours = EnginePeer(OURS)
        ours.store(content)
        self._calls = {
            "GetItem": _capture_parameters("GetItem", ours.prepare_load()),
            "PutItem": _capture_parameters("PutItem", ours.prepare_load_and_save()),
        }

    def prepare_load(self) -> Call:
        return lambda: self._client.get_item(**self._calls["GetItem"])

    def prepare_load_and_save(self) -> Call:
        return self._get_and_put

    def _get_and_put(self) -> None:
        self._client.get_item(**self._calls["GetItem"])
        self._client.put_item(**self._calls["PutItem"])


class ItemPeer:
    """boto3, and the work of any engine: serialize the session and store it in an item."""

    def __init__(
        self, name: str, wrap: Callable[[bytes], bytes], unwrap: Callable[[bytes], bytes]
    ) -> None:
        self._wrap = wrap
        self._unwrap = unwrap
        self._client: Any = clients.dynamodb_client(REGION)
        self._key = {"id": {"S": name}}
        self._content: dict[str, Any] = {}

    def store(self, content: dict[str, Any]) -> None:
        self._content = dict(content)
        self._save()

    def prepare_load(self) -> Call:
        return self._load

    def prepare_load_and_save(self) -> Call:
        return self._load_and_save

    def _load_and_save(self) -> None:
        self._content = self._load()
        self._content["n"] = next(_numbers)
        self._save()

    def _load(self) -> Any:
        response = self._client.get_item(TableName=TABLE, Key=self._key, ConsistentRead=True)
        return json.loads(self._unwrap(response["Item"]["data"]["B"]).decode("latin-1"))

    def _save(self) -> None:
        data = json.dumps(self._content, separators=(",", ":")).encode("latin-1")
        item = {**self._key, "data": {"B": self._wrap(data)}}
        self._client.put_item(TableName=TABLE, Item=item)


def _capture_parameters(operation: str, call: Call) -> dict[str, Any]:
    """Return the parameters of an operation that the engine makes on a session."""
    sender: Any = services().table._sender
    asks = sender.client
    sender.client = getattr(asks, "boto", asks)  # The built-in client has no events.
    events = sender.client.meta.events
    found: list[dict[str, Any]] = []
    name = f"provide-client-params.dynamodb.{operation}"

    def see(params: dict[str, Any], **_: Any) -> None:
        # The engine sometimes reads other items, whose ids contain a "#".
        place = params["Key"] if "Key" in params else params["Item"]
        if "#" not in place["id"]["S"]:
            found.append(dict(params))

    events.register(name, see)
    try:
        call()
    finally:
        events.unregister(name, see)
        sender.client = asks
    (params,) = found
    return params
