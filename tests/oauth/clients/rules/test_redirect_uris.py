"""Redirect URIs: the accepted kinds, and exact matching."""

from oauth.clients.rules import redirect_uris
from oauth.clients.rules.redirect_uris import CURSOR_URI, is_acceptable, matches_any
from tests.support.cases import each_case

GOOD = [
    "https://claude.ai/api/mcp/auth_callback",
    "https://vscode.dev/redirect",
    "https://app.example.com:8443/cb?tenant=1",
    "https://app.example.com/code?encode=1&states=2&x=code&iss-uer&Error=3",
    "https://app.example.com/error=1/cb",
    "https://app.example.com",
    "https://xn--80ak6aa92e.example/cb",
    "http://127.0.0.1:33418/",
    "http://127.0.0.1",
    "http://[::1]:8080/callback",
    "http://localhost/oauth/callback?x=y",
    CURSOR_URI,
]
BAD = [
    "",
    None,
    7,
    ["https://a.example/"],
    "http://a.example/cb",
    "http://127.0.0.1.evil.example/cb",
    "http://127.0.0.2/cb",
    "http://2130706433/cb",
    "http://localhost.evil.example/",
    "http://localhost@evil.example/",
    "http://[::1%25lo]/",
    "http://[::ffff:127.0.0.1]/",
    "http://0.0.0.0/cb",
    "https://localhost/cb",
    "https://127.0.0.1/cb",
    "https://[::1]/cb",
    "https://0x7f.1/cb",
    "https://a.example/cb#fragment",
    "https://a.example/cb\n",
    " https://a.example/cb",
    "https://a.example\\@evil.example/",
    "https://user@a.example/cb",
    "https://a.example:0/cb",
    "https://a.example:65536/cb",
    "https://a.example:/cb",
    "https://a.example./cb",
    "https://A.example/cb",
    "https://\N{CYRILLIC SMALL LETTER A}pple.example/cb",
    "https://a.example/\N{CYRILLIC SMALL LETTER ES}",
    "https://a.example/%zz",
    "https://a.example/<script>",
    'https://a.example/"onload=',
    "https:/a.example/",
    "https:a.example",
    "//a.example/cb",
    "/cb",
    "https://a.example/cb?code=x",
    "https://a.example/cb?code",
    "https://a.example/cb?=&x=1&state=",
    "https://a.example/cb?x=1;iss=https://evil.example",
    "http://127.0.0.1/cb?error=access_denied",
    "http://localhost/cb?%65rror=x",
    "https://a.example/cb?error_description=x",
    "https://a.example/cb??x&stat%65=1",
    "javascript:alert(1)",
    "data:text/html,x",
    "cursor://anysphere.cursor-mcp/oauth/callback/",
    "cursor://evil/oauth/callback",
    "com.example.app:/cb",
    "https://a.example/" + "x" * 512,
]


@each_case("uri", GOOD)
def test_https_at_a_name_loopback_and_listed_addresses_are_acceptable(uri: str) -> None:
    assert is_acceptable(uri)
    assert matches_any(uri, [uri])


@each_case("uri", BAD)
def test_any_other_address_is_not_acceptable(uri: object) -> None:
    assert not is_acceptable(uri)
    if isinstance(uri, str):
        assert not matches_any(uri, [uri])


def test_listed_address_must_match_exactly_and_for_its_client() -> None:
    assert is_acceptable("com.example.app:/cb", {"com.example.app:/cb"})
    assert not is_acceptable("com.example.app:/cb2", {"com.example.app:/cb"})
    assert not is_acceptable(CURSOR_URI, {"com.example.app:/cb"})


@each_case(
    ("given", "registered"),
    [
        ("https://a.example/cb/", "https://a.example/cb"),
        ("https://a.example/cb?x=1", "https://a.example/cb"),
        ("https://a.example:444/cb", "https://a.example/cb"),
        ("https://b.example/cb", "https://a.example/cb"),
        ("https://a.example/../cb", "https://a.example/cb"),
        ("https://a.example/%63b", "https://a.example/cb"),
        ("http://localhost/cb", "http://127.0.0.1/cb"),
        ("http://127.0.0.1/cb", "http://localhost/cb"),
        ("http://127.0.0.1:8000/other", "http://127.0.0.1/cb"),
        ("http://127.0.0.1:8000/cb?x", "http://127.0.0.1/cb"),
        ("https://a.example/cb", "http://127.0.0.1/cb"),
    ],
)
def test_similar_address_does_not_match(given: str, registered: str) -> None:
    assert not matches_any(given, [registered])
    assert not matches_any(registered, [given])


def test_port_of_this_computer_is_the_programs_to_choose() -> None:
    for given in ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", "http://127.0.0.1:65535/cb"):
        assert matches_any(given, ["http://127.0.0.1:33418/cb"])
    for given in ("http://127.0.0.1:0/cb", "http://127.0.0.1:65536/cb", "http://127.0.0.1:x/cb"):
        assert not matches_any(given, ["http://127.0.0.1:33418/cb"])


@each_case("scheme", sorted(redirect_uris.NEVER_PRIVATE))
def test_operator_cannot_list_an_address_that_a_browser_opens_itself(scheme: str) -> None:
    assert redirect_uris.is_private_scheme("com.example.app:/cb")
    assert not redirect_uris.is_private_scheme(f"{scheme}://a.example/cb")
    assert not redirect_uris.is_private_scheme(f"{scheme}:x")


@each_case("name", ["code", "state", "iss", "error", "error_description", "%63ode"])
def test_listed_address_has_no_response_parameters(name: str) -> None:
    uri = f"app://cb?{name}=1"
    assert redirect_uris.is_private_scheme("app://cb?x=1")
    assert not redirect_uris.is_private_scheme(uri)
    assert not is_acceptable(uri, [uri])
    assert not matches_any(uri, [uri], [uri])


def test_host_is_shown_as_it_is_looked_up() -> None:
    found = {each: redirect_uris.host_of(each) for each in GOOD}
    assert found["https://app.example.com:8443/cb?tenant=1"] == "app.example.com"
    assert found["http://[::1]:8080/callback"] == "::1"
    assert found[CURSOR_URI] == "anysphere.cursor-mcp"
    assert redirect_uris.host_of("com.example.app:/cb") == "com.example.app"
