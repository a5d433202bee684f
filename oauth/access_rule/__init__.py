"""Who may sign in: the rule, and the decision by what a provider told. Pure, without Django."""

from oauth.access_rule.addresses import address, domain
from oauth.access_rule.issuers import GROUP_ID, is_apple, is_google, is_open, is_shared_entra
from oauth.access_rule.rule import Admission, domain_entry, github_group

__all__ = [
    "GROUP_ID",
    "Admission",
    "address",
    "domain",
    "domain_entry",
    "github_group",
    "is_apple",
    "is_google",
    "is_open",
    "is_shared_entra",
]
