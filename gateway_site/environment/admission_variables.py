"""The variables for who may sign in, and the parsers of their lists."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from gateway_site.environment.parsers import declare_flag, declare_text, parse_words
from gateway_site.environment.variable import (
    Family,
    InvalidValue,
    Variable,
    Variables,
    list_parser,
    names_parser,
)
from oauth.access_rule import parse_address, parse_domain, parse_domain_entry, parse_github_group

GITHUB = "github"  # the name of the provider without OpenID Connect
GROUP_LENGTH = 256
NOBODY: frozenset[str] = frozenset()
EXAMPLES = {
    "DOMAINS": "domains, such as example.com, .example.com for its subdomains, or * for everybody",
    "EMAILS": "mail addresses, such as ada@example.com",
    "ORGS": "organizations of GitHub, such as acme",
    "TEAMS": "teams of GitHub, such as acme/operators",
    "GROUPS": f"names of at most {GROUP_LENGTH} letters, separated by commas",
    "GITHUB_GROUPS": "organizations and teams of GitHub, such as acme and acme/operators",
}


@names_parser
def take_names(text: str) -> str:
    """Return the text of a list of groups, which `read_groups` reads by the kind of provider."""
    return text


def declare_names(help_text: str, **options: Any) -> Variable[str]:
    """Declare a list of groups."""
    return Variable(take_names, "", help_text, **options)


def entries(parse: Callable[[str], str], what: str) -> Callable[[str], frozenset[str]]:
    """Return a parser of a list with one parser for each entry, which raises ValueError."""

    @list_parser
    def parse_entries(text: str) -> frozenset[str]:
        return _parse_entries(parse_words(text), parse, what)

    return parse_entries


def one_domain(text: str) -> str:
    """Return one normalized domain."""
    try:
        return parse_domain(text)
    except ValueError:
        raise InvalidValue("must be one domain of Google Workspace, such as example.com.") from None


def _parse_entries(parts: Iterable[str], parse: Callable[[str], str], what: str) -> frozenset[str]:
    try:
        found = frozenset(parse(each) for each in parts if each)
    except ValueError:
        found = frozenset()
    if not found:
        raise InvalidValue(f"must be {what}.")
    return found


def _organization(slashes: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.count("/") != slashes:
            raise ValueError
        return parse_github_group(text)

    return parse


class SignInVariables(Variables):
    """Who may sign in with any provider."""

    names_begin = "SIGN_IN_"

    allowed_domains = Variable(
        entries(parse_domain_entry, EXAMPLES["DOMAINS"]),
        NOBODY,
        "domains of mail addresses [that may sign in](who-may-sign-in.md)",
    )
    allowed_emails = Variable(
        entries(parse_address, EXAMPLES["EMAILS"]), NOBODY, "mail addresses that may sign in"
    )
    allowed_groups = declare_names("groups that may sign in, with a single provider")
    contact = declare_text("contact for rejected people")


class AdmissionVariables(Family):
    """Who may sign in with one provider."""

    kind = "OAUTH"

    allowed_domains = Variable(
        entries(parse_domain_entry, EXAMPLES["DOMAINS"]),
        NOBODY,
        "domains of mail addresses [that may sign in](who-may-sign-in.md)",
        shown_default="`SIGN_IN_ALLOWED_DOMAINS`",
    )
    allowed_emails = Variable(
        entries(parse_address, EXAMPLES["EMAILS"]),
        NOBODY,
        "mail addresses that may sign in",
        shown_default="`SIGN_IN_ALLOWED_EMAILS`",
    )
    allowed_groups = declare_names(
        "groups that may sign in", shown_default="`SIGN_IN_ALLOWED_GROUPS`"
    )
    allowed_orgs = Variable(
        entries(_organization(slashes=0), EXAMPLES["ORGS"]),
        NOBODY,
        "GitHub organizations that may sign in",
    )
    allowed_teams = Variable(
        entries(_organization(slashes=1), EXAMPLES["TEAMS"]),
        NOBODY,
        "GitHub teams that may sign in, as `org/team`",
    )
    hosted_domain = Variable(one_domain, None, "Google Workspace domain that may sign in")
    groups_claim = declare_text("claim with the groups, or a path", shown_default="`groups`")
    trust_email = declare_flag("accept mail addresses that the provider does not call verified")
    staff_groups = declare_names("groups that may enter the admin")
    superuser_groups = declare_names("groups with all rights in the admin")


class UpstreamGroupVariables(Family):
    """Which groups at the provider may call one upstream."""

    kind = "UPSTREAM"

    mcp = declare_text(
        "address of an MCP server that people connect, instead of `_URL`; creates the upstream",
        creates=True,
    )

    provider = Variable(
        str.lower, "", "provider whose token it gets", shown_default="required with `_URL`"
    )
    allowed_groups = declare_names("groups that may call it", shown_default="everybody")


def read_groups(
    variables: Variables, variable: Variable[str], *, is_github: bool
) -> frozenset[str]:
    """Return the groups in a list. Raises ImproperlyConfigured."""
    text = variables.read(variable)
    if not text:
        return NOBODY
    try:
        if is_github:
            parts = parse_words(text)
            return _parse_entries(parts, parse_github_group, EXAMPLES["GITHUB_GROUPS"])
        return _parse_entries(_split_names(text), _parse_group, EXAMPLES["GROUPS"])
    except InvalidValue as invalid:
        raise variables.error(variable, str(invalid)) from None


def _split_names(text: str) -> list[str]:
    """Split at commas; a comma within a name, as in LDAP names, is written `\\,`."""
    parts = re.split(r"(?<!\\),", text)
    return [part.replace("\\,", ",").strip() for part in parts]


def _parse_group(text: str) -> str:
    if len(text) > GROUP_LENGTH or text == "*" or not text.isprintable():
        raise ValueError
    return text
