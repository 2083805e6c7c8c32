"""Damage to the bytes of a file, drawn from a seed: what a disk, a copy or an editor may do."""

import random
from collections.abc import Iterator


def mutations(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` damaged forms of `content`, each different from it."""
    rng = random.Random(seed)
    made = 0
    while made < count:
        damaged = rng.choice(KINDS)(bytearray(content), rng)
        if damaged != content:
            made += 1
            yield bytes(damaged)


def flipped(content: bytearray, rng: random.Random) -> bytearray:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def another_digit(content: bytearray, rng: random.Random) -> bytearray:
    places = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    if places:
        content[rng.choice(places)] = ord(rng.choice("0123456789"))
    return content


def truncated(content: bytearray, rng: random.Random) -> bytearray:
    return content[: rng.randrange(len(content))]


def shortened(content: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(content))
    del content[start : start + rng.randrange(1, 40)]
    return content


def repeated(content: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(content))
    content[start:start] = content[start : start + rng.randrange(1, 40)]
    return content


def overwritten(content: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(content))
    span = content[start : start + rng.randrange(1, 40)]
    content[start : start + len(span)] = rng.randbytes(len(span))
    return content


def other_word(content: bytearray, rng: random.Random) -> bytearray:
    """One word of JSON in place of another."""
    words = (
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b"-1",
        b"1e999",
        b"NaN",
        b'"\\ud800"',
        b"[" * 5000,
    )
    start = rng.randrange(len(content))
    end = start
    while end < len(content) and content[end] not in b",:[]{}\n":
        end += 1
    content[start:end] = rng.choice(words)
    return content


KINDS = (flipped, another_digit, truncated, shortened, repeated, overwritten, other_word)
