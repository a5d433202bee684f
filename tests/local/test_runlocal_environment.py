"""The environment of the children of `runlocal`, for any environment of the caller."""

import json
import os
from pathlib import Path

import pytest

from gateway_site import variables
from gateway_site.local import environment
from gateway_site.local.environment import Secrets
from gateway_site.local.options import Ports
from gateway_site.local.processes import StackError
from gateway_site.local.stack import Stack, parse_key_arn, require_loopback
from tests.local.hostile_environment import HOSTILE
from tests.support.processes import module, run_to_end

PORTS = Ports(gateway=1, provider=2, kms=3, dynamodb=4, mcp=5, notes=6)
SECRETS = Secrets("the-secret-key" * 5, "the-client-secret")
STATE = Path("/state")


def outer(inherited: dict[str, str]) -> dict[str, str]:
    """Return the gateway's whole environment, as built by the stack."""
    return (
        environment.build_base(inherited)
        | environment.select_gateway_variables(inherited)
        | environment.build_gateway(inherited, PORTS, STATE, SECRETS)
    )


def ask_endpoints(variables: dict[str, str]) -> str:
    done = run_to_end(module("gateway_site.local.environment"), variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_a_hostile_environment_reaches_a_child() -> None:
    built = outer({"PATH": "/bin"} | HOSTILE)
    assert {name for name in built if name.startswith("AWS_")} == set(environment.build_aws(PORTS))
    kept = {name for name in HOSTILE if built.get(name) == HOSTILE[name]}
    # A provider may be behind the proxy, and the caller may add hosts to NO_PROXY.
    assert kept == {"http_proxy", "SESSIONS_NAMESPACE", "PROXY_SCHEME_HEADER"}


def test_every_variable_of_the_gateway_is_passed_on_or_named() -> None:
    patterns = {f"{f.kind}_CORP_{s}" for f in variables.FAMILIES for s in f.suffixes()}
    files = {"DJANGO_SECRET_KEY_FILE", "OAUTH_CORP_CLIENT_SECRET_FILE", "OAUTH_LOCAL_CLIENT_ID"}
    given = dict.fromkeys({*variables.GENERAL, *patterns, *files, "SIGN_IN_ALOWED_DOMAINS"}, "mine")
    kept = {name for name, value in outer(given).items() if value == "mine"}
    named = set(environment.list_replaced(given))
    assert kept | named == set(given)
    assert not kept & named
    assert named == {
        "KMS_KEY_ARN", "DECRYPT_KEY_ARNS", "SESSIONS_TABLE", "DATABASE_URL", "DJANGO_SECRET_KEY",
        "DJANGO_SECRET_KEY_FILE", "ALLOWED_HOSTS", "GATEWAY_CONFIG", "GATEWAY_LOCAL",
        "OAUTH_LOCAL_CLIENT_ID",
    }  # fmt: skip


def test_variables_of_other_programs_are_not_passed_on() -> None:
    assert (
        environment.select_gateway_variables(
            dict.fromkeys(["GITHUB_TOKEN", "LOGLEVEL", "REDIS_URL"], "x")
        )
        == {}
    )


def test_hostile_environment_leaves_the_aws_clients_on_this_machine() -> None:
    response = ask_endpoints(outer({"PATH": os.environ["PATH"]} | HOSTILE))
    assert json.loads(response) == {"dynamodb": "http://127.0.0.1:4", "kms": "http://127.0.0.1:3"}
    require_loopback(response)


def test_hint_about_a_misspelt_variable_names_a_command_that_can_be_run() -> None:
    environment = outer({"PATH": os.environ["PATH"], "SIGN_IN_ALOWED_DOMAINS": "x"})
    done = run_to_end(module("gateway_site.local.environment"), environment)
    assert "`python -m gateway_site docs settings`" in done.stderr


def test_aws_clients_that_would_leave_the_machine_are_rejected() -> None:
    ignoring = outer({"PATH": os.environ["PATH"]}) | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    with pytest.raises(
        StackError, match=r"would go to https://dynamodb\.us-east-1\.amazonaws\.com"
    ):
        require_loopback(ask_endpoints(ignoring))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1.evil.example:9001",
        "http://127.0.0.1@evil.example/",
        "http://10.0.0.1:9001",
        "http://0.0.0.0:9001",
    ],
)
def test_endpoint_that_only_looks_like_loopback_is_rejected(url: str) -> None:
    with pytest.raises(StackError):
        require_loopback(json.dumps({"dynamodb": "http://127.0.0.1:1", "kms": url}))


