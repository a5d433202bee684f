"""The access rule, compared with an independent implementation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oauth.access_rule import (
    Admission,
    Evidence,
    Refusal,
    Rule,
    find_refusal,
    parse_address,
    parse_domain_entry,
    parse_github_group,
)
from oauth.admission.claims import Claims, read_evidence, read_groups
from tests.support.cases import each_case

ENTRA = "https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0"
OTHER = "https://login.example.com"

# Few, so that many of them meet.
hosts = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3).map(".".join)
entries = st.one_of(hosts, hosts.map(lambda host: f".{host}"), st.just("*"))
mails = st.builds(lambda name, host: f"{name}@{host}", st.sampled_from(["ada", "bob"]), hosts)
names = st.sampled_from(["staff", "dev", "ops"])


def a_set(of: st.SearchStrategy[str]) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.frozensets(of, min_size=1, max_size=3)


rules = st.builds(
    Rule,
    domains=a_set(entries),
    emails=a_set(mails),
    groups=a_set(names),
    hosted_domain=st.none() | hosts,
)
tellings = st.builds(
    Evidence,
    addresses=st.frozensets(mails, max_size=3),
    groups=st.frozensets(names, max_size=3),
    hosted_domain=st.none() | hosts,
)


def admits(rule: Rule, evidence: Evidence) -> bool:
    """Decide as the documentation says it, slowly."""
    if rule.hosted_domain is not None and evidence.hosted_domain != rule.hosted_domain:
        return False
    if rule.groups is not None and not any(group in rule.groups for group in evidence.groups):
        return False
    neither = rule.domains is None and rule.emails is None
    if neither or (rule.domains is not None and "*" in rule.domains):
        return True
    for mail in evidence.addresses:
        host = mail.split("@")[1]
        by_domain = [
            host == entry or (entry.startswith(".") and host.endswith(entry))
            for entry in rule.domains or ()
        ]
        if mail in (rule.emails or ()) or any(by_domain):
            return True
    return False


@pytest.mark.slow
@settings(max_examples=500)
@given(rules, tellings)
def test_decision_is_the_one_of_the_rules_text(rule: Rule, evidence: Evidence) -> None:
    assert (find_refusal(rule, evidence) is None) == admits(rule, evidence)


@given(rules, tellings, mails, names)
def test_less_evidence_never_admits_somebody(
    rule: Rule, evidence: Evidence, mail: str, group: str
) -> None:
    if find_refusal(rule, evidence) is not None:
        less = Evidence(
            addresses=evidence.addresses - {mail},
            groups=evidence.groups - {group},
            hosted_domain=evidence.hosted_domain,
        )
        assert find_refusal(rule, less) is not None


@given(st.text(max_size=40), st.text(max_size=40))
def test_address_normalization_is_idempotent_and_changes_only_ascii_case(
    local: str, host: str
) -> None:
    try:
        normal = parse_address(f"{local}@{host}")
    except ValueError:
        return
    assert parse_address(normal) == normal
    assert normal.partition("@")[2].isascii()
    for old, new in zip(local, normal.partition("@")[0], strict=True):
        assert new == (old.lower() if old.isascii() else old)


@pytest.mark.parametrize(
    ("evidence", "listed"),
    [
        ("Ada@EXAMPLE.com", "example.com"),
        ("ada@bücher.example", "xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "bücher.example"),
    ],
)
def test_addresses_and_domains_meet_in_one_form(evidence: str, listed: str) -> None:
    rule = Rule(domains=frozenset({parse_domain_entry(listed)}))
    assert find_refusal(rule, Evidence(addresses=frozenset({parse_address(evidence)}))) is None


@each_case(
    "evidence",
    [
        "ada@example.com.",
        "ada@example\u3002com",  # a dot of another script
        "ada@e\u212aample.com",  # the sign for kelvin, which lower() makes a k
        "ada@example.com@evil.example",
        '"ada@evil.example"@example.com',
        "ada\n@example.com",
        "ada @example.com",
        "@example.com",
        "example.com",
        "ada@",
        "ada@example..com",
        "a" * 400 + "@example.com",
    ],
)
def test_text_other_than_a_plain_address_is_rejected(evidence: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_address(evidence)


def evidence_of(
    id_token: dict[str, object], userinfo: dict[str, object], issuer: str = OTHER, **more: object
) -> Evidence:
    settings = Admission.from_settings(more)
    return read_evidence(Claims(id_token=id_token, userinfo=userinfo), settings, issuer)


ADA = "ada@example.com"


@each_case(
    ("claims", "issuer", "more", "counts"),
    [
        ({"email_verified": True}, OTHER, {}, True),
        ({"email_verified": "true"}, OTHER, {}, True),
        ({"email_verified": False}, OTHER, {}, False),
        ({"email_verified": 1}, OTHER, {}, False),
        ({"email_verified": "false"}, OTHER, {}, False),
        ({}, OTHER, {}, False),
        ({"xms_edov": True}, OTHER, {}, False),
        ({"email_verified": False}, OTHER, {"trust_email": True}, True),
        ({"email_verified": True}, ENTRA, {}, False),
        ({"xms_edov": True}, ENTRA, {}, True),
        ({"xms_edov": 1}, ENTRA, {}, True),
        ({"xms_edov": "1"}, ENTRA, {}, True),
        ({"xms_edov": False}, ENTRA, {}, False),
        ({"xms_edov": [True]}, ENTRA, {}, False),
    ],
)
def test_address_counts_only_if_verified_by_its_provider(
    claims: dict[str, object], issuer: str, more: dict[str, object], counts: bool
) -> None:
    evidence = evidence_of({"email": ADA, **claims}, {}, issuer, **more)
    assert evidence.addresses == (frozenset({ADA}) if counts else frozenset())
    assert evidence.no_address is Refusal.NOT_VERIFIED


def test_verification_of_one_document_says_nothing_of_the_others_address() -> None:
    evidence = evidence_of({"email": "boss@example.com"}, {"email": ADA, "email_verified": True})
    assert evidence.addresses == {ADA}
    evidence = evidence_of({"email_verified": True}, {"email": "boss@example.com"})
    assert evidence.addresses == frozenset()


@each_case(
    ("claims", "name", "found"),
    [
        ({"groups": ["a", 7, "b"]}, "groups", {"a", "b"}),
        ({"groups": "a"}, "groups", {"a"}),
        ({"groups": []}, "groups", set()),
        ({"groups": {"a": 1}}, "groups", None),
        ({"groups": None}, "groups", None),
        ({}, "groups", None),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", {"a"}),
        ({"https://example.com/roles": ["a"]}, "https://example.com/roles", {"a"}),
        ({"a.b": ["exact"], "a": {"b": ["path"]}}, "a.b", {"exact"}),
        ({"realm_access": ["roles"]}, "realm_access.roles", None),
    ],
)
def test_groups_are_read_by_the_exact_name_first(
    claims: dict[str, object], name: str, found: set[str] | None
) -> None:
    assert read_groups(claims, name) == found


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, Refusal.NO_GROUPS),
        ({"groups": ["b"]}, Refusal.GROUP),
        ({"_claim_names": {"groups": "src1"}, "_claim_sources": {}}, Refusal.OVERAGE),
        ({"hasgroups": True}, Refusal.OVERAGE),
        ({"_claim_names": {"address": "src1"}}, Refusal.NO_GROUPS),
    ],
)
def test_refusal_explains_why_a_group_is_missing(
    claims: dict[str, object], reason: Refusal
) -> None:
    evidence = evidence_of(claims, {})
    assert find_refusal(Rule(groups=frozenset({"a"})), evidence) is reason


@each_case("text", ["acme/dev/x", "", "acme/", "/dev", "acme dev", "ac\u212ame", "..", "a?b"])
def test_what_is_no_organisation_and_no_team_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an organisation"):
        parse_github_group(text)
