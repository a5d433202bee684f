"""Who asks a table: the wire, unless it would be missed by somebody, or could not get there."""

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
from sessions_kms.aws.client.choice import choose
from sessions_kms.aws.client.wire_client import WireClient
from sessions_kms.aws.client.wish import WireImpossible
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


def test_wire_asks_where_nobody_watches() -> None:
    assert choose(client(), "auto").by_wire
    assert choose(client(), "wire").by_wire
    assert not choose(client(), "boto").by_wire


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
def test_handler_that_is_not_botocores_is_not_passed_by(event: str, partly: bool) -> None:
    def handle(**_: Any) -> None:
        pass

    watched = client()
    watched.meta.events.register(event, functools.partial(handle) if partly else handle)
    choice = choose(watched, "auto")
    assert not choice.by_wire
    assert choice.why.startswith(__name__)
    assert choose(watched, "wire").by_wire


def test_moto_is_not_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    clients.reset()
    assert "moto" in choose(client(), "auto").why


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
    assert not choice.by_wire
    assert "_make_api_call" in choice.why


def test_function_of_boto_that_datadog_has_rewritten_is_not_passed_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original: Any = BaseClient.__dict__["_make_api_call"]
    monkeypatch.setattr(original, "__dd_wrapped__", True, raising=False)
    assert "_make_api_call" in choose(client(), "auto").why


@pytest.fixture(params=["proxy", "client certificate", "without verification", "no file"])
def obstacle(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Any, str]:
    """A client that the wire could not go as, and what is told of it."""
    if request.param == "proxy":
        monkeypatch.setenv("HTTPS_PROXY", "http://user:SECRET@proxy.example:3128")
        return client(), "proxy for DynamoDB's endpoint"
    made = client()
    session: Any = made._endpoint.http_session
    if request.param == "client certificate":
        session._cert_file = "client.pem"
        return made, "client certificate"
    if request.param == "without verification":
        session._verify = False
        return made, "TLS without verification"
    session._verify = str(tmp_path)
    return made, "AWS_CA_BUNDLE that is no file"


def test_what_only_boto_can_do_is_left_to_boto(obstacle: tuple[Any, str]) -> None:
    made, told = obstacle
    choice = choose(made, "auto")
    assert (choice.by_wire, choice.why) == (False, f"there is a {told}, which only boto knows")
    assert not choose(made, "boto").by_wire
    with pytest.raises(WireImpossible) as caught:
        choose(made, "wire")
    assert str(caught.value) == (
        f"SESSIONS_KMS['CLIENT'] is 'wire', which knows no {told}. Set it to 'auto' or to 'boto'."
    )


def test_proxy_that_does_not_count_for_the_endpoint_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "table.example")
    assert choose(client(), "wire").by_wire


def config(**settings: Any) -> Config:
    return Config(key_id=FAKE_KEY, table_name="sessions", region_name="eu-west-1", **settings)


def test_wire_that_is_wished_for_and_impossible_is_an_error_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:SECRET@proxy.example:3128")
    with pytest.raises(ImproperlyConfigured, match="Set it to 'auto' or to 'boto'") as caught:
        services.build(config(client="wire"))
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("wish", ["auto", "boto", "wire"])
def test_choice_is_told_once(wish: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "sessions_kms.aws.client"):
        made: Any = services.build(config(client=wish)).table
    by_wire = isinstance(made._sender.client, WireClient)
    assert by_wire == (wish != "boto")
    asker = "the wire" if by_wire else "boto"
    ours = [each.message for each in caplog.records if each.name.startswith("sessions_kms")]
    assert [told.split(":")[0] for told in ours] == [f"DynamoDB is asked by {asker}"]


def test_authorities_are_those_that_boto_believes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("")
    assert Path(choose(client(), "wire").authorities).is_file()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    clients.reset()
    assert choose(client(), "wire").authorities == str(bundle)
