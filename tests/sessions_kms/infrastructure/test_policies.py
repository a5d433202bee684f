"""The policies of the roles, enforced: sufficient and minimal for each role."""

import json
import re
import secrets
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable, TableUnavailable
from sessions_kms.infrastructure.policies import ROLES
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection
from sessions_kms.sealed_items.documents import SealedDocuments
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.sealed_items.tokens import NewToken, Tokens
from tests import ROOT
from tests.sessions_kms.support.deployed import Deployed, run_and_print
from tests.sessions_kms.support.every_kind import spend_token
from tests.sessions_kms.support.iam import Enforcement, Request, some
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import FAKE_KEY
from tests.support.clock import FakeClock

DOCS = ROOT / "docs" / "aws.md"
WEB = {
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:DeleteItem",
    "dynamodb:Query",
    "kms:GenerateDataKey",
    "kms:Decrypt",
}


@pytest.fixture
def encryption_context() -> dict[str, str]:
    return {"stage": "${aws:username}"}


@pytest.fixture
def config() -> dict[str, Any]:
    return {"encryption_context": {"stage": "${aws:username}"}}


def sign_in_user(user: str) -> SessionStore:
    store = SessionStore()
    store["_auth_user_id"] = user
    return store


def use_the_site(number: int = 7) -> None:
    """Do everything that requests make the engine do, for people that have this number."""
    person, somebody, link = str(number), f"{number}0", f"{number:064}"
    anonymous = save_session(cart=[1])
    first, second = SessionStore(anonymous.session_key), SessionStore(anonymous.session_key)
    first["a"], second["b"] = 1, 2
    first.save()
    second.save()  # A conflict, merged.
    second.cycle_key()
    user = SessionStore(second.session_key)
    assert (user["a"], user["b"]) == (1, 2)
    user.update({"_auth_user_id": person, "_links": [link], "_about": {"browser": "Firefox"}})
    user.save()
    user.cycle_key()
    assert len(run_sync(Inspection(services.services()).list_user_sessions(person)).rows) == 1
    assert run_sync(Inspection(services.services()).count_user_sessions(person)).number == 1
    assert ending.end_linked(services.services(), link) == 1
    user["late"] = 1
    with pytest.raises(UpdateError):
        user.save()
    other = sign_in_user(somebody)
    other.save()
    assert ending.end_sessions_of(services.services(), somebody) == 1
    leases, secret = Leases(services.services()), secrets.token_hex()
    assert run_sync(leases.claim(secret, "me", seconds=10)).held
    assert run_sync(leases.complete(secret, "me", b"done", keep=60))
    assert run_sync(leases.claim(secret, "you", seconds=10)).result == b"done"
    use_tokens()
    documents, name = SealedDocuments(services.services()), f"wiki/{number}"
    assert run_sync(documents.store(name, b"content", expected=None))
    assert run_sync(documents.load(name)) is not None
    run_sync(documents.delete(name))
    services.services().probe()


def use_tokens() -> None:
    """Spend a token for another, and then that one, as clients of a grant do."""
    tokens, ttl = Tokens(services.services()), int(services.services().clock()) + 60
    first, second = (f"gwr_{secrets.token_hex(16)}" for _ in range(2))
    run_sync(tokens.begin(NewToken(first, b"opens", ttl)))
    assert spend_token(first, ttl=ttl, successors=[NewToken(second, b"opens", ttl)])
    assert spend_token(second, ttl=ttl, forgotten=tokens.id_of(first))
    assert run_sync(tokens.answer(first)) is None
    assert run_sync(tokens.forget(tokens.id_of(second)))


@pytest.mark.slow
def test_site_needs_all_of_its_policy_and_nothing_else(
    deployed: Deployed, clock: FakeClock, config: dict[str, Any]
) -> None:
    enforced, _ = deployed.serve_as("web", clock, **config)
    use_the_site()
    # A new process has to unwrap a data key that another one published.
    deployed_again, _ = deployed.serve_as("web", clock, **config)
    use_the_site()
    assert enforced.denied | deployed_again.denied == set()
    assert enforced.used | deployed_again.used == WEB == enforced.granted_actions()