def test_loopback_is_never_reached_through_a_proxy() -> None:
    built = environment.build_base(HOSTILE)
    assert built["NO_PROXY"] == built["no_proxy"] == "127.0.0.1,localhost,intranet.example"


def test_local_provider_is_offered_when_the_caller_configured_none() -> None:
    built = outer({"OAUTH_GOOGLE_CLIENT_ID": "  "})
    assert built["OAUTH_LOCAL_ISSUER"] == "http://127.0.0.1:2"
    assert built["OAUTH_LOCAL_CLIENT_SECRET"] == SECRETS.client_secret


def test_configured_providers_are_passed_on_and_the_local_one_left_out() -> None:
    mine = {"OAUTH_GOOGLE_CLIENT_ID": "id", "OAUTH_GOOGLE_CLIENT_SECRET": "secret"}
    built = outer(mine | {"OAUTH_LOCAL_CLIENT_ID": "stale"})
    assert {name: value for name, value in built.items() if name.startswith("OAUTH_")} == mine


def test_oauth_clients_may_call_the_local_mcp_server_at_the_gateways_own_address() -> None:
    built = outer({})
    assert built["AUTHORIZATION_ISSUER"] == "http://127.0.0.1:1"
    assert built["CLIENTS_REGISTRATION"] == "1"
    assert built["UPSTREAM_DEMO_URL"] == "http://127.0.0.1:5/mcp"
    assert (built["UPSTREAM_DEMO_PROVIDER"], built["UPSTREAM_DEMO_CLIENTS"]) == ("local", "1")
    assert built["UPSTREAM_NOTES_MCP"] == "http://127.0.0.1:6/mcp"
    assert built["UPSTREAM_NOTES_CLIENTS"] == "1"


@pytest.mark.parametrize("name", ["AUTHORIZATION_ISSUER", "PUBLIC_URL"])
def test_callers_issuer_and_registration_override_the_local_ones(
    name: str,
) -> None:
    mine = {name: "https://gateway.example.com", "CLIENTS_REGISTRATION": "0"}
    built = outer(mine)
    assert {each: built.get(each) for each in mine} == mine
    assert len({"AUTHORIZATION_ISSUER", "PUBLIC_URL"} & set(built)) == 1
    welcome = Stack(mine, PORTS, STATE).welcome()
    assert "codex mcp add gateway-demo --url https://gateway.example.com/gateway/demo" in welcome


def test_welcome_has_a_line_to_paste_for_each_client() -> None:
    welcome = Stack({}, PORTS, STATE).welcome()
    url = "http://127.0.0.1:1/gateway/demo"
    vs_code = {"name": "gateway-demo", "type": "http", "url": url}
    for line in (
        f"-m gateway_site.local.mcp_client {url}",
        f"claude mcp add --transport http gateway-demo {url} && claude mcp login gateway-demo",
        f"codex mcp add gateway-demo --url {url}",
        f"code --add-mcp '{json.dumps(vs_code)}'",
    ):
        assert f"{line}\n" in welcome


def test_no_client_may_sign_in_if_the_caller_configured_another_provider() -> None:
    mine = {"OAUTH_GOOGLE_CLIENT_ID": "id", "OAUTH_GOOGLE_CLIENT_SECRET": "secret"}
    assert not {name for name in outer(mine) if "CLIENTS" in name or "ISSUER" in name}
    assert "mcp" not in Stack(mine, PORTS, STATE).welcome()


