"""Upstreams by environment."""

from dataclasses import FrozenInstanceError

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_site.rules.upstream import find_resources, read_upstreams
from tests.gateway_site.support.declared_upstreams import read_api
from tests.gateway_site.support.loading import production
from tests.support.cases import each_case


def test_defaults() -> None:
    upstream = read_api()
    assert upstream.origin == "https://api.example.com"
    assert upstream.prefix == ""
    assert upstream.provider == "corp"
    assert upstream.methods == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
    assert upstream.paths == ()
    assert (upstream.connect_timeout, upstream.read_timeout, upstream.stream_timeout) == (
        5, 60, 3600,
    )  # fmt: skip
    assert upstream.max_body == 100 * 1024 * 1024
    assert upstream.max_concurrent == 64


def test_upstream_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        read_api().origin = "https://evil.example"  # type: ignore[misc]  # what must not work


@each_case(
    ("url", "origin", "prefix"),
    [
        ("https://api.example.com/", "https://api.example.com", ""),
        ("https://api.example.com:443/v1/", "https://api.example.com", "/v1"),
        ("https://api.example.com:8443/v1", "https://api.example.com:8443", "/v1"),
        ("https://API.Example.com/V1", "https://api.example.com", "/V1"),
        ("http://127.0.0.1:9000/a/@b", "http://127.0.0.1:9000", "/a/@b"),
        ("http://localhost:80", "http://localhost", ""),
        ("http://[::1]:9000/x", "http://[::1]:9000", "/x"),
        ("https://10.0.0.1", "https://10.0.0.1", ""),
    ],
)
def test_address(url: str, origin: str, prefix: str) -> None:
    upstream = read_api(URL=url)
    assert (upstream.origin, upstream.prefix) == (origin, prefix)


@each_case(
    "url",
    [
        "api.example.com",
        "//api.example.com",
        "http://api.example.com",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.2",
        "ftp://127.0.0.1",
        "https:///v1",
        "https://user@api.example.com",
        "https://user:password@api.example.com",
        "https://@api.example.com",
        "https://api.example.com?x=1",
        "https://api.example.com?",
        "https://api.example.com/#x",
        "https://api.example.com/../x",
        "https://api.example.com/%2e%2e",
        "https://api.example.com//x",
        "https://api.example.com/a;b",
        "https://api.example.com\\evil.example",
        "https://api.example.com:port",
        "https://api.example.com:",
        "https://api.example.com:99999",
        "https://api example.com",
        "https://bücher.example",
        "https://api_v1.example.com/",
        "https://[::1",
        "https://-x.example",
    ],
)
def test_unusable_address_is_an_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="UPSTREAM_API_URL must be") as caught:
        read_api(URL=url)
    assert url not in str(caught.value)


def test_lists_and_numbers() -> None:
    upstream = read_api(
        METHODS="GET, OPTIONS",
        PATHS="/user/,/repos",
        MAX_BODY="1",
        READ_TIMEOUT="2",
        PROVIDER=" Google ",
    )
    assert upstream.methods == {"GET", "OPTIONS"}
    assert upstream.paths == ("/user", "/repos")
    assert (upstream.max_body, upstream.read_timeout) == (1, 2)
    assert upstream.provider == "google"


@each_case(
    ("suffix", "value"),
    [
        ("PROVIDER", " "),
        ("METHODS", "get"),
        ("METHODS", "GET,TRACE"),
        ("METHODS", "CONNECT"),
        ("METHODS", "GET;POST"),
        ("PATHS", "user"),
        ("PATHS", "/"),
        ("PATHS", "/a/../b"),
        ("PATHS", "/a%2fb"),
        ("MAX_BODY", "0"),
        ("MAX_BODY", "-1"),
        ("MAX_BODY", "1e3"),
        ("MAX_BODY", "٣"),
        ("MAX_BODY", "9" * 20),
        ("MAX_CONCURRENT", "many"),
        ("CONNECT_TIMEOUT", "0"),
        ("READ_TIMEOUT", "1.5"),
        ("STREAM_TIMEOUT", "x"),
        ("ALLOW_HTTP", "10.0.0.0/8"),
        ("CA_FILE", "/no/such.pem"),
        ("CA_FILE", __file__),
        ("METHOD", "GET"),
        ("URI", "https://x"),
        ("MAX_BODIES", "1"),
        ("ALLOWED_PATHS", "/user"),
        ("HTTP_METHODS", "GET"),
    ],
)
def test_unusable_variable_is_an_error_that_names_it(suffix: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"UPSTREAM_API_{suffix} "):
        read_api(**{suffix: value})


def test_plain_http_is_accepted_where_allowed() -> None:
    assert (
        read_api(URL="http://api.internal:8080", ALLOW_HTTP="1").origin
        == "http://api.internal:8080"
    )
    with pytest.raises(
        ImproperlyConfigured, match="in a private network with UPSTREAM_API_ALLOW_HTTP=1"
    ):
        read_api(URL="http://api.internal:8080", ALLOW_HTTP="0")


