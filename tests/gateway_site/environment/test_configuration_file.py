"""`GATEWAY_CONFIG`: the same variables in a TOML file, below those of the environment."""

import os
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_site import configuration
from gateway_site.environment import configuration_file
from gateway_site.environment.gateway_variables import GatewayVariables
from gateway_site.management.commands import show_settings
from gateway_site.variables import FAMILIES, GROUPS

UPSTREAM = """
UPSTREAM_ORDERS_URL = "https://orders.internal.example.com/v1"
UPSTREAM_ORDERS_PROVIDER = "corp"
UPSTREAM_ORDERS_METHODS = ["GET", "POST"]
UPSTREAM_ORDERS_CLIENTS = true
UPSTREAM_ORDERS_MAX_BODY = 1_000
"""
SAME = {
    "UPSTREAM_ORDERS_URL": "https://orders.internal.example.com/v1",
    "UPSTREAM_ORDERS_PROVIDER": "corp",
    "UPSTREAM_ORDERS_METHODS": "GET,POST",
    "UPSTREAM_ORDERS_CLIENTS": "1",
    "UPSTREAM_ORDERS_MAX_BODY": "1000",
}
SECRET = "a-secret-that-nobody-may-see-" + "x" * 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def load(file: Path, text: str, **environment: str) -> dict[str, str]:
    """Return what is configured by this file and these variables."""
    file.write_text(text, encoding="utf-8")
    found = configuration.load({"GATEWAY_CONFIG": str(file), **environment})
    del found["GATEWAY_CONFIG"]
    return dict(found)


def fault(file: Path, text: str, **environment: str) -> str:
    """Return the error of a file."""
    with pytest.raises(ImproperlyConfigured) as error:
        load(file, text, **environment)
    return str(error.value)


def test_file_has_the_same_values_as_the_environment(file: Path) -> None:
    assert load(file, UPSTREAM) == SAME


def test_variable_that_is_not_blank_takes_precedence(file: Path) -> None:
    found = load(file, UPSTREAM, UPSTREAM_ORDERS_CLIENTS="0", UPSTREAM_ORDERS_MAX_BODY=" ")
    assert found == SAME | {"UPSTREAM_ORDERS_CLIENTS": "0"}


@pytest.mark.parametrize("name", ["DJANGO_SECRET_KEY", "DJANGO_SECRET_KEY_FILE"])
def test_secret_and_its_file_count_as_one_variable(file: Path, name: str, tmp_path: Path) -> None:
    (ours := tmp_path / "ours").write_text(SECRET)
    (theirs := tmp_path / "theirs").write_text("y" * 60)
    text = f'DJANGO_SECRET_KEY_FILE = "{theirs}"'
    assert load(file, text) == {"DJANGO_SECRET_KEY": "y" * 60}
    value = str(ours) if name.endswith("_FILE") else SECRET
    assert load(file, text, **{name: value}) == {"DJANGO_SECRET_KEY": SECRET}


