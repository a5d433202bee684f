"""The environment of each child of the local stack.

Only the variables listed here are passed to a child: an inherited profile, endpoint or key would
send it to a real account. `python -m gateway_site.local.environment`, run in the gateway's
environment, reads the gateway's settings and prints the endpoints of its AWS clients.
"""

import importlib
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from gateway_site import installation, variables
from gateway_site.local.options import LOOPBACK, Ports

REGION = "us-east-1"
TABLE = "gateway-local-sessions"
CLIENT_ID = "gateway"
CALLBACK = "/accounts/oidc/local/login/callback/"
SIGNED_OUT = "/accounts/logout/done/"
USERINFO = "/identity/o/api/userinfo"
LIFETIME = "PROVIDER_ACCESS_TOKEN_LIFE"  # seconds, at both authorization servers

FOLDER = Path(__file__).resolve().parents[2]  # of the packages: site-packages, or a checkout
INHERITED = re.compile(
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_[A-Z]+|TERM|TMPDIR|VIRTUAL_ENV|LD_LIBRARY_PATH"
    "|PYTHON(PATH|HOME|WARNINGS|DONTWRITEBYTECODE)|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE"
    "|HTTPS?_PROXY|https?_proxy|ALL_PROXY|all_proxy"
)
# Set by the local stack for its own services; the caller cannot override them.
MADE_HERE = re.compile(
    "(KMS_KEY_ARN|DECRYPT_KEY_ARNS|SESSIONS_TABLE|DATABASE_URL|DJANGO_SECRET_KEY|ALLOWED_HOSTS"
    "|GATEWAY_CONFIG|GATEWAY_LOCAL|OAUTH_LOCAL_.+)(_FILE)?"
)
UPSTREAM = re.compile("UPSTREAM_([A-Z][A-Z0-9_]*)_(?:URL|MCP)")
OTHER_PROVIDER = re.compile("OAUTH_(?!LOCAL_)[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class Secrets:
    """Secrets that are created at the first start and stored in the state folder."""

    django_secret_key: str = field(repr=False)
    client_secret: str = field(repr=False)


def build_base(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that every child gets."""
    kept = {name: value for name, value in inherited.items() if INHERITED.fullmatch(name)}
    direct = ",".join([*LOOPBACK, *_no_proxy(inherited)])
    made = {"NO_PROXY": direct, "no_proxy": direct, "PYTHONUNBUFFERED": "1"}
    return kept | made | build_import_path(inherited)


def build_import_path(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variable by which children import the gateway from a checkout, or {}."""
    if Path(sysconfig.get_path("purelib")).resolve() == FOLDER:
        return {}
    others = inherited.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(FOLDER), *([others] if others else [])])}