def test_provider_is_required() -> None:
    with pytest.raises(ImproperlyConfigured, match="UPSTREAM_API_PROVIDER is missing"):
        read_upstreams({"UPSTREAM_API_URL": "https://api.example.com"})


def test_names_with_underscores_and_digits() -> None:
    names = ("API", "API_V2", "X1")
    found = read_upstreams(
        {f"UPSTREAM_{name}_URL": f"https://{name[0]}.example.com" for name in names}
        | {f"UPSTREAM_{name}_PROVIDER": "corp" for name in names}
        | {"UPSTREAM_API_V2_READ_TIMEOUT": "9"}
    )
    assert sorted(found) == ["api", "api_v2", "x1"]
    assert (found["api"].read_timeout, found["api_v2"].read_timeout) == (60, 9)


def test_upstream_without_url_does_not_exist() -> None:
    assert (
        read_upstreams({"UPSTREAM_API_URL": " ", "UPSTREAM_API_PROVIDER": "corp", "PATH": "/"})
        == {}
    )


def test_upstream_may_lack_a_url_if_another_name_is_a_prefix_of_its_own() -> None:
    variables = {
        "UPSTREAM_API_URL": "https://api.example.com",
        "UPSTREAM_API_PROVIDER": "corp",
        "UPSTREAM_API_V2_URL": "",
        "UPSTREAM_API_V2_PROVIDER": "corp",
    }
    assert list(read_upstreams(variables)) == ["api"]


def test_name_has_a_limit() -> None:
    name = "A" * 41
    with pytest.raises(ImproperlyConfigured, match="must not exceed 40"):
        read_upstreams(
            {f"UPSTREAM_{name}_URL": "https://x.example", f"UPSTREAM_{name}_PROVIDER": "c"}
        )


@each_case(
    ("entry", "because"),
    [
        ("Authorization", "never passed on"),
        ("X-Serverless-Authorization", "never passed on"),
        ("Grpc-Metadata-Authorization", "never passed on"),
        ("Grpc-Metadata-X-Forwarded-For", "never passed on"),
        ("Cookie", "never passed on"),
        ("X-CSRFToken", "never passed on"),
        ("Proxy-Authorization", "never passed on"),
        ("Proxy-*", "never passed on"),
        ("Proxy", "never passed on"),
        ("Forwarded", "never passed on"),
        ("X-Forwarded-For", "never passed on"),
        ("X-Forwarded-*", "never passed on"),
        ("X-Real-IP", "never passed on"),
        ("True-Client-IP", "never passed on"),
        ("Cf-Connecting-IP", "never passed on"),
        ("Remote-Addr", "never passed on"),
        ("Client-Cert", "never passed on"),
        ("DPoP", "never passed on"),
        ("DPoP-Nonce", "never passed on"),
        ("Sec-*", "never passed on"),
        ("X-Http-Method-Override", "never passed on"),
        ("X-Method", "never passed on"),
        ("Content-Length", "never passed on"),
        ("Transfer-Encoding", "never passed on"),
        ("Connection", "never passed on"),
        ("Host", "never passed on"),
        ("X-User-*", "full names"),
        ("Cf-*", "full names"),
        ("Remote-*", "full names"),
        ("X-Amzn-*", "full names"),
        ("X-Auth-Request-*", "full names"),
        ("X-MS-Client-*", "full names"),
        ("Tailscale-User-*", "full names"),
        ("X-Authentik-*", "full names"),
        ("Grpc-Metadata-*", "full names"),
        ("X-Amz*", "hyphen"),
        ("*", "letters, digits and hyphens"),
        ("-*", "letters, digits and hyphens"),
        ("x-*-y", "letters, digits and hyphens"),
        ("X_User", "letters, digits and hyphens"),
        ("X-A:", "letters, digits and hyphens"),
        ("X-\u00c4", "letters, digits and hyphens"),
    ],
)
def test_forbidden_request_header_is_rejected(entry: str, because: str) -> None:
    for entries in (entry, f"Notion-Version, {entry.upper()}", f"{entry.lower()} x-amz-*"):
        with pytest.raises(ImproperlyConfigured, match=because) as refused:
            read_api(REQUEST_HEADERS=entries)
        assert str(refused.value).startswith("UPSTREAM_API_REQUEST_HEADERS ")


def test_added_request_headers_pass_in_any_case_and_need_no_warning() -> None:
    upstream = read_api(REQUEST_HEADERS="X-AMZ-*,Notion-Version")
    assert upstream.request_headers.pass_on("x-amz-date")
    assert upstream.request_headers.pass_on("notion-version")
    assert not upstream.request_headers.pass_on("notion")
    assert upstream.request_headers.doubtful == ()
    assert not read_api().request_headers.pass_on("x-amz-date")


@each_case(
    ("given", "hosts"),
    [
        ("", set()),
        ("files.example.com", {"files.example.com"}),
        ("a.example, b-c.example minio", {"a.example", "b-c.example", "minio"}),
        ("xn--bcher-kva.example", {"xn--bcher-kva.example"}),
        ("my_bucket.s3.example.com", {"my_bucket.s3.example.com"}),
        ("a" * 63 + ".example", {"a" * 63 + ".example"}),
    ],
)
def test_hosts_of_redirects(given: str, hosts: set[str]) -> None:
    assert read_api(REDIRECT_HOSTS=given).redirect_hosts == hosts


