"""A grant that is bound to a key (DPoP) at two processes, and what the table has of it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from oauth.clients.authentication.dpop_proof import RequestProof
from oauth.clients.rules.errors import InvalidGrant, InvalidProof, WrongTokenType
from oauth.clients.sealed_grant import SealedGrant, TokenResponse
from oauth.provider.public_jwk import make_thumbprint
from sessions_kms.concurrency.waits import run_sync
from tests.oauth.support.grants import GrantWorld
from tests.oauth.support.proof_maker import ProofKey
from tests.sessions_kms.support.stacks import install
from tests.vectors.opening import BOUND, JKT

TOKEN_URL = "https://gateway.example/oauth/token"
CALL_URL = "https://gateway.example/gateway/mcp"
# The key of RFC 9449, section 4.2, whose thumbprint is in section 6.1.
RFC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
}


class TwoProcesses(GrantWorld):
    """Two processes with one table; the client talks to one of them."""

    def __init__(self) -> None:
        super().__init__(2)
        self.all = [self.started(process) for process in range(2)]
        self.talk_to(0)

    def talk_to(self, process: int) -> None:
        install(self.world.processes[process])
        self.grants = self.all[process]

    def opens(self, token: str, proof: RequestProof | None) -> bool:
        return run_sync(self.grants.open(token, upstream="mcp", proof=proof)) is not None


@pytest.fixture
def world() -> TwoProcesses:
    return TwoProcesses()


@pytest.fixture
def key(world: TwoProcesses) -> ProofKey:
    return ProofKey(world.clock)


def request(key: ProofKey) -> RequestProof:
    return RequestProof(text=key.proof("POST", TOKEN_URL), method="POST", url=TOKEN_URL)


def call(key: ProofKey, token: str) -> RequestProof:
    return RequestProof(text=key.proof("GET", CALL_URL, token), method="GET", url=CALL_URL)


def begin(world: GrantWorld, key: ProofKey) -> TokenResponse:
    return world.redeem(world.allow(), proof=request(key))


def test_other_process_serves_a_bound_token_and_rejects_it_without_its_key(
    world: TwoProcesses, key: ProofKey
) -> None:
    issued = begin(world, key)
    token = issued.access_token
    proof = call(key, token)
    for process in (0, 1):  # Each remembers the proofs that it accepted itself.
        world.talk_to(process)
        for wrong in (None, call(ProofKey(key.now), token)):
            with pytest.raises(WrongTokenType):
                world.opens(token, wrong)
        assert world.opens(token, proof)
        forged = ProofKey(key.now).proof("GET", CALL_URL, token, header={"jwk": key.jwk})
        for text in (
            proof.text,
            forged,
            key.proof("GET", CALL_URL),
            key.proof("GET", CALL_URL, "x"),
        ):
            with pytest.raises(InvalidProof):
                world.opens(token, replace(proof, text=text))
    world.assert_not_refreshed(issued.refresh_token, proof=request(ProofKey(key.now)))
    world.assert_not_refreshed(issued.refresh_token, InvalidProof)
    assert world.refresh(issued.refresh_token, proof=request(key)).jkt == issued.jkt


def test_bound_token_is_deleted_where_another_leaves_a_tombstone(
    world: TwoProcesses, key: ProofKey
) -> None:
    plain = world.begin()
    bound = [world.refresh(plain.refresh_token, proof=request(key))]
    for _ in range(2):
        bound.append(world.refresh(bound[-1].refresh_token, proof=request(key)))
    tombstones = [each["id"]["S"] for each in world.items.values() if "spentAt" in each]
    assert tombstones == [world.grants._tokens.id_of(plain.refresh_token)]


def test_rejected_proof_writes_nothing(world: TwoProcesses, key: ProofKey) -> None:
    issued = begin(world, key)
    world.calls.clear()
    for proof in (None, request(ProofKey(key.now)), RequestProof(text="x", method="", url="")):
        with pytest.raises((InvalidGrant, InvalidProof)):
            world.refresh(issued.refresh_token, proof=proof)
    assert {each.partition(" ")[0] for each in world.calls} == {"GetItem"}


def test_stored_members_are_those_of_the_document_and_earlier_tokens_have_none() -> None:
    assert make_thumbprint(RFC_KEY) == JKT
    found = SealedGrant.from_bytes(json.dumps(BOUND).encode())
    assert (found.jkt, found.needs_proof, found.is_bound) == (JKT, True, True)
    assert found.previous is not None
    assert (found.previous.jkt, found.previous.leaves_tombstone) == (JKT, False)
    older: dict[str, Any] = {**BOUND, "previous": None}
    del older["jkt"], older["needs_proof"]
    assert not SealedGrant.from_bytes(json.dumps(older).encode()).is_bound


def test_late_reuse_ends_the_grant_with_its_key_alone(world: TwoProcesses, key: ProofKey) -> None:
    issued = begin(world, key)
    second = world.refresh(issued.refresh_token, proof=request(key))
    world.clock.advance(world.lifetimes.refresh_grace + 1)
    world.talk_to(1)
    # another key: nothing ends
    world.assert_not_refreshed(issued.refresh_token, proof=request(ProofKey(key.now)))
    token = second.access_token
    assert world.opens(token, call(key, token))
    # its own: the key is somebody else's, too
    world.assert_not_refreshed(issued.refresh_token, proof=request(key))
    assert not world.opens(token, call(key, token))
