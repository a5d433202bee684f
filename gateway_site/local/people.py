"""The two ready-made people of the local OpenID provider.

Their passwords are printed at each start: the provider listens on loopback and guards
nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    subject: int  # the claim `sub`, which is the primary key there
    username: str
    password: str
    first_name: str
    last_name: str
    staff: bool = False  # of the gateway

    @property
    def email(self) -> str:
        return f"{self.username}@example.com"


PEOPLE = (
    Person(1, "ada", "ada", "Ada", "Lovelace", staff=True),
    Person(2, "grace", "grace", "Grace", "Hopper"),
)
