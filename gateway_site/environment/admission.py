"""Who may sign in: turns variables into the member "admission" of a provider's settings.

See `oauth.access_rule`. A rule can also add scopes and parameters to the authorization request.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.admission_variables import (
    GITHUB,
    AdmissionVariables,
    SignInVariables,
    UpstreamGroupVariables,
    read_groups,
)
from gateway_site.environment.variable import Variable, Variables
from oauth.access_rule import (
    GROUP_ID,
    Admission,
    is_apple,
    is_google,
    is_open,
    is_shared_entra,
    parse_github_group,
)
from sessions_kms.hints import page

SINGLE_PROVIDER = "needs a single provider: a group's name means nothing without its provider."
NAMED_MAX = 100  # groups of one provider: they are stored in the session
GITHUB_MAX = 20  # organizations and teams: each is a request to GitHub at every sign-in
NOT_VERIFIED_SCOPE, MEMBERS_SCOPE = "user:email", "read:org"  # GitHub's

PolicyGroups = Mapping[str, frozenset[str]]  # by upstream: the groups in its policy file


@dataclass(frozen=True, kw_only=True)
class SignInRule:
    """The access rule of one provider, with the ``scopes`` and ``auth_params`` that it adds."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    auth_params: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """The attributes of a configured provider that are used here."""

    @property
    def name(self) -> str: ...
    @property
    def issuer(self) -> str | None: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


def read_rule(
    environment: Mapping[str, str],
    provider: Provider,
    policy_groups: PolicyGroups | None = None,
    claims: frozenset[str] = frozenset(),
) -> SignInRule:
    """Return the access rule of one provider. Raises ImproperlyConfigured.

    ``policy_groups`` are those in the policy file of each upstream, ``claims`` those to store.
    """
    return _RuleReader(environment, provider, policy_groups or {}, claims).read()


def require_rules(
    environment: Mapping[str, str],
    providers: Iterable[Provider],
    policy_groups: PolicyGroups | None = None,
) -> list[str]:
    """Return the names of the providers without any rule.

    Raises ImproperlyConfigured if anybody in the world could then sign in, and for groups that do
    not name their provider.
    """
    found = list(providers)
    general = SignInVariables(environment)
    if len(found) > 1:
        general.reject(
            [SignInVariables.allowed_groups],
            f"{SINGLE_PROVIDER} Set OAUTH_<NAME>_ALLOWED_GROUPS instead.",
        )
        for upstream in _list_restricted(environment):
            if upstream.mcp:
                upstream.reject([UpstreamGroupVariables.allowed_groups], SINGLE_PROVIDER)
        for name, groups in (policy_groups or {}).items():
            if groups and UpstreamGroupVariables(environment, name).mcp:
                raise _policy_error(name, f"a rule with groups {SINGLE_PROVIDER}")
    without = [each for each in found if not _has_rule(environment, each)]
    for each in without:
        if each.name == GITHUB or any(map(is_open, _list_addresses(each))):
            prefix = f"OAUTH_{each.name.upper()}_ALLOWED_"
            raise ImproperlyConfigured(
                f"{prefix}DOMAINS is missing: anybody can open an account at {each.name}, and "
                f"could sign in here. Set it, SIGN_IN_ALLOWED_DOMAINS or another list from "
                f"{page('who-may-sign-in')}; {prefix}DOMAINS=* lets everybody in."
            )
    return [each.name for each in without]


class _RuleReader:
    """Reads the variables of one provider, and the general ones."""

    def __init__(
        self,
        environment: Mapping[str, str],
        provider: Provider,
        policy_groups: PolicyGroups,
        claims: frozenset[str],
    ) -> None:
        self._environment = environment
        self._policy_groups = policy_groups
        self._claims = claims
        self._own = AdmissionVariables(environment, provider.name)
        self._general = SignInVariables(environment)
        self._issuer = provider.issuer
        self._addresses = _list_addresses(provider)
        self._is_github = self._own.name == GITHUB

    def read(self) -> SignInRule:
        self._reject_unsupported()
        own, general = self._own, self._general
        found = {
            "domains": own.allowed_domains or general.allowed_domains,
            "emails": own.allowed_emails or general.allowed_emails,
            "groups": self._read_allowed_groups(),
            "staff_groups": self._read_admin_groups(AdmissionVariables.staff_groups),
            "superuser_groups": self._read_admin_groups(AdmissionVariables.superuser_groups),
            "upstream_groups": self._read_upstream_groups(),
            "stored_claims": self._claims,
            "groups_claim": own.groups_claim,
            "trust_email": self._read_trust_email(),
            "hosted_domain": self._read_hosted_domain(),
        }
        # Lists, because settings are shown; sorted, because they are compared.
        settings = {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in found.items()
            if value
        }
        admission = Admission.from_settings(settings)
        self._check_number(admission)
        hosted = admission.rule.hosted_domain
        return SignInRule(
            settings=settings,
            scopes=self._build_scopes(admission),
            auth_params={"hd": hosted} if hosted else {},
        )

    def _read_groups(self, variables: Variables, variable: Variable[str]) -> frozenset[str]:
        return read_groups(variables, variable, is_github=self._is_github)

    def _read_allowed_groups(self) -> frozenset[str]:
        """Return the groups that may sign in; organizations and teams are groups."""
        groups = self._read_groups(self._own, AdmissionVariables.allowed_groups)
        own = groups | self._own.allowed_orgs | self._own.allowed_teams
        return own or self._read_groups(self._general, SignInVariables.allowed_groups)

    def _read_admin_groups(self, variable: Variable[str]) -> frozenset[str]:
        found = self._read_groups(self._own, variable)
        has_names = any(not GROUP_ID.fullmatch(each) for each in found)
        if has_names and is_shared_entra(self._issuer):
            raise self._own.error(
                variable,
                "must be object ids of groups with the issuers common and organizations: the "
                "administrator of any of their tenants can create a group, or assign a role, with "
                "any name.",
            )
        return found

    def _read_upstream_groups(self) -> frozenset[str]:
        """Return the groups that upstreams with this provider's tokens require, or their rules.

        MCP servers have no groups: those at the provider with which a person signs in count.
        """
        variable = UpstreamGroupVariables.allowed_groups
        return frozenset().union(
            *(self._read_groups(each, variable) for each in self._list_upstreams()),
            *(self._check_policy(*each) for each in self._list_policies()),
        )

    def _list_upstreams(self) -> Iterator[UpstreamGroupVariables]:
        for upstream in _list_restricted(self._environment):
            if self._has_groups_of(upstream):
                yield upstream

    def _list_policies(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield the upstreams with a policy file that names groups of this provider."""
        for name, groups in self._policy_groups.items():
            if groups and self._has_groups_of(UpstreamGroupVariables(self._environment, name)):
                yield name, groups

    def _has_groups_of(self, upstream: UpstreamGroupVariables) -> bool:
        return bool(upstream.mcp) or upstream.provider == self._own.name

    def _check_policy(self, name: str, groups: frozenset[str]) -> frozenset[str]:
        """Return the groups in a policy file; GitHub's have one form only."""
        for group in sorted(groups) if self._is_github else ():
            try:
                is_plain = parse_github_group(group) == group
            except ValueError:
                is_plain = False
            if not is_plain:
                raise _policy_error(name, f"{group!r} must be like acme or acme/operators.")
        return groups

    def _read_trust_email(self) -> bool:
        if not self._own.trust_email:
            return False
        variable = AdmissionVariables.trust_email
        if self._is_github:
            raise self._own.error(
                variable, "is not for GitHub, which says which addresses it has verified."
            )
        if any(map(is_shared_entra, self._addresses)):
            raise self._own.error(
                variable,
                "would let everybody in: the administrator of any tenant of Entra ID can give its "
                "users any address. Have Entra ID send the claim xms_edov instead.",
            )
        return True

    def _read_hosted_domain(self) -> str | None:
        variable = AdmissionVariables.hosted_domain
        if not is_google(self._issuer):
            self._own.reject([variable], "is only for Google: use ALLOWED_DOMAINS.")
        return self._own.hosted_domain

    def _reject_unsupported(self) -> None:
        """Reject lists of organizations, and of groups, for a provider that has none."""
        own, declared = self._own, AdmissionVariables
        if self._is_github:
            own.reject(
                [declared.groups_claim],
                "is not for GitHub, whose groups are its organizations and teams.",
            )
        else:
            own.reject(
                [declared.allowed_orgs, declared.allowed_teams],
                "is only for GitHub: use ALLOWED_GROUPS.",
            )
        if (label := self._find_provider_without_groups()) is None:
            return
        problem = f"cannot be used: {label} sends no groups. Use ALLOWED_DOMAINS or ALLOWED_EMAILS."
        own.reject(
            [
                declared.allowed_groups,
                declared.staff_groups,
                declared.superuser_groups,
                declared.groups_claim,
            ],
            problem,
        )
        self._general.reject([SignInVariables.allowed_groups], problem)
        for upstream in self._list_upstreams():
            upstream.reject([UpstreamGroupVariables.allowed_groups], problem)
        for name, _ in self._list_policies():
            raise _policy_error(name, f"groups {problem}")

    def _find_provider_without_groups(self) -> str | None:
        if is_google(self._issuer):
            return "Google"
        return "Apple" if is_apple(self._issuer) else None

    def _check_number(self, admission: Admission) -> None:
        maximum = GITHUB_MAX if self._is_github else NAMED_MAX
        if len(admission.named_groups) > maximum:
            raise ImproperlyConfigured(
                f"{self._own.prefix}…_GROUPS and the upstreams, with their rules, name more than "
                f"{maximum} groups together."
            )

    def _build_scopes(self, admission: Admission) -> tuple[str, ...]:
        if not self._is_github:
            return ()
        wanted = {
            NOT_VERIFIED_SCOPE: admission.needs_addresses,
            MEMBERS_SCOPE: bool(admission.named_groups),
        }
        return tuple(scope for scope, is_needed in wanted.items() if is_needed)


def _policy_error(name: str, problem: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"UPSTREAM_{name.upper()}_POLICY_FILE: {problem}")


def _list_restricted(environment: Mapping[str, str]) -> Iterator[UpstreamGroupVariables]:
    """Yield the upstreams with a list of groups."""
    names = {
        name
        for variable in environment
        for name, declaration in UpstreamGroupVariables.split(variable)
        if declaration is UpstreamGroupVariables.allowed_groups
    }
    for name in sorted(names):
        yield UpstreamGroupVariables(environment, name)


def _list_addresses(provider: Provider) -> tuple[str | None, ...]:
    """Return the URLs that identify a provider: its issuer, and its authorization endpoint."""
    overrides = provider.settings.get("openid_configuration_overrides") or {}
    return provider.issuer, overrides.get("authorization_endpoint")


def _has_rule(environment: Mapping[str, str], provider: Provider) -> bool:
    settings = read_rule(environment, provider).settings
    return Admission.from_settings(settings).rule.is_set
