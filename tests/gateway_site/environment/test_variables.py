"""The gateway's variables: misspelt ones are refused, other programs' left alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_site import variables
from gateway_site.environment import admission, clients
from tests import ROOT
from tests.deploy_check import PRODUCTION
from tests.gateway_site.support.loading import load_settings, production

READERS = {"database", "flag", "hosts", "items", "proxy_header", "text", "whole_number"}


def read_by_the_settings() -> Iterator[str]:
    """Yield the names that the settings hand to a reader of variables."""
    tree = ast.parse((ROOT / "gateway_site" / "settings.py").read_text(encoding="utf-8"))
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    names = {value for value in constants if isinstance(value, str) and value in variables.NAMES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in READERS:
            first = node.args[0]
            if isinstance(first, ast.Constant):
                yield str(first.value)
    yield from names


def documented(page: str) -> set[str]:
    """The names in the first cells of the table of variables."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_<>]+)` \| ", text, re.MULTILINE))


def registered() -> set[str]:
    patterns = {f"{f.kind}_<NAME>_{suffix}" for f in variables.FAMILIES for suffix in f.suffixes}
    return {*variables.NAMES, *patterns}


def test_every_variable_that_is_read_is_registered_and_no_other() -> None:
    assert {*read_by_the_settings(), *admission.NAMES, *clients.NAMES} == set(variables.NAMES)


def test_every_variable_has_a_row_in_the_settings_page_and_no_other() -> None:
    rows = {name for name in documented("docs/settings.md") if is_gateway_row(name)}
    assert rows == registered()


def is_gateway_row(name: str) -> bool:
    section = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    return f"| `{name}` |" in section.partition("## The gateway's variables")[2]


