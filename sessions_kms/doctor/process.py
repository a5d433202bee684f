"""What surrounds the store in this process: settings, DynamoDB client, clock, and timeouts."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from django.conf import settings
from django.core import checks

from sessions_kms.aws import calls, clients, errors
from sessions_kms.aws.client_choice import capture_requests, choose, target_of
from sessions_kms.aws.clock import OFFSET_MAX, ServerClock, local_clock, parse_date
from sessions_kms.aws.errors import ClientUnsupported
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, Level, failing, ok, warning
from sessions_kms.doctor.trouble import in_time, report_errors
from sessions_kms.services import services

OURS = "sessions_kms."
REGIONS_DIFFER = "sessions_kms.W012"
# Django's own checks that the cookie is Secure and HttpOnly, which have no hint.
# https://docs.djangoproject.com/en/stable/ref/checks/#security
DJANGOS = {
    f"security.W0{number}": f"Set {setting} = True."
    for setting, numbers in (
        ("SESSION_COOKIE_SECURE", (10, 11, 12)),
        ("SESSION_COOKIE_HTTPONLY", (13, 14, 15)),
    )
    for number in numbers
}


@report_errors("settings")
def settings_findings() -> Iterator[Finding]:
    """Run the system checks that concern sessions, with those for deployment unless DEBUG is on."""
    messages = checks.run_checks(
        tags=[checks.Tags.security], include_deployment_checks=not settings.DEBUG
    )
    found = [_finding(message) for message in messages if _concerns_sessions(message)]
    yield from found or [ok("settings", "no system check warns")]
    yield ok("settings saving", _saving())


def _concerns_sessions(message: checks.CheckMessage) -> bool:
    check_id = message.id or ""
    return (check_id.startswith(OURS) or check_id in DJANGOS) and not message.is_silenced()


def _finding(message: checks.CheckMessage) -> Finding:
    check_id = message.id or ""
    level = Level.FAILING if message.is_serious() else Level.WARNING
    # Errors say in the message what to do, since ImproperlyConfigured shows nothing else.
    remedy = message.hint or DJANGOS.get(check_id, "Correct SESSIONS_KMS in the settings.")
    return Finding(check_id, level, message.msg, remedy)


def _saving() -> str:
    if settings.SESSION_SAVE_EVERY_REQUEST:
        return (
            "on every request, written only if the expiry moves by over a tenth of the idle timeout"
        )
    return "when a session changes (SESSION_SAVE_EVERY_REQUEST is off)"


@report_errors("client")
def client_findings(config: Config) -> Iterator[Finding]:
    """Choose the client as the engine does."""
    boto = clients.dynamodb_client(config.region_name)
    try:
        choice = choose(boto, config.client)
    except ClientUnsupported as exc:
        yield failing("client", "the built-in client is set, and cannot be used", str(exc))
        return
    if not choice.is_builtin:
        yield ok("client", f"boto: {choice.reason}")
        return
    capture_requests(boto)
    target = target_of(boto, config.table_name)
    if target is None:
        yield ok("client", "boto: the endpoint is more than a host and a port")
    else:
        yield ok("client", f"built-in, for {target.origin.url}: {choice.reason}")


WARN = 60  # seconds
FAIL = 24 * 3600  # seconds; TLS and role credentials use the machine's clock
REMEDY = (
    "Set this machine's clock with NTP (for example `chronyc makestep`) and keep it in sync."
    " Meanwhile sessions, tokens and signatures use DynamoDB's clock; TLS and role credentials do"
    " not."
)


@report_errors("clock")
def clock_findings(config: Config, client: Callable[[], Any]) -> Iterator[Finding]:
    """Compare this machine's clock with AWS's, by the ``Date`` of a response, and the engine's."""
    there = parse_date(_headers(config, client()).get("date"))
    if there is None:
        yield ok("clock", "not known: DynamoDB sent no Date")
        return
    clock = services().clock
    skew = round(local_clock(clock)() - there)
    detail = f"{abs(skew)} s {'ahead of' if skew > 0 else 'behind'} AWS's"
    if abs(skew) > WARN and isinstance(clock, ServerClock):
        detail += _correction(clock)
    if abs(skew) > FAIL:
        yield failing("clock", detail, REMEDY)
    elif abs(skew) > WARN:
        yield warning("clock", detail, REMEDY)
    else:
        yield ok("clock", detail)


def _correction(clock: ServerClock) -> str:
    if abs(clock.offset) > OFFSET_MAX:
        return "; that is more than a week, which the engine does not correct"
    return f", which the engine corrects by {clock.offset:+.0f} s"


def _headers(config: Config, client: Any) -> Mapping[str, str]:
    key = {"id": {"S": "canary-clock"}}
    response: Any
    try:
        response = in_time(partial(client.get_item, TableName=config.table_name, Key=key))
    except Exception as exc:  # noqa: BLE001 - an unreachable DynamoDB is another finding
        # An error has the time as well, even that for a request signed at a wrong time.
        response = exc.response if errors.is_client_error(exc) else {}
    headers: Mapping[str, str] = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def wait_findings() -> Iterator[Finding]:
    """Check the circuit breakers, after all the calls of the other checks."""
    hanging = calls.open_circuits()
    if hanging:
        yield failing(
            "waits",
            f"{', '.join(hanging)}: timed out repeatedly; only probes are sent",
            "Check AWS Health, DNS, and the route to AWS: VPC endpoints, NAT, security groups."
            " Calls resume by themselves.",
        )
    else:
        yield ok("waits", "DynamoDB and KMS answer in time")
