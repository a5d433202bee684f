"""The two ready-made people of the local OpenID provider.

Their passwords are printed at each start: the provider listens on loopback and guards
nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    username: str
    password: str
    first_name: str
    last_name: str

    @property
    def email(self) -> str:
        return f"{self.username}@example.com"


PEOPLE = (
    Person("ada", "ada", "Ada", "Lovelace"),
    Person("grace", "grace", "Grace", "Hopper"),
)
