"""The environment becomes settings: secure ones, or an error that names the variable."""

import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.utils import ConnectionHandler
from pytest_django import DjangoDbBlocker

from gateway_site.environment.database import CONNECTION_LIMITS, POOL
from gateway_site.environment.postgresql import POOL_OPTIONS, SERVER_OPTIONS
from tests.deploy_check import PRODUCTION, run
from tests.gateway_site.support.loading import load_settings, local, production
from tests.support.cases import each_case
from tests.support.processes import run_to_end

SAFE = {
    "DEBUG": False,
    "SESSION_COOKIE_NAME": "__Host-sessionid",
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SESSION_COOKIE_AGE": 7 * 24 * 3600,
    "SESSION_ENGINE": "sessions_kms.backend",
    "CSRF_COOKIE_NAME": "__Host-csrftoken",
    "CSRF_COOKIE_SECURE": True,
    "CSRF_COOKIE_HTTPONLY": True,
    "MESSAGE_COOKIE_NAME": "__Host-messages",
    "SECURE_SSL_REDIRECT": True,
    "SECURE_HSTS_SECONDS": 365 * 24 * 3600,
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
    "SECURE_CONTENT_TYPE_NOSNIFF": True,
    "X_FRAME_OPTIONS": "DENY",
    "SOCIALACCOUNT_ONLY": True,
    "SOCIALACCOUNT_STORE_TOKENS": False,
    "ACCOUNT_EMAIL_VERIFICATION": "none",
}


@pytest.mark.parametrize("environment", [PRODUCTION, {}, PRODUCTION | {"DEBUG": "1"}])
def test_defaults_are_safe(environment: dict[str, str]) -> None:
    loaded = load_settings(environment)
    unsafe = {name: loaded[name] for name, value in SAFE.items() if loaded[name] != value}
    assert unsafe == ({"DEBUG": True} if environment.get("DEBUG") else {})
    assert "CSRF_USE_SESSIONS" not in loaded


def test_local_run_relaxes_only_what_plain_http_requires() -> None:
    relaxed = local()
    strict = production()
    changed = {name for name in SAFE if relaxed[name] != strict[name]}
    assert changed == {
        "SESSION_COOKIE_NAME",
        "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_NAME",
        "CSRF_COOKIE_SECURE",
        "MESSAGE_COOKIE_NAME",
        "SECURE_SSL_REDIRECT",
        "SECURE_HSTS_SECONDS",
        "SECURE_HSTS_INCLUDE_SUBDOMAINS",
    }
    assert relaxed["SESSION_COOKIE_NAME"] == "gateway_sessionid"
    assert relaxed["CSRF_COOKIE_NAME"] == "gateway_csrftoken"
    assert relaxed["MESSAGE_COOKIE_NAME"] == "gateway_messages"
    assert set(relaxed["ALLOWED_HOSTS"]) == {"127.0.0.1", "localhost"}
    assert relaxed["MISSING_VARIABLES"] == ["DATABASE_URL", "KMS_KEY_ARN", "SESSIONS_TABLE"]


@pytest.mark.parametrize(
    "host", ["*", "gateway.example.com", "192.168.1.7", ".localhost", "127.0.0.1.example.com"]
)
def test_local_run_rejects_any_other_host(host: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="only loopback names"):
        local(ALLOWED_HOSTS=f"127.0.0.1,{host}")


