"""Which client sends requests: the built-in one, unless boto is instrumented or alone fits."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.handlers
import pytest
from botocore.client import BaseClient
from django.core.exceptions import ImproperlyConfigured

from sessions_kms import services
from sessions_kms.aws import clients
from sessions_kms.aws.client_choice import choose
from sessions_kms.aws.errors import ClientUnsupported
from sessions_kms.aws.table_client import BuiltinClient
from sessions_kms.conf import Config
from tests.sessions_kms.support.stacks import FAKE_KEY


@pytest.fixture(autouse=True)
def without_moto(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make clients as they are where nobody has imported moto, which puts a handler on each."""
    ours = [
        each
        for each in botocore.handlers.BUILTIN_HANDLERS
        if "moto" not in type(each[1]).__module__
    ]
    assert ours != botocore.handlers.BUILTIN_HANDLERS
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", ours)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://table.example")
    clients.reset()


def client() -> Any:
    return clients.dynamodb_client("eu-west-1")


def test_builtin_client_is_chosen_unless_boto_is_instrumented() -> None:
    assert choose(client(), "auto").is_builtin
    assert choose(client(), "builtin").is_builtin
    assert not choose(client(), "boto").is_builtin


@pytest.mark.parametrize(
    "event",
    [
        "before-parameter-build",
        "before-call.dynamodb",
        "before-sign.dynamodb.GetItem",
        "before-send.dynamodb.PutItem",
        "request-created",
        "response-received.dynamodb.Query",
        "after-call.*.TransactWriteItems",
    ],
)
@pytest.mark.parametrize("partly", [True, False])
def test_foreign_handler_is_not_bypassed(event: str, partly: bool) -> None:
    def handle(**_: Any) -> None:
        pass

    watched = client()
    watched.meta.events.register(event, functools.partial(handle) if partly else handle)
    choice = choose(watched, "auto")
    assert not choice.is_builtin
    assert choice.reason == f"boto is instrumented by {__name__}"
    assert choose(watched, "builtin").is_builtin


def test_moto_is_not_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    clients.reset()
    assert "moto" in choose(client(), "auto").reason


def plain(original: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    return wrapper


class Proxy:
    """What wrapt puts in the place of a function: it looks like it."""

    def __init__(self, wrapped: Callable[..., Any]) -> None:
        self.__dict__.update(vars(wrapped), __module__=wrapped.__module__)
        self._wrapped = wrapped

    def __get__(self, instance: object, owner: type) -> Any:
        return functools.partial(self._wrapped, instance)


@pytest.mark.parametrize(
    "wrap", [plain, lambda original: functools.wraps(original)(plain(original)), Proxy]
)
def test_wrapper_of_boto_is_not_passed_by(wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original: Any = BaseClient.__dict__["_make_api_call"]
    monkeypatch.setattr(BaseClient, "_make_api_call", wrap(original))
    choice = choose(client(), "auto")
    assert not choice.is_builtin
    assert "_make_api_call" in choice.reason


def test_function_of_boto_that_datadog_has_rewritten_is_not_passed_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original: Any = BaseClient.__dict__["_make_api_call"]
    monkeypatch.setattr(original, "__dd_wrapped__", True, raising=False)
    assert "_make_api_call" in choose(client(), "auto").reason


@pytest.fixture(params=["proxy", "client certificate", "without verification", "no file"])
def obstacle(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Any, str]:
    """A client that the built-in one cannot replace, and what the message says about it."""
    if request.param == "proxy":
        monkeypatch.setenv("HTTPS_PROXY", "http://user:SECRET@proxy.example:3128")
        return client(), "a proxy for DynamoDB's endpoint"
    made = client()
    session: Any = made._endpoint.http_session
    if request.param == "client certificate":
        made.meta.config.client_cert = "client.pem"
        return made, "a client certificate"
    if request.param == "without verification":
        session._verify = False
        return made, "TLS without verification"
    session._verify = str(tmp_path)
    return made, "an AWS_CA_BUNDLE that is not a file"


def test_what_only_boto_can_do_is_left_to_boto(obstacle: tuple[Any, str]) -> None:
    made, told = obstacle
    choice = choose(made, "auto")
    assert (choice.is_builtin, choice.reason) == (False, f"only boto supports {told}")
    assert not choose(made, "boto").is_builtin
    with pytest.raises(ClientUnsupported) as caught:
        choose(made, "builtin")
    assert str(caught.value) == (
        f"SESSIONS_KMS['CLIENT'] is 'builtin', which does not support {told}."
        " Set it to 'auto' or 'boto'."
    )


def test_proxy_for_other_hosts_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "table.example")
    assert choose(client(), "builtin").is_builtin


def config(**settings: Any) -> Config:
    return Config(key_id=FAKE_KEY, table_name="sessions", region_name="eu-west-1", **settings)


def test_builtin_client_that_is_unsupported_is_an_error_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:SECRET@proxy.example:3128")
    with pytest.raises(ImproperlyConfigured, match="Set it to 'auto' or 'boto'") as caught:
        services.build(config(client="builtin"))
    assert "SECRET" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::sessions_kms.exceptions.RemoteTableWarning")
@pytest.mark.parametrize("setting", ["auto", "boto", "builtin"])
def test_choice_is_logged_once(setting: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "sessions_kms.aws.table_client"):
        made: Any = services.build(config(client=setting)).table
    is_builtin = isinstance(made._sender.client, BuiltinClient)
    assert is_builtin == (setting != "boto")
    name = "built-in" if is_builtin else "boto"
    ours = [each.message for each in caplog.records if each.name.startswith("sessions_kms")]
    assert [message.split(" (")[0] for message in ours] == [f"DynamoDB client: {name}"]


def test_authorities_are_those_of_boto(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("")
    assert Path(choose(client(), "builtin").authorities).is_file()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    clients.reset()
    assert choose(client(), "builtin").authorities == str(bundle)