def build_aws(ports: Ports) -> dict[str, str]:
    """Return the variables that keep the AWS SDK on this machine.

    See https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    """
    return {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{ports.dynamodb}",
        "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{ports.kms}",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def build_gateway(
    inherited: Mapping[str, str], ports: Ports, state: Path, secrets: Secrets
) -> dict[str, str]:
    """Return the gateway's variables without KMS_KEY_ARN, which is only known later."""
    made = build_aws(ports) | {
        "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
        "GATEWAY_LOCAL": "1",
        "GATEWAY_CONFIG": "",  # the caller's file is for another gateway
        "DJANGO_SECRET_KEY": secrets.django_secret_key,
        "DATABASE_URL": f"sqlite:///{quote(str(state / 'gateway.sqlite3'))}",
        "ALLOWED_HOSTS": ",".join(LOOPBACK),
        "SESSIONS_TABLE": TABLE,
    }
    if select_other_providers(inherited):
        return made
    return (
        made
        | build_clients(inherited, ports)
        | {
            "OAUTH_LOCAL_NAME": "Local provider",
            "OAUTH_LOCAL_ISSUER": f"http://127.0.0.1:{ports.provider}",
            "OAUTH_LOCAL_CLIENT_ID": CLIENT_ID,
            "OAUTH_LOCAL_CLIENT_SECRET": secrets.client_secret,
            "OAUTH_LOCAL_SINGLE_LOGOUT": "1",
            "OAUTH_LOCAL_ALLOWED_DOMAINS": "*",  # its accounts are made up
            # Something to call with the token: /gateway/provider/identity/o/api/userinfo
            "UPSTREAM_PROVIDER_URL": f"http://127.0.0.1:{ports.provider}",
            "UPSTREAM_PROVIDER_PROVIDER": "local",
            "UPSTREAM_PROVIDER_METHODS": "GET,HEAD",
            "UPSTREAM_PROVIDER_PATHS": USERINFO,
        }
    )


def build_clients(inherited: Mapping[str, str], ports: Ports) -> dict[str, str]:
    """Return the variables that let OAuth clients call the MCP servers.

    The caller's own `AUTHORIZATION_ISSUER`, `PUBLIC_URL` and `CLIENTS_REGISTRATION` win.
    """
    home = {"AUTHORIZATION_ISSUER": f"http://127.0.0.1:{ports.gateway}"}
    usual = {"CLIENTS_REGISTRATION": "1"} | ({} if inherited.get("PUBLIC_URL") else home)
    return {name: value for name, value in usual.items() if not inherited.get(name)} | {
        "UPSTREAM_DEMO_URL": f"http://127.0.0.1:{ports.mcp}/mcp",
        "UPSTREAM_DEMO_PROVIDER": "local",
        "UPSTREAM_DEMO_CLIENTS": "1",
        # It has an authorization server of its own: people connect it.
        "UPSTREAM_NOTES_MCP": f"http://127.0.0.1:{ports.notes}/mcp",
        "UPSTREAM_NOTES_CLIENTS": "1",
    }


def select_gateway_variables(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's variables for the gateway, without those that are set here.

    Misspelt ones are included, so that the gateway rejects them.
    """
    return {
        name: value
        for name, value in inherited.items()
        if variables.concerns_gateway(name) and not MADE_HERE.fullmatch(name)
    }


def list_replaced(inherited: Mapping[str, str]) -> list[str]:
    """Return the names of the caller's variables that are overridden here."""
    return sorted(name for name, value in inherited.items() if value and MADE_HERE.fullmatch(name))


def find_declared_here(inherited: Mapping[str, str], made: Mapping[str, str]) -> list[str]:
    """Return the caller's variables of upstreams to which the local stack gives another value."""
    names = (name for name, value in inherited.items() if value not in {"", made.get(name, value)})
    return sorted(name for name in names if name.startswith("UPSTREAM_"))


def list_upstreams(inherited: Mapping[str, str]) -> list[str]:
    """Return the names of the caller's upstreams as they appear in URLs."""
    found = {UPSTREAM.fullmatch(name) for name, value in inherited.items() if value.strip()}
    return sorted(match[1].lower() for match in found if match)


def select_other_providers(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the caller's providers, or {} if there is none."""
    found = {name: value for name, value in inherited.items() if OTHER_PROVIDER.fullmatch(name)}
    has_client = any(name.endswith("_CLIENT_ID") and found[name].strip() for name in found)
    return found if has_client else {}


def build_provider(inherited: Mapping[str, str], ports: Ports, secrets: Secrets) -> dict[str, str]:
    """Return the variables of the local OpenID provider."""
    homes = [f"http://{host}:{ports.gateway}" for host in LOOPBACK]
    if public := inherited.get("PUBLIC_URL"):  # in front of the gateway
        homes.append(public.removesuffix("/"))
    made = {
        "PROVIDER_CLIENT_ID": CLIENT_ID,
        "PROVIDER_CLIENT_SECRET": secrets.client_secret,
        "PROVIDER_REDIRECT_URIS": " ".join(home + CALLBACK for home in homes),
        "PROVIDER_POST_LOGOUT_REDIRECT_URIS": " ".join(home + SIGNED_OUT for home in homes),
    }
    life = inherited.get(LIFETIME, "")
    return made | ({LIFETIME: life} if life else {})


def _no_proxy(inherited: Mapping[str, str]) -> Iterable[str]:
    """Return the hosts that the caller reaches without a proxy, from both spellings of NO_PROXY."""
    text = inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""
    return [host.strip() for host in text.split(",") if host.strip()]


def main() -> None:
    """Print the addresses of this environment's AWS clients as JSON.

    The endpoints come from the SDK itself, so no order of precedence is assumed here; no call
    leaves the process. An error in the settings is reported before any child starts.
    """
    import boto3  # noqa: PLC0415 -- the stack itself does not need it

    installation.name_program()  # for the hints of errors
    importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    clients = {"dynamodb": boto3.client("dynamodb"), "kms": boto3.client("kms")}
    json.dump({name: client.meta.endpoint_url for name, client in clients.items()}, sys.stdout)


if __name__ == "__main__":
    main()
