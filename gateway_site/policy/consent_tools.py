"""The tools that a client may use, for the consent page: what pins and rules name.

It says what an app is allowed, not what a tool does.
"""

from django.conf import settings
from django.http import HttpRequest

from gateway_site.policy.client_names import UNVERIFIED, all_names
from gateway_site.policy.in_force import pins_of, rules_of
from gateway_site.policy.rules import ALLOW, DENY, Caller, Rule, Rules
from gateway_site.policy.subjects import TOOLS, Subject
from oauth.clients.rules.client import Client, Source

CALL = "tools/call"


def find_tools(request: HttpRequest, client: Client, name: str) -> tuple[str, ...] | None:
    """Return names of tools, also such as `search_*`; None if nothing restricts them."""
    from oauth import groups_of  # noqa: PLC0415 - the settings import this module, before models can be

    upstream = settings.UPSTREAMS[name]
    rules, pins = rules_of(upstream), pins_of(upstream)
    groups = frozenset(groups_of(request.session, upstream.provider))
    caller = Caller(groups=groups, clients=_names_of(client))
    if pins is None:
        return None if rules is None else _named_by(rules, caller)
    names = sorted(pins[0].digests)
    if rules is not None:
        decided = rules.of(caller)
        names = [each for each in names if decided.decide(CALL, (_tool(each),)).is_allowed]
    return tuple(names)


def _named_by(rules: Rules, caller: Caller) -> tuple[str, ...] | None:
    about = [each for each in rules.rules if each.concerns(caller) and each.covers_method(CALL)]
    allowing = [rule for rule in about if rule.action == ALLOW]
    if any(not rule.names for rule in allowing):
        return None
    named = [rule.names[TOOLS] for rule in allowing if TOOLS in rule.names]
    decided = rules.of(caller)
    exact = {name for each in named for name in each.exact}
    allowed = {name for name in exact if decided.decide(CALL, (_tool(name),)).is_allowed}
    denying = [rule for rule in about if rule.action == DENY]
    for start in {start for each in named for start in each.starts}:
        if not any(_denies_all(rule, start) for rule in denying):
            if not start:
                return None
            allowed.add(f"{start}*")
    return tuple(sorted(allowed))


def _denies_all(rule: Rule, start: str) -> bool:
    """Return True if a denial covers every tool whose name begins so."""
    names = rule.names.get(TOOLS)
    if names is None:
        return not rule.names
    return names.spelled(start).startswith(names.starts)


def _tool(name: str) -> Subject:
    return Subject(TOOLS, name)


def _names_of(client: Client) -> frozenset[str]:
    if client.source is Source.OPERATOR:
        return all_names(client.id)
    return frozenset({client.host or UNVERIFIED})
