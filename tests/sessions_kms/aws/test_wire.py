"""No secret of a session is visible to AWS, in the table, in objects or in logs."""

import base64
import copy
import json
import logging
import pickle
import pprint
from binascii import Error as NotBase64
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase

from sessions_kms.aws.kms import DataKeyResponse
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from tests.sessions_kms.support import leaks
from tests.sessions_kms.support.faulty import FaultyStack, MakeFaulty

servers = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)


@pytest.fixture
def visitor(make_faulty: MakeFaulty) -> leaks.Visitor:
    return leaks.Visitor(make_faulty())


def live(visitor: leaks.Visitor) -> None:
    """Go through all that a session can do, one conflict included."""
    session = visitor.session
    rival = SessionStore(visitor.key)
    rival["theirs"] = leaks.OTHER
    session["token"] = leaks.OTHER
    rival.save()
    session.save()
    session.cycle_key()
    visitor.key = session.session_key or ""
    session.exists(visitor.key)
    SessionStore(visitor.key).load()
    other = SessionStore()
    other["token"] = leaks.TOKEN
    other.create()
    visitor.secrets.add("session key", other.session_key or "")
    visitor.learn()


def binaries(value: Any) -> Iterator[bytes]:
    """Yield what the strings of a JSON value hold as base64."""
    if isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from binaries(member)
    elif isinstance(value, str):
        with suppress(NotBase64):
            yield base64.b64decode(value, validate=True)


@servers
def test_wire_and_table_hold_no_secret(visitor: leaks.Visitor) -> None:
    live(visitor)
    visitor.session.flush()
    faulty = visitor.faulty
    assert {"PutItem", "TransactWriteItems", "DeleteItem"} <= set(faulty.table.operations)
    assert set(faulty.kms.operations) == {"Decrypt"}
    sent = [*faulty.table.wire, *faulty.kms.wire]
    sent += [
        data
        for proxy in (faulty.table, faulty.kms)
        for _, body in proxy.requests
        for data in binaries(body)
    ]
    answered = [
        data for body in faulty.table.responses for data in (body, *binaries(json.loads(body)))
    ]
    kept = [repr(item).encode() for item in faulty.stack.items().values()]
    kept += [
        part["B"] for item in faulty.stack.items().values() for part in item.values() if "B" in part
    ]
    for data in sent + answered + kept:
        assert visitor.secrets.in_bytes(data) == set()


@servers
@pytest.mark.parametrize("config", [{}, {"data_key_period": 0}])
def test_kms_receives_nothing_about_a_person_or_a_session(
    make_faulty: MakeFaulty, config: dict[str, Any]
) -> None:
    faulty = make_faulty(**config, encryption_context={"stage": "test"})
    visitor = leaks.Visitor(faulty)
    faulty.stack.clock.advance(86_400)  # into a period whose data key is yet to be made
    live(visitor)
    assert set(faulty.kms.operations) == {"GenerateDataKey", "Decrypt"}
    for operation, request in faulty.kms.requests:
        own = {"KeySpec"} if operation == "GenerateDataKey" else {"CiphertextBlob"}
        assert request.keys() == {"KeyId", "EncryptionContext"} | own
        context = request["EncryptionContext"]
        assert context.pop("period").isdigit()
        assert context == {"purpose": "sessions_kms", "namespace": "django", "stage": "test"}


@servers
def test_logs_at_debug_hold_no_secret(faulty: FaultyStack, monkeypatch: pytest.MonkeyPatch) -> None:
    records = leaks.record_everything(monkeypatch)
    visitor = leaks.Visitor(faulty)
    live(visitor)
    assert {"botocore.parsers", "botocore.endpoint", "urllib3.connectionpool"} <= records.loggers
    assert records.showing(visitor.secrets) == set()


@servers
def test_objects_show_no_secret(visitor: leaks.Visitor) -> None:
    live(visitor)
    session, services = visitor.session, visitor.faulty.stack.services
    keyring: Any = services.keyring
    (item, *_) = visitor.faulty.stack.sessions()
    shown = [
        session,
        session._baseline,
        session._codec,
        services,
        services.table,
        keyring,
        keyring._entries,
        keyring._sealing,
        keyring._flights,
        run_sync(services.session_items.get(item)),
        DataKeyResponse("arn", leaks.TOKEN.encode(), b""),
        copy.copy(session),
    ]
    for thing in shown:
        assert visitor.secrets.within(repr(thing) + str(thing) + pprint.pformat(thing)) == set()
    for refused in (copy.deepcopy, pickle.dumps):
        error = leaks.error_of(partial(refused, session))
        assert error is not None
        assert visitor.secrets.within(repr(error)) == set()


# That nothing is found proves little unless what is there would be.


@servers
def test_detector_finds_secrets_in_botocores_log(
    make_faulty: MakeFaulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("botocore.parsers"), "filters", [])
    records = leaks.record_everything(monkeypatch)
    visitor = leaks.Visitor(make_faulty())
    visitor.session.load()
    visitor.learn()
    assert records.showing(visitor.secrets) == {"botocore.parsers: data key"}


class Unguarded(SessionBase):
    """Django's own session, over a table that fails."""

    def load(self) -> dict[str, Any]:
        raise TableUnavailable


@servers
def test_detector_finds_secrets_in_frames_of_django(visitor: leaks.Visitor) -> None:
    error = leaks.error_of(lambda: Unguarded("k" * 32).update({"token": leaks.TOKEN}))
    assert error is not None
    assert leaks.in_error(error, visitor.secrets) == {
        "TableUnavailable: SessionBase.update.dict_: token"
    }
    assert leaks.in_reports(error, visitor.request(), visitor.secrets) == {"html: token"}


@pytest.mark.parametrize("shown", [repr(b"\\\0secret"), b"\\\0secret".hex(), "XABzZWNyZXQ"])
def test_detector_recognises_every_form(shown: str) -> None:
    secrets = leaks.Secrets()
    secrets.add("it", b"\\\0secret")
    assert secrets.within(f"a {shown}=") == {"it"}
