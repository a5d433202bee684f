"""The gateway's variables: misspelt ones are refused, other programs' left alone."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_site import variables
from gateway_site.environment.variable import Variable, Variables
from sessions_kms.conf import Config
from tests import ROOT
from tests.deploy_check import PRODUCTION
from tests.gateway_site.environment import settings_tables
from tests.gateway_site.support.loading import load_settings, production
from tests.support.cases import each_case

FAMILIES = {
    "OAUTH": {"OAUTH_CORP_CLIENT_ID": "corp", "OAUTH_CORP_ISSUER": "https://login.example.com"},
    "UPSTREAM": {"UPSTREAM_API_URL": "https://api.example.com", "UPSTREAM_API_PROVIDER": "corp"},
}


def name_declared(name: str = "<NAME>") -> set[str]:
    """Return the names of all variables, with this one for those of families."""
    families = {
        f"{family.kind}_{name}_{suffix}"
        for family in variables.FAMILIES
        for suffix in family.suffixes()
    }
    return {*variables.GENERAL, *families}


def test_every_declared_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: set[str] = set()
    get_text = Variables.get_text

    def record(self: Variables, variable: Variable[Any]) -> str:
        looked_at.add(self.get_name(variable))
        return get_text(self, variable)

    monkeypatch.setattr(Variables, "get_text", record)
    corp = {"OAUTH_CORP_CLIENT_SECRET": "s", "PUBLIC_URL": "https://gateway.example.com"}
    production(**FAMILIES["OAUTH"], **FAMILIES["UPSTREAM"], **corp, UPSTREAM_API_CLIENTS="1")
    names = {each.replace("UPSTREAM_CORP_", "UPSTREAM_API_") for each in name_declared("CORP")}
    assert names - looked_at == {"GATEWAY_CONFIG"}  # `gateway_site.configuration` does


def test_tables_of_the_settings_page_follow_from_the_declarations() -> None:
    page = settings_tables.PAGE.read_text(encoding="utf-8")
    assert len(settings_tables.LIST.findall(page)) == len(settings_tables.LISTS)
    assert settings_tables.fill(page) == page, f"run {settings_tables.COMMAND}"


def test_help_is_one_sentence_that_continues_the_row() -> None:
    families = [each for family in variables.FAMILIES for each in family.declarations()]
    for declared in [*variables.GENERAL.values(), *families]:
        plain = re.sub(r"\([^)]*\)|`[^`]*`|\[[^]]*\]", "", declared.help_text)
        assert plain, declared.name
        assert ". " not in plain, declared.name
        assert not plain.endswith("."), declared.name


def test_defaults_that_sessions_kms_has_too_are_the_same() -> None:
    for name in ("DATA_KEY_PERIOD", "DATA_KEY_CACHE_AGE", "DATA_KEY_MAX_STALE"):
        assert variables.GENERAL[name].default == getattr(Config, name.lower())
    timeout = variables.GENERAL["SESSIONS_ABSOLUTE_TIMEOUT"]
    assert timeout.default == Config.absolute_timeout
    assert variables.GENERAL["SESSIONS_NAMESPACE"].default == Config.namespace


# The example environment

EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
ASSIGNMENTS = re.findall(r"^(# )?([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE, re.MULTILINE)


def find_declarations() -> list[tuple[str, Variable[Any]]]:
    names = [name for _, name, _ in ASSIGNMENTS if name not in variables.GENERAL]
    pairs = ((name, family.split(name)) for name in names for family in variables.FAMILIES)
    return [(name, declared) for name, found in pairs for _, declared in found]


def test_example_environment_mentions_every_variable() -> None:
    words = set(re.findall("[A-Z][A-Z0-9_]+", EXAMPLE))
    assert set(variables.GENERAL) - {"GATEWAY_LOCAL"} <= words  # which `make run` sets
    shown = {declared.name for name, declared in find_declarations()}
    for family in variables.FAMILIES:
        assert set(family.suffixes()) <= words | shown


def test_example_environment_has_only_known_variables() -> None:
    names = [name for _, name, _ in ASSIGNMENTS if not name.startswith("AWS_")]
    assert [name for name in names if not variables.is_known(name)] == []


def test_example_environment_shows_defaults_or_examples() -> None:
    declared = {**variables.GENERAL, **dict(find_declarations())}
    for comment, name, text in ASSIGNMENTS:
        if name.startswith("AWS_"):
            continue
        is_required = declared[name].required or name == "ALLOWED_HOSTS"
        assert bool(comment) != is_required or "_PROVIDER" in name, name
        default = settings_tables.show_default(declared[name])
        assert default in {"", f"`{text}`"} or not re.match("`[0-9A-Za-z]+`$", default), name


def test_example_environment_is_short() -> None:
    assert len(EXAMPLE.splitlines()) <= 140


@each_case(
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
def test_misspelt_variable_is_an_error_that_names_the_nearest(name: str, nearest: str) -> None:
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


def test_all_misspelled_names_are_reported_at_once() -> None:
    wrong = {"SESSIONS_TABEL": "x", "OAUTH_CROP_ISSUER": "https://x"}
    with pytest.raises(ImproperlyConfigured, match=r"OAUTH_CROP_ISSUER has no effect.*_TABEL is"):
        load_settings(PRODUCTION | wrong)


def test_similar_name_is_ignored_if_the_right_one_is_set() -> None:
    with pytest.raises(ImproperlyConfigured, match="Did you mean KMS_KEY_ARN"):
        load_settings({"KMS_KEY_ARNS": "x"})
    load_settings({"KMS_KEY_ARNS": "x", "KMS_KEY_ARN": PRODUCTION["KMS_KEY_ARN"]})


def test_names_similar_to_the_databases_are_ignored() -> None:
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
        (None, "file not found"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfesecret-value", "not UTF-8 text"),
        (b"secret-value\0", "or not text"),
        (b"secret-value" * 10_000, "more than 65,536 bytes"),
    ],
)
def test_unusable_secret_file_is_an_error_that_names_the_variable(
    content: bytes | None, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match="OAUTH_CORP_CLIENT_SECRET_FILE") as caught:
        production(OAUTH_CORP_CLIENT_SECRET="", OAUTH_CORP_CLIENT_SECRET_FILE=str(file))
    assert problem in str(caught.value)
    assert "secret-value" not in str(caught.value)


def test_private_key_file_is_not_a_secret_file() -> None:
    loaded = production(
        OAUTH_CORP_PRIVATE_KEY_FILE="/run/secrets/corp.pem",
        OAUTH_CORP_TOKEN_AUTH="private_key_jwt",
        OAUTH_CORP_CLIENT_SECRET="",
    )
    corp = next(provider for provider in loaded["OAUTH_PROVIDERS"] if provider.name == "corp")
    assert corp.settings["private_key_file"] == "/run/secrets/corp.pem"
