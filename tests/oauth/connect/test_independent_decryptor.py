"""What this release stores can be read from docs/format.md alone, without its code."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from pytest_django import Settings

from oauth.clients.grants import Grants
from oauth.clients.token_pair import Lifetimes
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services
from tests.oauth.support.connecting import Connecting
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.grants import ASKED, BACKEND, CONSENT, VERIFIER, PeopleInMemory, people
from tests.oauth.support.requests import request_of, stored_tokens, successor_of
from tests.sessions_kms.support.stacks import FAKE_KEY, Stack
from tests.support import decryptor
from tests.support.decryptor import Decryptor

pytestmark = pytest.mark.django_db(transaction=True)


def test_decryptor_imports_nothing_of_the_product() -> None:
    source = Path(decryptor.__file__).read_text("utf-8")
    imports = re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)
    assert not {"sessions_kms", "oauth", "gateway_site", "tests"} & set(imports)


def reader(stack: Stack) -> Decryptor:
    kms = stack.services.keyring._keyring._keyring._kms  # type: ignore[attr-defined]

    def unwrap(encrypted_key: bytes, context: Mapping[str, str]) -> bytes:
        plaintext: bytes = kms.decrypt(FAKE_KEY, encrypted_key, context).plaintext
        return plaintext

    config = stack.config
    assert config.absolute_timeout is not None
    return Decryptor(
        namespace=config.namespace,
        unwrap=unwrap,
        now=stack.clock(),
        absolute_timeout=config.absolute_timeout,
        grant_timeout=config.grant_age,
    )


def test_everything_in_a_fresh_table_opens(
    store: Stack, signed_in: Visitor, notes: Connecting, settings: Settings
) -> None:
    notes.connect()
    connected = notes.held
    held = stored_tokens(signed_in)
    successor = successor_of(held).token_set  # Another process refreshed: its result is in a lease.
    assert successor is not None
    request = request_of(signed_in)
    request.session["_about"] = {"browser": "Firefox"}
    request.session.save()
    request.session.cycle_key()
    cookie = request.session.session_key
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    with people():
        grants = Grants(services(), Lifetimes())
        own = replace(held, grant_secret="g" * 32)
        allowed = run_sync(grants.allow(PeopleInMemory.ada, CONSENT, "corp", own, backend=BACKEND))
        asked: dict[str, Any] = ASKED | {"arrived_at": store.clock()}
        more: dict[str, Any] = {"redirect_uri": None, "verifier": VERIFIER}
        issued = [run_sync(grants.redeem(allowed.code, **more, **asked))]
        for _ in range(2):
            refresh = grants.refresh(issued[-1].refresh_token, scope=None, **asked)
            issued.append(run_sync(refresh))
        unused = run_sync(grants.allow(PeopleInMemory.ada, CONSENT, "corp", own, backend=BACKEND))
    items = store.items()
    tokens = [token for each in issued for token in (each.access_token, each.refresh_token)]
    codes = [allowed.code, allowed.code + VERIFIER, unused.code]
    secrets = [str(cookie), *tokens, *codes]

    whole = reader(store)
    assert whole.open_all(items, secrets) == set()
    kinds = {decryptor.kind_of(each) for each in whole.opened}
    assert kinds == {"session", "about", "lease", "token", "answer", "document"}
    session = whole.opened[whole.digest("id", str(cookie))]
    assert session["oauth:corp"]["access_token"] == held.access_token
    assert session["oauth:notes"]["access_token"] == connected.access_token
    results = [whole.opened[each] for each in whole.opened if each.startswith("lease#")]
    assert successor.access_token in [each["token_set"]["access_token"] for each in results]

    without = reader(store)
    closed = without.open_all(items, [])
    assert {decryptor.kind_of(each) for each in without.opened} == {"about", "document"}
    shown = json.dumps(list(without.opened.values()))
    assert held.access_token not in shown
    assert {decryptor.kind_of(each) for each in closed} == kinds - {"about", "document"}

    changed = {name: dict(item) for name, item in items.items()}
    changed[whole.digest("id", str(cookie))]["ttl"] = {"N": str(int(store.clock()) + 10**6)}
    with pytest.raises(InvalidTag):
        reader(store).open_all(changed, secrets)