def test_secrets_are_told_in_the_settings_page_as_such() -> None:
    text = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([A-Z][A-Z0-9_<>]+)` \| Secret\. ", text, re.MULTILINE))
    secrets = {f"{f.kind}_<NAME>_{suffix}" for f in variables.FAMILIES for suffix in f.secrets}
    assert told == {*variables.SECRETS, *secrets}


def test_every_variable_is_in_the_example_environment() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    shown = {line.removeprefix("# ").partition("=")[0] for line in lines if "=" in line}
    names = {name for name in shown if re.fullmatch("[A-Z][A-Z0-9_]*", name)}
    endings = {
        f"{family.kind}_<NAME>_{suffix}"
        for name in names
        for family in variables.FAMILIES
        for _, suffix in family.owners(name)
    }
    made_by_make_run = {"GATEWAY_LOCAL"}
    assert registered() - made_by_make_run <= names | endings
    assert {name for name in names if not name.startswith("AWS_")} == {
        name for name in names if variables.is_known(name)
    }


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("GOOGLE_HDD", "OAUTH_GOOGLE_HOSTED_DOMAIN"),
        ("SIGN_IN_ALOWED_DOMAINS", ""),
        ("SESSIONS_TIMEOUT", "SESSIONS_IDLE_TIMEOUT"),
        ("DATA_KEY_AGE", "DATA_KEY_CACHE_AGE"),
        ("PROXY_SCHEM_HEADER", "PROXY_SCHEME_HEADER"),
        ("CSRF_TRUSTED_ORIGIN", "CSRF_TRUSTED_ORIGINS"),
        ("DJANGO_SECRET_KEYS", "DJANGO_SECRET_KEY"),
        ("OAUTH_GITHUB_SCOPE", "OAUTH_GITHUB_SCOPES"),
        ("OAUTH_OTHER_CLEINT_ID", "OAUTH_OTHER_CLIENT_ID"),
        ("OAUTH_GOOGEL_SCOPES", "OAUTH_GOOGLE_SCOPES"),
        ("OAUTH_GOOGEL_CLIENT_SECRET_FILE", "OAUTH_GOOGEL_CLIENT_ID is not set"),
        ("UPSTREAM_API_METHODS", "UPSTREAM_API_URL is not set"),
        ("UPSTREAM_API_PROVIDR", "UPSTREAM_API_PROVIDER"),
    ],
)
def test_misspelt_variable_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    environment = {key: value for key, value in PRODUCTION.items() if key != nearest}
    with pytest.raises(ImproperlyConfigured, match=rf"^{name} ") as caught:
        load_settings(environment | {name: "secret-value"})
    assert nearest in str(caught.value)
    assert "secret-value" not in str(caught.value)


FOREIGN = [
    "PATH", "HOME", "PWD", "SHLVL", "LANG", "LC_ALL", "TERM", "TZ", "HOSTNAME", "EDITOR",
    "SESSION_MANAGER", "XDG_SESSION_ID", "SESSION_SECRET", "DESKTOP_SESSION", "AWS_REGION",
    "AWS_SESSION_TOKEN", "AWS_KMS_KEY_ARN", "AWS_ENDPOINT_URL_KMS",
    "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GOOGLE_API_KEY", "GOOGLE_CLIENT_ID",
    "GOOGLE_ID", "GITHUB_TOKEN", "GITHUB_PAT", "GITHUB_PATH", "GITHUB_REF_NAME",
    "GITHUB_CLIENT_SECRET", "GITHUB_ENV", "GH_TOKEN", "DATABASE_URI", "DATABASE_URL2",
    "DATABASE_HOST", "DATABASE_USER", "POSTGRES_URL", "PGHOST", "REDIS_URL",
    "DJANGO_SETTINGS_MODULE", "DJANGO_COLORS", "DJANGO_SUPERUSER_PASSWORD",
    "DJANGO_ALLOW_ASYNC_UNSAFE", "LOGLEVEL", "DEBUG_COLORS", "NODE_DEBUG", "PUBLIC_DIR",
    "KMS_KEY_ID", "SITE_URL", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "OAUTH_TOKEN",
    "OAUTH_CLIENT_ID", "OAUTH_CALLBACK_URL", "OAUTHLIB_INSECURE_TRANSPORT",
    "OAUTH2_PROXY_CLIENT_ID", "UPSTREAM_HOST", "UPSTREAM_BRANCH", "GATEWAY_INTERFACE",
    "GATEWAY_SERVICE_HOST", "GATEWAY_PORT", "OAUTH_GITHUB_SERVICE_HOST",
    "OAUTH_GITHUB_SERVICE_PORT", "OAUTH_GITHUB_SERVICE_PORT_HTTPS", "OAUTH_GITHUB_PORT",
    "OAUTH_GITHUB_PORT_443_TCP", "OAUTH_GITHUB_PORT_443_TCP_ADDR", "SESSIONS_SERVICE_HOST",
    "SESSIONS_PORT_6379_TCP_PROTO", "LOG_LEVEL_FILE", "HTTPS_PROXY", "SSL_CERT_FILE",
]  # fmt: skip


def test_variables_of_other_programs_are_left_alone() -> None:
    production(**dict.fromkeys(FOREIGN, "x"))


def test_near_miss_is_another_programs_where_the_right_one_is_set() -> None:
    with pytest.raises(ImproperlyConfigured, match="The nearest is KMS_KEY_ARN"):
        load_settings({"KMS_KEY_ARNS": "x"})
    load_settings({"KMS_KEY_ARNS": "x", "KMS_KEY_ARN": "arn"})


def test_names_near_the_databases_are_other_programs() -> None:
    load_settings({"DATABASE_URI": "x", "DATABASE_URL2": "x", "DEBUG": "1"})


def test_provider_that_is_switched_off_by_an_empty_client_id_may_keep_the_rest() -> None:
    loaded = production(OAUTH_CORP_CLIENT_ID="", OAUTH_CORP_SCOPES="openid")
    assert [provider.name for provider in loaded["OAUTH_PROVIDERS"]] == ["github", "google"]


# Secrets in files


def test_each_secret_may_be_in_a_file(tmp_path: Path) -> None:
    secrets = {
        "DJANGO_SECRET_KEY": "k" * 50,
        "DJANGO_SECRET_KEY_FALLBACKS": "old,older",
        "DATABASE_URL": "postgres://u:p@db/n",
        "OAUTH_CORP_CLIENT_SECRET": " blank at the end of a line is none of its ",
    }
    for name, value in secrets.items():
        (tmp_path / name).write_text(value + "\n", encoding="utf-8")
    loaded = production(
        **dict.fromkeys(secrets, ""), **{f"{name}_FILE": str(tmp_path / name) for name in secrets}
    )
    assert loaded["SECRET_KEY"] == "k" * 50
    assert loaded["SECRET_KEY_FALLBACKS"] == ["old", "older"]
    assert loaded["DATABASES"]["default"]["HOST"] == "db"
    assert loaded["MISSING_VARIABLES"] == []
    corp = next(provider for provider in loaded["OAUTH_PROVIDERS"] if provider.name == "corp")
    assert corp.client_secret == secrets["OAUTH_CORP_CLIENT_SECRET"].strip()


def test_secret_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 50, encoding="utf-8")
    with pytest.raises(ImproperlyConfigured, match="are both set") as caught:
        production(DJANGO_SECRET_KEY_FILE=str(tmp_path / "key"))
    assert "deploy-check" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "names no file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfesecret-value", "no text"),
        (b"secret-value\0", "or no text"),
        (b"secret-value" * 10_000, "over 65,536 bytes"),
    ],
)
def test_file_that_holds_no_secret_is_an_error_that_names_the_variable(
    content: bytes | None, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match="OAUTH_CORP_CLIENT_SECRET_FILE") as caught:
        production(OAUTH_CORP_CLIENT_SECRET="", OAUTH_CORP_CLIENT_SECRET_FILE=str(file))
    assert problem in str(caught.value)
    assert "secret-value" not in str(caught.value)


def test_key_file_of_a_provider_is_a_variable_of_its_own() -> None:
    loaded = production(
        OAUTH_CORP_PRIVATE_KEY_FILE="/run/secrets/corp.pem",
        OAUTH_CORP_TOKEN_AUTH="private_key_jwt",
        OAUTH_CORP_CLIENT_SECRET="",
    )
    corp = next(provider for provider in loaded["OAUTH_PROVIDERS"] if provider.name == "corp")
    assert corp.settings["private_key_file"] == "/run/secrets/corp.pem"
