"""The vectors of documents: items that a fleet shares, decrypted with KMS and without a cookie."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.sessions_kms.support import reference_format as ref
from tests.vectors import case

FOLDER = "documents"
NAME = "pin/wiki"
CONTENT = '{"issuer": "https://wiki.example"}'
LONGEST = '{"padding": "' + 65_521 * "x" + '"}'
STAMP = case.fixed_bytes("stamp of a document", 16)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One vector; without content nobody can tell what the document is, unless it has ended."""

    description: str
    item: case.Item
    content: str | None = None
    has_ended: bool = False
    kms: tuple[case.Wrapped, ...] = (case.Wrapped(),)

    def to_text(self) -> str:
        """Return the content of the vector's file."""
        if self.content is None:
            expected = {"outcome": "none" if self.has_ended else "cannot tell"}
        else:
            expected = {"outcome": "document", "content": self.content}
        return case.vector_text(self.description, self.item, self.kms, expected, name=NAME)


def seal(
    content: str = CONTENT,
    *,
    name: str = NAME,
    secret: str | None = None,
    data_key: bytes = case.DATA_KEY,
    **changes: Any,
) -> case.Item:
    """Return a whole item."""
    item_id = ref.document_id(case.NAMESPACE, name)
    item = ref.seal(
        content.encode(),
        case.header(owner=None, revision=1) | {"id": {"S": item_id}} | changes,
        namespace=case.NAMESPACE,
        session_key=item_id if secret is None else secret,
        data_key=data_key,
        iv=case.IV,
    )
    return item | {"stamp": {"B": STAMP}}


def cases() -> Iterator[tuple[str, Case]]:
    """Yield each vector with its name."""
    yield "document", Case(description="A small document.", item=seal(), content=CONTENT)
    nothing = Case(description="The smallest one.", item=seal("{}"), content="{}")
    yield "without_members", nothing
    past = seal(ttl={"N": str(case.NOW - 1)})
    yield "over", Case(description="Its `ttl` is over, but it exists.", item=past, content=CONTENT)
    yield (
        "longest",
        Case(description="As long as it may be.", item=seal(LONGEST), content=LONGEST),
    )
    yield "not_json", Case(description="Any bytes.", item=seal("{"), content="{")
    yield from _ages()
    for name, description, item in _bad():
        yield name, Case(description=description, item=item)


def _ages() -> Iterator[tuple[str, Case]]:
    """Yield documents that were written 400 days ago."""
    for name, updated, content in (
        ("400_days_old_in_one_second", case.NOW - case.LONGEST_AGE + 1, CONTENT),
        ("400_days_old", case.NOW - case.LONGEST_AGE, None),
    ):
        item = seal(**case.times(updated, updated), ttl={"N": str(case.NOW + case.LONGEST_AGE)})
        made = Case(
            description="Its `ttl` is ahead, but the last write was 400 days ago.",
            item=item,
            content=content,
            has_ended=content is None,
            kms=case.wrapped_keys_at(updated),
        )
        yield name, made
    old = case.times(case.NOW - case.LONGEST_AGE, case.NOW - case.LONGEST_AGE)
    yield (
        "400_days_old_and_unreadable",
        Case(
            description="An old one is missing, also if nobody can decrypt it.",
            item=seal(data_key=case.OTHER_DATA_KEY, **old),
            has_ended=True,
            kms=(),
        ),
    )


def _bad() -> Iterator[tuple[str, str, case.Item]]:
    this_id = {"id": {"S": ref.document_id(case.NAMESPACE, NAME)}}
    ahead = {"N": str(case.NOW + 301)}
    yield "flipped", "Changed bytes.", case.flip_data(seal())
    yield "too_long", "A byte too long.", seal(LONGEST + " ")
    yield "version_2", "Another format.", seal(version={"N": "2"})
    yield "longer", "Its end was moved.", seal() | {"ttl": {"N": str(case.NOW + 10**9)}}
    yield "stamp_of_15_bytes", "A stamp cut short.", seal() | {"stamp": {"B": STAMP[:15]}}
    yield "data_key_other", "Sealed under another data key.", seal(data_key=case.OTHER_DATA_KEY)
    yield "secret_of_a_session", "Sealed under a cookie.", seal(secret=case.SESSION_KEY)
    yield "copied", "Another document, copied under this one's id.", seal(name="pin/x") | this_id
    yield "updated_in_future", "Of a time to come.", seal(updatedAt=ahead)
