"""Messages as applications send them: JSON of a given size, different each time, always the same in each run."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

WORDS = (  # noqa: SIM905
    "about after again also because before change city contact could data delivery early every field first found "
    "group however include invoice large later level message might never notice number order other people place "
    "point price quality question reply result second should since small status still street system their there "
    "thing time today under until update value version which without world would year"
).split()
LEAST = 131072
"""How long the messages of a file are altogether, at least: none repeats within the window of 32 KiB."""


def record(random: Random) -> dict[str, object]:
    return {
        "id": random.randrange(10**9),
        "type": random.choice(["order", "quote", "chat", "status"]),
        "time": f"2026-{random.randint(1, 12):02}-{random.randint(1, 28):02}T{random.randrange(24):02}:"
        f"{random.randrange(60):02}:{random.randrange(60):02}.{random.randrange(1000):03}Z",
        "user": {"name": random.choice(WORDS).title(), "id": f"{random.getrandbits(64):016x}"},
        "price": round(random.uniform(1, 1000), 2),
        "tags": random.sample(WORDS, 3),
        "text": " ".join(random.choices(WORDS, k=random.randint(4, 20))),
        "read": random.random() < 0.5,
    }


def message(random: Random, size: int) -> str:
    """A JSON text of exactly this size: as many records as fit, and a note that fills what is left."""
    head, tail = '{"records":[', '],"note":"%s"}'
    room = size - len(head) - len(tail % "")
    records: list[str] = []
    while len(text := json.dumps(record(random), separators=(",", ":"))) + 1 <= room:
        records.append(text)
        room -= len(text) + (len(records) > 1)
    note = " ".join(random.choices(WORDS, k=room // 3 + 1))[:room].ljust(room)
    return head + ",".join(records) + tail % note


def write(path: Path, size: int) -> None:
    """Write a file with a message on each line."""
    random = Random(size)
    count = max(16, LEAST // size)
    path.write_text("".join(message(random, size) + "\n" for _ in range(count)))
