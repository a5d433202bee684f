"""An endpoint is named in a request and in a message as its URL has it."""

import pytest

from sessions_kms.http.connecting import Origin


@pytest.mark.parametrize(
    ("endpoint", "authority", "url"),
    [
        (Origin("a.example", 443), "a.example", "https://a.example/"),
        (Origin("a.example", 80), "a.example:80", "https://a.example:80/"),
        (Origin("a.example", 80, tls=False), "a.example", "http://a.example/"),
        (Origin("::1", 8000, tls=False), "[::1]:8000", "http://[::1]:8000/"),
    ],
)
def test_port_is_named_where_it_is_not_the_schemes(
    endpoint: Origin, authority: str, url: str
) -> None:
    assert (endpoint.authority, endpoint.url) == (authority, url)
