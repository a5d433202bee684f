"""The local stack's OpenID provider, a second, small Django site, and its two people.

Their passwords are printed at each start: the provider listens on loopback and protects nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    subject: int  # the claim `sub`, which is the primary key there
    username: str
    password: str
    first_name: str
    last_name: str
    is_staff: bool = False  # in the gateway

    @property
    def email(self) -> str:
        return f"{self.username}@example.com"


PEOPLE = (
    Person(1, "ada", "ada", "Ada", "Lovelace", is_staff=True),
    Person(2, "grace", "grace", "Grace", "Hopper"),
)