@each_case(
    "host",
    [
        "https://files.example.com",
        "files.example.com/x",
        "files.example.com:443",
        "*.example.com",
        ".example.com",
        "*",
        "Files.example.com",
        "files.example.com.",
        "files..example.com",
        "-files.example.com",
        "files-.example.com",
        "user@files.example.com",
        "bücher.example",
        "10.0.0.1",
        "0x7f.1",
        "2130706433",
        "[::1]",
        "a" * 64 + ".example",
        ".".join(["a" * 50] * 5) + ".example",
    ],
)
def test_inexact_redirect_host_is_an_error(host: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="UPSTREAM_API_REDIRECT_HOSTS must be") as caught:
        read_api(REDIRECT_HOSTS=f"files.example.com,{host}")
    assert "lower case" in str(caught.value)


@pytest.mark.parametrize("name", ["PUBLIC_URL", "AUTHORIZATION_ISSUER"])
@pytest.mark.parametrize(
    "own", ["https://gateway.example.com", "https://Gateway.example.com:8443/"]
)
def test_redirects_cannot_be_allowed_to_the_gateway_itself(name: str, own: str) -> None:
    environment = {"UPSTREAM_API_URL": "https://api.example.com", "UPSTREAM_API_PROVIDER": "corp"}
    hosts = "UPSTREAM_API_REDIRECT_HOSTS"
    with pytest.raises(ImproperlyConfigured, match=f"{hosts} names the gateway's own host"):
        read_upstreams(environment | {name: own, hosts: "gateway.example.com"})
    found = read_upstreams(environment | {name: own, hosts: "example.com,way.example.com"})
    assert found["api"].redirect_hosts == {"example.com", "way.example.com"}


@each_case(
    "uri",
    [
        "https://mcp.example.com",
        "https://mcp.example.com:8443/mcp/",
        "HTTPS://MCP.example.com/a%20b?x=1",
        "http://127.0.0.1:8003/mcp",
        "https://[::1]:9/x",
        "api://orders",
        "urn:example:orders",
    ],
)
def test_resource_is_any_absolute_uri(uri: str) -> None:
    assert read_api(RESOURCE=uri).resource == uri


@each_case(
    "uri",
    [
        "mcp.example.com/mcp",
        "/mcp",
        "//mcp.example.com",
        "https:",
        "https://",
        "https:///mcp",
        "https:/mcp.example.com",
        "https://user:password@mcp.example.com/mcp",
        "https://mcp.example.com/mcp#",
        "https://mcp.example.com/mcp#part",
        "https://mcp.example.com/a b",
        "https://a.example,https://b.example\\",
        "https://mcp.example.com/100%",
        "https://mcp.example.com/ü",
        "1https://mcp.example.com",
        "https://mcp.example.com/\x00",
    ],
)
def test_resource_that_is_no_absolute_uri_is_an_error(uri: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="UPSTREAM_API_RESOURCE must be an absolute URI"):
        read_api(RESOURCE=uri)


def several(**resources: str) -> dict[str, str]:
    """Return the variables of upstreams of one provider."""
    variables: dict[str, str] = {}
    for name, resource in resources.items():
        variables |= {
            f"UPSTREAM_{name}_URL": "https://api.example.com",
            f"UPSTREAM_{name}_PROVIDER": "corp",
            f"UPSTREAM_{name}_RESOURCE": resource,
        }
    return variables


def test_upstreams_of_a_provider_have_one_resource() -> None:
    other = {"UPSTREAM_D_URL": "https://d.example", "UPSTREAM_D_PROVIDER": "github"}
    variables = several(A="", B="api://b", C="api://b") | other
    assert find_resources(read_upstreams(variables).values()) == {"corp": "api://b"}
    variables["UPSTREAM_D_RESOURCE"] = "api://d"
    found = find_resources(read_upstreams(variables).values())
    assert found == {"corp": "api://b", "github": "api://d"}
    with pytest.raises(
        ImproperlyConfigured, match="UPSTREAM_A_RESOURCE and UPSTREAM_C_RESOURCE differ"
    ):
        find_resources(read_upstreams(several(A="api://a", B="", C="api://c")).values())


def test_settings_give_the_resource_to_the_provider() -> None:
    found = production(**several(A="api://a"))["SOCIALACCOUNT_PROVIDERS"]
    apps = found["openid_connect"]["APPS"] + found["github"]["APPS"]
    resources = {each.get("provider_id"): each["settings"].get("resource") for each in apps}
    assert resources == {"corp": "api://a", "google": None, None: None}
    with pytest.raises(ImproperlyConfigured, match="UPSTREAM_B_RESOURCE differ"):
        production(**several(A="api://a", B="api://b"))
    same = {"OAUTH_CORP_AUTH_PARAMS": "resource=api://a"}
    assert production(**several(A="api://a"), **same)
    with pytest.raises(ImproperlyConfigured, match="OAUTH_CORP_AUTH_PARAMS has another resource"):
        production(**several(A="api://b"), **same)
