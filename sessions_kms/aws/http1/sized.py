"""A body whose length was told. Its bytes enter as they come; what follows it is given back."""

from typing import Final

from sessions_kms.aws.http1.garbled import GarbledAnswer

BODY_MAX: Final = 4 * 1024 * 1024  # bytes: a page of 1 MB, its binary values in base64, and room


class Sized:
    """So many bytes."""

    __slots__ = ("_pieces", "left")

    def __init__(self, length: int) -> None:
        if length > BODY_MAX:
            raise GarbledAnswer("The answer is too long.")
        self.left = length
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; return what comes after the body, or None while it is not whole."""
        __traceback_hide__ = True
        left = self.left
        if len(data) < left:
            self._pieces.append(data)
            self.left -= len(data)
            return None
        self._pieces.append(data[:left])
        self.left = 0
        return data[left:]

    def content(self) -> bytes:
        """Return the body, once it is whole."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