def test_strict_mode_needs_no_further_rights(
    deployed: Deployed, clock: FakeClock, config: dict[str, Any]
) -> None:
    enforced, _ = deployed.serve_as("web", clock, data_key_period=0, **config)
    use_the_site()
    assert enforced.used <= WEB


@pytest.mark.slow
def test_site_without_one_of_its_rights_answers_503(
    deployed: Deployed, clock: FakeClock, config: dict[str, Any]
) -> None:
    """Enforcement enforces: each right is needed somewhere."""
    deployed.serve_as("web", clock, **config)
    use_the_site()
    for number, missing in enumerate(sorted(WEB), start=8):
        enforced, _ = deployed.serve_as("web", clock, **config)
        for statement in enforced.policy["Statement"]:
            statement["Action"] = [each for each in some(statement["Action"]) if each != missing]
        if missing == "kms:GenerateDataKey":
            clock.advance(24 * 3600)  # Else the data key that was published is unwrapped.
        with pytest.raises(StoreUnavailable):
            use_the_site(number)
        assert enforced.denied == {missing}


def test_site_may_not_look_through_the_table(
    deployed: Deployed, clock: FakeClock, config: dict[str, Any]
) -> None:
    enforced, wired = deployed.serve_as("web", clock, **config)
    with pytest.raises(TableUnavailable):
        run_sync(wired.queries.scan())
    assert enforced.denied == {"dynamodb:Scan"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "other", [{"namespace": "another"}, {"encryption_context": {"stage": "test"}}]
)
def test_key_opens_nothing_for_another_namespace_or_context(
    deployed: Deployed, clock: FakeClock, config: dict[str, Any], other: dict[str, Any]
) -> None:
    deployed.serve_as("web", clock, **(config | other))
    with pytest.raises(KMSUnavailable):
        sign_in_user("7").save()


def test_policy_of_the_key_alone_keeps_the_rest_of_the_account_out(deployed: Deployed) -> None:
    everything = {"Effect": "Allow", "Action": ["kms:*", "dynamodb:*"], "Resource": ["*"]}
    key_policy = deployed.role("web").key_policy
    context = {
        "kms:EncryptionContext:purpose": "sessions_kms",
        "kms:EncryptionContext:namespace": "gateway",
        "kms:EncryptionContext:stage": "${aws:username}",
    }

    def may(role: str, action: str, without: str = "nothing") -> bool:
        who = Enforcement(role, {"Statement": [everything]}, key_policy)
        sent = {name: value for name, value in context.items() if not name.endswith(without)}
        return who.allows(Request(f"kms:{action}", deployed.key, sent))

    web, admin = deployed.outputs["WebRoleArn"], deployed.outputs["AdminRoleArn"]
    stranger = "arn:aws:iam::123456789012:role/administrator"
    assert may(web, "Decrypt")
    assert not may(web, "Decrypt", without="namespace")
    assert not may(stranger, "Decrypt")
    assert may(admin, "ReEncryptFrom")
    assert may(admin, "ReEncryptTo")
    assert not may(web, "ReEncryptFrom")
    assert not may(admin, "ReEncryptTo", without="purpose")
    assert may(stranger, "ScheduleKeyDeletion")
    for action in ("CreateGrant", "Encrypt", "GenerateDataKeyWithoutPlaintext"):
        assert not may(admin, action)


def test_every_role_has_the_rights_of_the_site(deployed: Deployed) -> None:
    assert all(deployed.role(role).granted_actions() >= WEB for role in ROLES)


@pytest.mark.parametrize("role", list(ROLES))
def test_no_policy_has_a_wildcard(deployed: Deployed, role: str) -> None:
    assert "*" not in json.dumps(deployed.role(role).policy)


def test_documented_policy_is_the_one_printed(settings: Settings) -> None:
    settings.SESSIONS_KMS = {}
    blocks = re.findall(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    options = ["--table", "gateway-sessions", "--namespace", "gateway", "--key", FAKE_KEY]
    policy = run_and_print("--format", "iam-policy", "--role", "web", *options)
    assert [json.loads(block) for block in blocks] == [json.loads(policy)]