def test_variables_reach_their_settings() -> None:
    loaded = production(
        KMS_KEY_ARN="arn:aws:kms:eu-west-1:111122223333:key/new",
        DECRYPT_KEY_ARNS="arn:aws:kms:eu-west-1:111122223333:key/old, ",
        SESSIONS_TABLE="table",
        SESSIONS_NAMESPACE="shop",
        SESSIONS_NOT_BEFORE="1700000000",
        SESSIONS_IDLE_TIMEOUT="1800",
        SESSIONS_ABSOLUTE_TIMEOUT="28800",
        DATA_KEY_PERIOD="0",
        DATA_KEY_CACHE_AGE="60",
        DATA_KEY_MAX_STALE="120",
        DJANGO_SECRET_KEY_FALLBACKS="old1,old2",
        CSRF_TRUSTED_ORIGINS="https://www.example.com",
        PROXY_SCHEME_HEADER="X-Forwarded-Proto",
        HSTS_SECONDS="60",
        HSTS_PRELOAD="yes",
        LOG_LEVEL="debug",
        DATABASE_URL="postgres://user:p%40ss@db:5433/gateway?sslmode=require",
    )
    assert loaded["SESSIONS_KMS"] == {
        "KEY_ID": "arn:aws:kms:eu-west-1:111122223333:key/new",
        "DECRYPT_KEY_IDS": ("arn:aws:kms:eu-west-1:111122223333:key/old",),
        "TABLE_NAME": "table",
        "NAMESPACE": "shop",
        "NOT_BEFORE": 1_700_000_000,
        "ABSOLUTE_TIMEOUT": 28_800,
        "GRANT_TIMEOUT": None,
        "ANONYMOUS_MAX_SIZE": 65_536,
        "DATA_KEY_PERIOD": 0,
        "DATA_KEY_CACHE_AGE": 60,
        "DATA_KEY_MAX_STALE": 120,
    }
    assert loaded["SESSION_COOKIE_AGE"] == 1800
    assert loaded["SECRET_KEY_FALLBACKS"] == ["old1", "old2"]
    assert loaded["CSRF_TRUSTED_ORIGINS"] == ["https://www.example.com"]
    assert loaded["SECURE_PROXY_SSL_HEADER"] == ("HTTP_X_FORWARDED_PROTO", "https")
    assert loaded["SECURE_HSTS_SECONDS"] == 60
    assert loaded["SECURE_HSTS_PRELOAD"] is True
    assert loaded["SILENCED_SYSTEM_CHECKS"] == []
    assert loaded["LOG_LEVEL"] == "DEBUG"
    database = loaded["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["HOST"], database["PORT"], database["PASSWORD"]) == ("db", 5433, "p@ss")
    assert database["OPTIONS"]["sslmode"] == "require"


def test_connections_to_postgresql_are_pooled_unless_the_url_says_how_long_they_last() -> None:
    pooled = production(DATABASE_URL="postgres://u:p@db/n")["DATABASES"]["default"]
    assert pooled["OPTIONS"]["pool"] == {**POOL, **POOL_OPTIONS}
    assert (POOL["max_size"], POOL["timeout"]) == (32, 3)
    assert POOL["reconnect_timeout"] <= POOL["timeout"]  # or it finds out late that all is well
    assert pooled["OPTIONS"]["options"] == SERVER_OPTIONS
    assert CONNECTION_LIMITS.items() <= pooled["OPTIONS"].items()
    assert pooled["CONN_HEALTH_CHECKS"] is True
    kept = production(DATABASE_URL="postgres://u:p@db/n?conn_max_age=60")["DATABASES"]["default"]
    assert (kept["CONN_MAX_AGE"], kept["OPTIONS"]) == (60, CONNECTION_LIMITS)
    assert "OPTIONS" not in production(DATABASE_URL="sqlite:////x/db")["DATABASES"]["default"]


def test_options_in_the_url_override_our_limits() -> None:
    url = "postgres://u:p@db/n?connect_timeout=9&options=-c%20statement_timeout%3D0"
    options = production(DATABASE_URL=url)["DATABASES"]["default"]["OPTIONS"]
    assert options["options"] == "-c statement_timeout=0"
    assert options["pool"] == POOL
    assert {**CONNECTION_LIMITS, "connect_timeout": 9}.items() <= options.items()


def test_driver_accepts_the_pool_settings(
    django_db_blocker: DjangoDbBlocker,
) -> None:
    database = production(DATABASE_URL="postgres://u:p@127.0.0.1:9/n")["DATABASES"]["default"]
    database["OPTIONS"]["pool"]["timeout"] = 0.01
    connection = ConnectionHandler({"default": database})["default"]
    with django_db_blocker.unblock(), pytest.raises(OperationalError, match="get a connection"):
        connection.ensure_connection()
    connection.close_pool()  # type: ignore[attr-defined]  # of PostgreSQL's alone


def test_value_that_starts_with_a_dollar_is_literal() -> None:
    """Every fiftieth key of Django's get_random_secret_key does."""
    loaded = production(
        DJANGO_SECRET_KEY="$ecret" * 9, DJANGO_SECRET_KEY_FALLBACKS="$old,older", ecret="another"
    )
    assert loaded["SECRET_KEY"] == "$ecret" * 9
    assert loaded["SECRET_KEY_FALLBACKS"] == ["$old", "older"]


@pytest.mark.parametrize("password", ["[x", "x]", "\N{ACCOUNT OF}", "x#y"])
def test_database_password_may_have_special_characters(password: str) -> None:
    database = production(DATABASE_URL=f"postgres://u:{password}@db/n")["DATABASES"]["default"]
    assert (database["HOST"], database["PASSWORD"]) == ("db", password)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("u:12/hunter2@db/n", "/ must be written %2F"),
        ("u:12?hunter2@db/n", "/ must be written %2F"),
        ("u:hunter2@db", "must name the database"),
    ],
)
def test_database_url_whose_password_is_cut_is_rejected_without_it(rest: str, words: str) -> None:
    """Otherwise messages name a part of the password as the host, the port or the database."""
    with pytest.raises(ImproperlyConfigured, match=words) as caught:
        production(DATABASE_URL=f"postgres://{rest}")
    assert "hunter2" not in str(caught.value)
    assert "12" not in str(caught.value)
    production(DATABASE_URL="postgres://db/n?application_name=a@b")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KMS_KEY_ARN", "alias/hunter2"),
        ("DECRYPT_KEY_ARNS", "arn:aws:kms:…:key/…"),
        ("AUDIT_KEY_ARN", "hunter2"),
        ("SESSIONS_TABLE", "a b"),
        ("SESSIONS_NAMESPACE", "a b"),
        ("SESSIONS_NOT_BEFORE", "yesterday"),
        ("SESSIONS_ABSOLUTE_TIMEOUT", "7 days"),
        ("DATA_KEY_PERIOD", "1 day"),
        ("DATA_KEY_CACHE_AGE", "5m"),
        ("DATA_KEY_MAX_STALE", "-1"),
    ],
)
def test_fault_of_an_engine_setting_names_the_variable(variable: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^{variable} must be ") as caught:
        production(**{variable: value})
    assert "SESSIONS_KMS" not in str(caught.value)
    assert value not in str(caught.value)


def test_not_before_may_be_a_date() -> None:
    loaded = production(SESSIONS_NOT_BEFORE="2026-01-31T12:00:00Z")
    assert loaded["SESSIONS_KMS"]["NOT_BEFORE"] == 1_769_860_800


def test_hosts_may_be_names_addresses_and_patterns() -> None:
    given = "Gateway.example.com,.example.com,127.0.0.1,[::1],*,gateway_1"
    assert production(ALLOWED_HOSTS=given)["ALLOWED_HOSTS"] == given.split(",")


def test_no_proxy_is_trusted_unless_named() -> None:
    assert production(PROXY_SCHEME_HEADER="")["SECURE_PROXY_SSL_HEADER"] is None


@each_case(
    ("variable", "value"),
    [
        ("DEBUG", "ture"),
        ("GATEWAY_LOCAL", "maybe"),
        ("HSTS_PRELOAD", "2"),
        ("HSTS_SECONDS", "1y"),
        pytest.param("HSTS_SECONDS", "9" * 5000, id="HSTS_SECONDS-endless"),
        ("SESSIONS_IDLE_TIMEOUT", "-1"),
        ("SESSIONS_IDLE_TIMEOUT", "0"),
        ("ALLOWED_HOSTS", "https://gateway.example.com"),
        ("ALLOWED_HOSTS", "gateway.example.com,gateway.example.com:8000"),
        ("ALLOWED_HOSTS", "gateway.example.com/"),
        ("SESSIONS_ABSOLUTE_TIMEOUT", "1.5"),
        ("DATA_KEY_PERIOD", "day"),
        ("PERSON_CACHE_AGE", "61"),
        ("PROXY_SCHEME_HEADER", "X-Forwarded-Proto: https"),
        ("LOG_LEVEL", "LOUD"),
        ("AUDIT_FILE", "audit.jsonl"),
        ("AUDIT_FILE", "/nowhere/audit.jsonl"),
        ("AUDIT_ON_FULL", "wait"),
        ("DATABASE_URL", "secret-in-a-url"),
        ("DATABASE_URL", "mongodb+x://user:secret-in-a-url@h/db"),
        ("DATABASE_URL", "postgres://user:secret-in-a-url@h:port/db"),
        ("DATABASE_URL", "postgres://user:secret-in-a-url?@h/db"),
        ("DATABASE_URL", "$OTHER"),
        ("DATABASE_URL", "postgres://user:secret-in-a-url@h/db?conn_max_age=60s"),
    ],
)
def test_bad_value_is_an_error_that_names_the_variable_and_not_the_value(
    variable: str, value: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=variable) as caught:
        production(**{variable: value})
    assert "secret-in-a-url" not in str(caught.value)


def test_settings_can_be_imported_without_any_variable() -> None:
    loaded = load_settings({})
    assert loaded["SECRET_KEY"] == ""
    assert loaded["MISSING_VARIABLES"] == [
        "DATABASE_URL",
        "DJANGO_SECRET_KEY",
        "KMS_KEY_ARN",
        "SESSIONS_TABLE",
        "ALLOWED_HOSTS",
    ]
    assert "KEY_ID" not in loaded["SESSIONS_KMS"]


@pytest.mark.slow
def test_check_names_every_missing_variable() -> None:
    finished = run({})
    assert finished.returncode != 0
    for name in load_settings({})["MISSING_VARIABLES"]:
        assert f"(gateway_site.E001) The environment variable {name} is missing." in finished.stderr


@pytest.mark.slow
def test_production_passes_the_deployment_check() -> None:
    finished = run(PRODUCTION)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_deployment_check_rejects_a_local_run() -> None:
    finished = run(PRODUCTION | {"GATEWAY_LOCAL": "1", "ALLOWED_HOSTS": "localhost"})
    assert finished.returncode != 0
    assert "gateway_site.E003" in finished.stderr


@pytest.mark.slow
def test_deployment_check_rejects_debug_and_a_missing_provider() -> None:
    without = {name: value for name, value in PRODUCTION.items() if not name.startswith("OAUTH_")}
    finished = run(without | {"DEBUG": "1"})
    assert finished.returncode != 0
    assert "security.W018" in finished.stderr
    assert "gateway_site.W002" in finished.stderr


@pytest.mark.slow
def test_nothing_local_is_imported_in_production() -> None:
    program = (
        "import gateway_site.asgi, gateway_site.urls, sys;"
        "sys.exit(', '.join(n for n in sys.modules if n.startswith('gateway_site.local')) or 0)"
    )
    done = run_to_end([sys.executable, "-c", program], PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")


def test_documents_for_authorization_servers_need_the_public_address() -> None:
    assert production()["OAUTH_MCP_CLIENT"]["documents"] is False
    environment = {"PUBLIC_URL": "https://gateway.example", "SITE_NAME": "Acme"}
    loaded = production(CONNECT_DOCUMENTS="1", **environment)
    assert loaded["OAUTH_MCP_CLIENT"] == {
        "name": "Acme",
        "origin": "https://gateway.example",
        "documents": True,
    }
    with pytest.raises(ImproperlyConfigured, match=r"CONNECT_DOCUMENTS needs PUBLIC_URL"):
        production(CONNECT_DOCUMENTS="1", PUBLIC_URL="")


def test_audit_log_needs_the_key_that_signs_it(tmp_path: Path) -> None:
    assert production()["AUDIT_FILE"] is None
    file = str(tmp_path / "audit.jsonl")
    with pytest.raises(ImproperlyConfigured, match=r"AUDIT_KEY_ARN is required with AUDIT_FILE"):
        production(AUDIT_FILE=file)
    key = "arn:aws:kms:eu-west-1:123456789012:key/22222222-2222-3333-4444-555555555555"
    loaded = production(AUDIT_FILE=file, AUDIT_KEY_ARN=key)
    assert (loaded["AUDIT_FILE"], loaded["AUDIT_ON_FULL"]) == (Path(file), "reject")
    assert loaded["SESSIONS_KMS"]["AUDIT_KEY_ID"] == key
