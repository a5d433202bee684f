"""Upstreams, declared as by environment variables."""

from gateway_site.rules.upstream import Upstream, read_upstreams
from tests.oauth.support.fake_provider import FakeProvider


def read_api(**variables: str) -> Upstream:
    given = {"URL": "https://api.example.com", "PROVIDER": "corp"} | variables
    found = read_upstreams({f"UPSTREAM_API_{key}": value for key, value in given.items()})
    assert list(found) == ["api"]
    return found["api"]


UPSTREAM = read_upstreams(
    {
        "UPSTREAM_API_URL": "https://api.example.com:8443/base/v1",
        "UPSTREAM_API_PROVIDER": "corp",
        "UPSTREAM_API_PATHS": "/a,/b/c",
    }
)["api"]

ROOT_UPSTREAM = read_upstreams(
    {"UPSTREAM_ROOT_URL": "https://api.example.com", "UPSTREAM_ROOT_PROVIDER": "corp"}
)["root"]


def read_people(provider: FakeProvider, **more: str) -> dict[str, Upstream]:
    variables = {"URL": provider.issuer, "PROVIDER": "corp", **more}
    return read_upstreams({f"UPSTREAM_PEOPLE_{k}": value for k, value in variables.items()})
