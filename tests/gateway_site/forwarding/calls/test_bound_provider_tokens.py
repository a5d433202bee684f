"""Calls of an upstream with tokens that are bound to a key (DPoP, RFC 9449)."""

from tests.gateway_site.support.gateways import Gateway
from tests.gateway_site.support.problems import assert_problem


def test_call_proves_the_key_and_shows_nothing_of_it(gateway: Gateway) -> None:
    for _ in range(2):  # each proof serves once
        response = gateway.get("bound/bound?case=plain", headers={"DPoP": "x", "DPoP-Nonce": "y"})
        assert response.status_code == 200, response.text
        assert not {"dpop", "dpop-nonce"} & {name.lower() for name in response.headers}
    assert gateway.state()["bound plain"] == 2


def test_call_is_repeated_with_the_nonce_of_the_upstream(gateway: Gateway) -> None:
    body = b"x" * 65536
    with gateway.writer() as client:
        for nonce in ("one", "one", "two"):
            url = f"{gateway.url}/gateway/bound/bound?case=nonces&nonce={nonce}"
            response = client.post(url, data=body, timeout=10)
            assert (response.status_code, response.content) == (200, body)
            assert "DPoP-Nonce" not in response.headers
    assert gateway.state()["bound nonces"] == 3 + 2  # the second time it was known


def test_call_that_cannot_be_made_again_is_the_clients_to_repeat(gateway: Gateway) -> None:
    with gateway.writer() as client:
        url = f"{gateway.url}/gateway/bound/bound?case=large&nonce=of-large"
        response = client.post(url, data=b"x" * 65537, timeout=10)
        assert_problem(response, 503, "nonce_required")
        assert "Retry-After" in response.headers
        assert client.post(url, data=b"x" * 65537, timeout=10).status_code == 200
    assert gateway.state()["bound large"] == 2


def test_refused_token_is_refreshed_though_the_nonce_was_old_as_well(gateway: Gateway) -> None:
    response = gateway.get("bound/bound?case=both&nonce=of-both&token=-2")
    assert response.status_code == 200, response.text
    assert gateway.state()["bound both"] == 3


def test_call_is_repeated_only_once_for_a_nonce(gateway: Gateway) -> None:
    response = gateway.get("bound/bound?case=never&nonce=of-never&token=another")
    assert response.status_code == 401
    assert "DPoP-Nonce" not in response.headers
    assert gateway.state()["bound never"] <= 3
