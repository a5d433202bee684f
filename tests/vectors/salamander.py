"""One AES-GCM ciphertext that two keys open: why a record has a commitment.

Takes two keys, gives a ciphertext and the tag that both accept (Dodis, Grubbs,
Ristenpart and Woodage, "Fast Message Franking", CRYPTO 2018).
"""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

BLOCK = 16


def salamander(
    keys: tuple[bytes, bytes], iv: bytes, ciphertext: bytes, associated: bytes
) -> tuple[bytes, bytes]:
    """Lengthen a ciphertext of whole blocks by one block, so that one tag is right for both keys.

    A tag is GHASH ^ E(J0). The last block enters GHASH multiplied by H squared, so
    the block is what makes up for the difference of all the rest.
    """
    assert len(ciphertext) % BLOCK == 0
    first, second = (_tag(key, iv, ciphertext + bytes(BLOCK), associated) for key in keys)
    squares = [_times(h, h) for h in map(_hash_key, keys)]
    last = _times(first ^ second, _inverse(squares[0] ^ squares[1]))
    whole = ciphertext + _bytes(last)
    return whole, _bytes(_tag(keys[0], iv, whole, associated))


def _tag(key: bytes, iv: bytes, ciphertext: bytes, associated: bytes) -> int:
    lengths = b"".join((8 * len(part)).to_bytes(8, "big") for part in (associated, ciphertext))
    hashed, hash_key = 0, _hash_key(key)
    data = _pad(associated) + _pad(ciphertext) + lengths
    for start in range(0, len(data), BLOCK):
        hashed = _times(hashed ^ int.from_bytes(data[start : start + BLOCK], "big"), hash_key)
    return hashed ^ _encrypt(key, iv + b"\0\0\0\x01")


def _hash_key(key: bytes) -> int:
    return _encrypt(key, bytes(BLOCK))


def _encrypt(key: bytes, block: bytes) -> int:
    # One block at a time is what GCM itself is built of.
    return int.from_bytes(Cipher(AES(key), ECB()).encryptor().update(block), "big")  # noqa: S305


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _bytes(element: int) -> bytes:
    return element.to_bytes(BLOCK, "big")


def _times(x: int, y: int) -> int:
    """Multiply in GF(2^128) as GCM writes it: the first bit is the lowest power."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def _inverse(x: int) -> int:
    """Return x to the power of 2^128 - 2."""
    inverse, power = 1 << 127, x
    for _ in range(127):
        power = _times(power, power)
        inverse = _times(inverse, power)
    return inverse
