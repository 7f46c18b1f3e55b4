"""Messages that say who they are, so that a lost, doubled, reordered, cut or mixed one is noticed."""

from __future__ import annotations

import random


def numbered(number: int, size: int = 16, sender: int = 0) -> bytes:
    """A message of at least 16 bytes that can be checked on its own."""
    head = b"%04d:%010d." % (sender, number)
    return head + random.Random(number * 1000 + sender).randbytes(max(0, size - len(head)))


def identify(message: str | bytes) -> tuple[int, int]:
    """The (sender, number) of a message; AssertionError where it is not exactly what was made."""
    assert isinstance(message, bytes)
    sender, number = int(message[:4]), int(message[5:15])
    assert message == numbered(number, len(message), sender), f"message {number} of sender {sender} is damaged"
    return sender, number


def numbers(messages: list[str | bytes]) -> list[int]:
    """The numbers of whole messages of one sender."""
    return [identify(message)[1] for message in messages]
