"""How a bundle and its parts are laid out, and how large anything in them may be."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1
"""Raised when older code could not read a bundle any more."""

PART_BYTES = 16 * 2**20
"""Size that no file of a split bundle exceeds."""

ENVELOPE_BYTES = 4096
"""What a part needs beside its payload, at most."""

LEAST_PART_BYTES = 4 * ENVELOPE_BYTES
"""Below it, parts would be envelopes mostly."""

MANIFEST, PART, PAYLOAD = "manifest.json", "part.json", "payload"

MEMBER = re.compile(r"(records/[0-9a-f]{16}\.json|checkpoints/[0-9a-f]{16}\.pt)")

TABLE = re.compile(r"[a-z0-9_]{1,60}\.[a-z]{1,20}(@[^/\\\0.][^/\\\0]{0,59})?")
"""An experiment, a scale and perhaps a data set, which may be any folder of images."""

SUM = re.compile(r"[0-9a-f]{64}")

MOST_RECORD, MOST_MANIFEST = 32 * 2**20, 32 * 2**20
"""Bytes of a record and of a manifest, at most."""

MOST_RATIO = 200
"""How far records may be compressed: measurements shrink by less than 20, a zip bomb by 1,000."""


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself: who made it, which tables it is for (`<experiment>.<scale>`),
    and the SHA-256 and size of each file in it."""

    snlib: str
    engine: int
    commit: str
    tables: tuple[str, ...]
    files: dict[str, tuple[str, int]]


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def version() -> str:
    """The version of snlib, as it is installed."""
    from importlib import metadata

    try:
        return metadata.version("snlib")
    except metadata.PackageNotFoundError:
        return "unknown"