def test_comma_in_a_name_is_written_as_the_variable_requires(file: Path) -> None:
    found = load(file, UPSTREAM + 'UPSTREAM_ORDERS_ALLOWED_GROUPS = ["cn=a,dc=b", "staff"]')
    assert found["UPSTREAM_ORDERS_ALLOWED_GROUPS"] == r"cn=a\,dc=b,staff"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('SESSIONS_TABEL = "x"', "is not a known variable. Did you mean SESSIONS_TABLE?"),
        ('public_url = "x"', "is not a known variable. Did you mean PUBLIC_URL?"),
        ('AWS_REGION = "eu-west-1"', "is not a known variable."),
        ('"\\u001b[31m" = "x"', "is not a known variable."),
        ('GATEWAY_LOCAL = "1"', "can only be set in the environment."),
        ('GATEWAY_CONFIG = "/etc/other.toml"', "can only be set in the environment."),
        ("[UPSTREAM]\nX_URL = 'x'", "is not a known variable."),
        ("[PUBLIC_URL]\nx = 'x'", "is a table: the file has no sections"),
        ("PUBLIC_URL.x = 'x'", "is a table: the file has no sections"),
        ("HSTS_SECONDS = 1.5", "must be a string, a whole number, true, false, or a list"),
        ("HSTS_SECONDS = 2026-12-01", "must be a string, a whole number, true, false, or a list"),
        ("ALLOWED_HOSTS = [1]", "must be a string, a whole number, true, false, or a list"),
        ('ALLOWED_HOSTS = [["a"]]', "must be a string, a whole number, true, false, or a list"),
        ('ALLOWED_HOSTS = ["a", " "]', "has an empty entry"),
        ('ALLOWED_HOSTS = ["a,b"]', "has an entry with a comma: write one entry for each item."),
        ('SIGN_IN_ALLOWED_GROUPS = ["a\\\\", "b"]', "has an entry that ends with a backslash."),
        ('SITE_NAME = ["a", "b"]', "takes one value, not a list."),
        ('SITE_NAME = "a\\u0000b"', "must not contain the character NUL."),
        (f'DJANGO_SECRET_KEY = "{SECRET}"', "holds a secret, which must not be in this file"),
        (f'DJANGO_SECRET_KEY_FALLBACKS = ["{SECRET}"]', "holds a secret"),
        (f'DATABASE_URL = "postgres://u:{SECRET}@db/n"', "use DATABASE_URL_FILE here"),
        (f'DATABASE_URL = "postgres://db/n?password={SECRET}"', "holds a secret"),
        (f'DATABASE_URL = "postgres://db/n?%50assword={SECRET}"', "holds a secret"),
        (f'DATABASE_URL = "postgres://db/n?oauth_client_secret={SECRET}"', "holds a secret"),
        (f'DATABASE_URL = "postgres://db/n?scram_client_key={SECRET}"', "holds a secret"),
        (f'DATABASE_URL = "postgres://[u:{SECRET}@db/n"', "holds a secret"),
        (f'CLIENT_SECRETS = "{SECRET}"', "is not a known variable."),
        ('SITE_NAME_FILE = "/x"', "is not a known variable. Did you mean SITE_NAME?"),
        ('DJANGO_SECRET_KEY_FALLBACKS_FILE = ["/x"]', "takes one value, not a list."),
        ('UPSTREAM_ORDERS_SERVICE_HOST = "x"', "is not a known variable."),
        ('UPSTREAM_API_PROVIDER = "corp"', "has no effect: UPSTREAM_API_URL is not set."),
        ('DJANGO_SECRET_KEY_FILE = "/nowhere"', ": file not found."),
    ],
)
def test_fault_of_a_variable_names_it_and_the_file(file: Path, line: str, problem: str) -> None:
    text = fault(file, line)
    assert problem in text
    assert text.endswith(f" It is set in {file}.")
    assert line.split(maxsplit=1)[0].strip('[]"=').partition(".")[0].partition("\\")[0] in text
    assert SECRET not in text
    assert text.isprintable()


@pytest.mark.parametrize("value", ['"soon"', "-1"])
def test_value_that_its_parser_rejects_names_the_file(file: Path, value: str) -> None:
    file.write_text(f"HSTS_SECONDS = {value}")
    found = configuration.load({"GATEWAY_CONFIG": str(file)})
    with pytest.raises(ImproperlyConfigured, match=f"^HSTS_SECONDS must be .* in {file}.$"):
        GatewayVariables(found).hsts_seconds  # noqa: B018 - reading it is what fails


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'PUBLIC_URL = "a"\nSITE_NAME = nothing\n', "at line 2, column 13"),
        (b'PUBLIC_URL = "a"\nPUBLIC_URL = "b"\n', "at line 2, column 17"),
        (b'PUBLIC_URL = "a"\nSITE_NAME = "abc', "at line 2, column 17, the end)."),
        (b"PUBLIC_URL =", "at line 1, column 13, the end)."),
        (b'SITE_NAME = "\xff"', "the file is not UTF-8 text."),
        (b"HSTS_SECONDS = " + b"9" * 5000, "has a number that is too long"),
        (b"ALLOWED_HOSTS = " + b"[" * 100_000, "too many levels"),
        (b"#" * (configuration_file.SIZE_MAX + 1), "has more than 1,048,576 bytes"),
    ],
)
def test_file_that_cannot_be_parsed_is_named(file: Path, content: bytes, problem: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ImproperlyConfigured) as error:
        configuration.load({"GATEWAY_CONFIG": str(file)})
    assert str(error.value).startswith(f"GATEWAY_CONFIG: {file}: ")
    assert problem in str(error.value)