def test_provider_has_only_the_secret_of_its_client() -> None:
    built = environment.build_provider(HOSTILE, PORTS, SECRETS)
    assert built["PROVIDER_CLIENT_SECRET"] == SECRETS.client_secret
    assert SECRETS.django_secret_key not in built.values()
    assert (
        "http://127.0.0.1:1/accounts/oidc/local/login/callback/"
        in built["PROVIDER_REDIRECT_URIS"].split()
    )


def test_address_in_front_is_the_gateways_and_registered_beside_its_own() -> None:
    mine = {"PUBLIC_URL": "http://localhost:7"}
    built, registered = outer(mine), environment.build_provider(mine, PORTS, SECRETS)
    assert built["PUBLIC_URL"] == "http://localhost:7"
    assert "AUTHORIZATION_ISSUER" not in built  # clients use the same address
    assert built["ALLOWED_HOSTS"] == "127.0.0.1,localhost"
    for path, name in (
        ("/accounts/oidc/local/login/callback/", "PROVIDER_REDIRECT_URIS"),
        ("/accounts/logout/done/", "PROVIDER_POST_LOGOUT_REDIRECT_URIS"),
    ):
        homes = ("http://127.0.0.1:1", "http://localhost:1", "http://localhost:7")
        assert registered[name].split() == [home + path for home in homes]
    welcome = Stack(mine, PORTS, STATE).welcome()
    assert "runs at http://127.0.0.1:1/ for http://localhost:7/\n" in welcome
    assert "Open http://localhost:7/ and sign in" in welcome


def test_secrets_do_not_show_in_a_repr() -> None:
    assert "the-" not in repr(SECRETS)


def test_database_path_with_blanks_and_signs_is_quoted() -> None:
    built = environment.build_gateway({}, PORTS, Path("/my state/50%?#"), SECRETS)
    assert built["DATABASE_URL"] == "sqlite:////my%20state/50%25%3F%23/gateway.sqlite3"


@pytest.mark.parametrize("response", ["", "{}", '{"key_arn": null}', "[]", "not json"])
def test_unexpected_response_of_create_session_store_is_an_error(response: str) -> None:
    with pytest.raises(StackError, match="KMS key"):
        parse_key_arn(response)


def test_variable_of_an_upstream_that_the_stack_declares_is_found() -> None:
    made = environment.build_gateway({}, PORTS, STATE, SECRETS)
    own = {
        "UPSTREAM_NOTES_MCP": "https://notes.example/mcp",
        "UPSTREAM_API_URL": "https://a.example",
    }
    own |= {"UPSTREAM_DEMO_PROVIDER": made["UPSTREAM_DEMO_PROVIDER"], "UPSTREAM_DEMO_URL": ""}
    assert environment.find_declared_here(own, made) == ["UPSTREAM_NOTES_MCP"]


def test_declared_upstreams_are_listed_as_in_their_addresses() -> None:
    inherited = {
        "UPSTREAM_API_URL": "http://127.0.0.1:9999",
        "UPSTREAM_API_PROVIDER": "local",
        "UPSTREAM_BIG_ORDERS_URL": "https://orders.example.com",
        "UPSTREAM_EMPTY_URL": " ",
    }
    assert environment.list_upstreams(inherited) == ["api", "big_orders"]


def test_welcome_lists_addresses_to_try_declared_upstreams(tmp_path: Path) -> None:
    own = Stack({"UPSTREAM_API_URL": "http://127.0.0.1:9999"}, Ports(), tmp_path).welcome()
    assert "Call an upstream with your token: http://127.0.0.1:8000/try/api/\n" in own
    none = Stack({}, Ports(), tmp_path).welcome()
    assert "Call an upstream with your token: http://127.0.0.1:8000/try/provider/\n" in none
