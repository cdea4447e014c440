"""Writing bundles: whole, or cut into parts that are small enough to carry."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import stat
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path

from snlib import files
from snlib.bundles.layout import (
    ENVELOPE_BYTES,
    FORMAT,
    LEAST_PART_BYTES,
    MANIFEST,
    PART,
    PAYLOAD,
    digest,
    version,
)
from snlib.errors import UserError, require
from snlib.results import ENGINE, Store, read_record


def write(
    path: Path,
    where: Store,
    names: Iterable[str],
    *,
    tables: Iterable[str] = (),
    checkpoints: bool = True,
    commit: str = "unknown",
    part_bytes: int | None = None,
) -> list[Path]:
    """Put the records of these runs, and the checkpoints of unfinished ones, into a bundle.

    A damaged record would have the whole bundle refused; it is left out, with a warning.

    Args:
        path: the file to write, which takes the place of an older bundle.
        where: the store.
        names: of runs; those without record and checkpoint are left out.
        tables: those to write where it is merged, as `<experiment>.<scale>`.
        checkpoints: whether checkpoints travel too.
        commit: of the code, for the manifest.
        part_bytes: if given, no file is larger: a larger bundle is cut into `<stem>.1of3<suffix>`
            and so on.

    Returns:
        The files written; none if there was nothing to carry.

    Raises:
        UserError: if a file cannot be written or is there and no bundle, or `part_bytes` is too
            small.
    """
    if part_bytes is not None:
        require(
            part_bytes >= LEAST_PART_BYTES,
            f"part_bytes is {part_bytes}; it must be at least {LEAST_PART_BYTES}.",
        )
    require(
        not path.exists() or _is_bundle(path),
        f"{path} is there and is no bundle; name another file.",
    )
    members = _members(where, names, checkpoints)
    if not members:
        return []
    try:
        files.sweep(path)
        with files.written_atomically(path) as temporary:
            _pack(temporary, members, commit, sorted(tables))
        written = [path]
        if part_bytes is not None and path.stat().st_size > part_bytes:
            written = _split(path, part_bytes)
            path.unlink()
        for old in _parts_beside(path):
            if old not in written:
                old.unlink()
    except OSError as error:
        raise UserError(f"bundle {path} cannot be written: {error.strerror or error}.") from error
    return written


def _members(where: Store, names: Iterable[str], checkpoints: bool) -> dict[str, bytes]:
    """The files of a bundle by their names in it, each read once: others may replace them."""
    members: dict[str, bytes] = {}
    for name in sorted(set(names)):
        record, checkpoint = where.record_path(name), where.checkpoint_path(name)
        if record.exists():
            content = record.read_bytes()
            try:
                read_record(content, name, remedy="Compute it again.")
                members[f"records/{name}.json"] = content
            except UserError as error:
                warnings.warn(f"left out of the bundle: {error}", stacklevel=3)
        # Beside a record too: of a run that is trained again for more measurements.
        if checkpoints and checkpoint.exists():
            members[f"checkpoints/{name}.pt"] = checkpoint.read_bytes()
    return members


def _is_bundle(path: Path) -> bool:
    """Whether a file is a bundle, or a part of one, whatever is in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool({MANIFEST, PART} & set(archive.namelist()))
    except (OSError, zipfile.BadZipFile):
        return False


def _pack(path: Path, members: dict[str, bytes], commit: str, tables: list[str]) -> None:
    manifest = {
        "format": FORMAT,
        "snlib": version(),
        "engine": ENGINE,
        "commit": commit,
        "tables": tables,
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in members.items()
        },
    }
    with zipfile.ZipFile(path, "w") as archive:
        _add(archive, MANIFEST, json.dumps(manifest, indent=1).encode(), zipfile.ZIP_DEFLATED)
        for name, content in members.items():
            # Weights don't shrink; stored as they are, they can't swell either.
            record = name.startswith("records/")
            _add(archive, name, content, zipfile.ZIP_DEFLATED if record else zipfile.ZIP_STORED)


def _add(archive: zipfile.ZipFile, name: str, content: bytes, method: int) -> None:
    info = zipfile.ZipInfo(name)  # dated 1980, so that the same content gives the same bytes
    info.compress_type = method
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    archive.writestr(info, content)


def _split(path: Path, part_bytes: int) -> list[Path]:
    identity, step = digest(path), part_bytes - ENVELOPE_BYTES
    count = math.ceil(path.stat().st_size / step)
    parts = [path.with_name(f"{path.stem}.{k}of{count}{path.suffix}") for k in range(1, count + 1)]
    with open(path, "rb") as stream:
        for number, part in enumerate(parts, 1):
            payload = stream.read(step)
            about = {"bundle": identity, "part": number, "parts": count}
            about |= {"sha256": hashlib.sha256(payload).hexdigest(), "bytes": len(payload)}
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                _add(archive, PART, json.dumps(about).encode(), zipfile.ZIP_STORED)
                _add(archive, PAYLOAD, payload, zipfile.ZIP_STORED)
            files.write_atomically(part, buffer.getvalue())
    return parts


def _parts_beside(path: Path) -> list[Path]:
    pattern = re.compile(re.escape(path.stem) + r"\.\d+of\d+" + re.escape(path.suffix))
    return [other for other in path.parent.glob("*") if pattern.fullmatch(other.name)]