def test_file_that_is_missing_or_unreadable_is_named(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    for path, problem in (
        (tmp_path / "missing", "file not found. Create it, or correct the path."),
        (tmp_path, "file not found. Create it, or correct the path."),
        (pipe, "file not found. Create it, or correct the path."),
    ):
        with pytest.raises(ImproperlyConfigured, match=f"^GATEWAY_CONFIG: {path}: {problem}$"):
            configuration.load({"GATEWAY_CONFIG": str(path)})


def test_file_whose_reading_fails_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    file.write_text(UPSTREAM)
    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(ImproperlyConfigured, match="the file cannot be read: Permission denied"):
        configuration.load({"GATEWAY_CONFIG": str(file)})


def test_values_are_not_copied_into_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(UPSTREAM)
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    before = dict(os.environ)
    configuration.load(os.environ)
    configuration.FileState(os.environ).find_change()
    assert dict(os.environ) == before


def test_service_links_of_kubernetes_do_not_harm_upstreams_of_the_file(file: Path) -> None:
    links = {f"UPSTREAM_ORDERS_{each}": "tcp://10.0.0.1:80" for each in ("PORT", "SERVICE_HOST")}
    assert load(file, UPSTREAM, **links) == SAME | links


def test_database_url_without_a_password_may_be_in_the_file(file: Path) -> None:
    url = "postgres://gateway@db.example/gateway?sslmode=verify-full"
    assert load(file, f'DATABASE_URL = "{url}"') == {"DATABASE_URL": url}


@pytest.mark.parametrize("place", ["file", "environment", "both"])
def test_settings_are_shown_with_their_sources(file: Path, place: str) -> None:
    in_file = {"file": UPSTREAM, "environment": "", "both": UPSTREAM}[place]
    environment: dict[str, str] = {"file": {}, "environment": SAME, "both": {}}[place]
    if place == "both":
        environment = {"UPSTREAM_ORDERS_PROVIDER": "corp"}
    file.write_text(in_file)
    merged, problems = configuration.read({"GATEWAY_CONFIG": str(file), **environment})
    assert problems == []
    shown = {each.name: each for each in show_settings.list_settings(merged)}
    assert {name: shown[name].value for name in SAME} == SAME
    assert {name: shown[name].source for name in SAME} == {
        name: "variable" if name in environment else str(file) for name in SAME
    }


def test_secret_is_shown_with_its_file_and_what_names_that(file: Path, tmp_path: Path) -> None:
    (secret := tmp_path / "key").write_text(SECRET)
    file.write_text(f'DJANGO_SECRET_KEY_FILE = "{secret}"')
    merged, _ = configuration.read({"GATEWAY_CONFIG": str(file)})
    [shown] = [x for x in show_settings.list_settings(merged) if x.name == "DJANGO_SECRET_KEY"]
    assert (shown.value, shown.source) == ("********", f"{secret}, named in {file}")


def test_all_faults_of_a_file_are_listed(file: Path) -> None:
    file.write_text('PUBLIC_URI = "x"\nHSTS_SECONDS = 1.5\n')
    found = list(show_settings.find_problems({"GATEWAY_CONFIG": str(file)}))
    assert [each.split()[0] for each in found[:2]] == ["PUBLIC_URI", "HSTS_SECONDS"]


LISTS = {
    *("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DECRYPT_KEY_ARNS", "DJANGO_SECRET_KEY_FALLBACKS"),
    *("LANGUAGES", "TRUSTED_PROXIES", "CLIENTS_ALLOWED_HOSTS", "CLIENTS_REDIRECT_URIS"),
    *("CLIENTS_REFUSED", "SIGN_IN_ALLOWED_DOMAINS", "SIGN_IN_ALLOWED_EMAILS", "ALLOWED_TENANTS"),
    *("SIGN_IN_ALLOWED_GROUPS", "SCOPES", "AUTH_PARAMS", "FORM_ACTION", "ALLOWED_DOMAINS"),
    *("ALLOWED_EMAILS", "ALLOWED_GROUPS", "ALLOWED_ORGS", "ALLOWED_TEAMS", "STAFF_GROUPS"),
    *("SUPERUSER_GROUPS", "METHODS", "PATHS", "REQUEST_HEADERS", "REDIRECT_HOSTS", "RATE"),
    *("IDENTITY_PUBLISHED_KEY_FILES", "CLAIMS"),
}


def test_variables_that_take_a_list_are_these() -> None:
    declared = [each for group in (*GROUPS, *FAMILIES) for each in group.declarations()]
    assert {each.name for each in declared if each.takes_list} == LISTS
    assert {each.name for each in declared if each.escapes_commas} == {
        each for each in LISTS if each.endswith("GROUPS")
    }


def test_change_of_the_file_is_noticed_with_its_fault(file: Path) -> None:
    file.write_text(UPSTREAM)
    state = configuration.FileState({"GATEWAY_CONFIG": str(file)})
    assert state.find_change() is None
    file.write_text(UPSTREAM + "# the same\n")
    assert state.find_change() is None
    file.write_text(UPSTREAM.replace("1_000", "2_000"))
    assert "has changed" in str(state.find_change())
    file.write_text("PUBLIC_URI = 1")
    assert "It has a fault: PUBLIC_URI is not a known variable." in str(state.find_change())
