"""Reading bundles, each as if an enemy had made it: whole and sound, or refused by name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from snlib.bundles.layout import (
    FORMAT,
    MANIFEST,
    MEMBER,
    MOST_MANIFEST,
    MOST_RATIO,
    MOST_RECORD,
    PART,
    PAYLOAD,
    SUM,
    TABLE,
    Manifest,
    digest,
)
from snlib.errors import UserError, require
from snlib.results import ENGINE

CHUNK = 2**20


@dataclass(frozen=True)
class Unpacked:
    """A bundle whose files lie in a folder of ours, under `records/` and `checkpoints/`.

    `source` is what the reader called it: the bundle's file, or the first of its parts.
    """

    source: str
    folder: Path
    manifest: Manifest


def unpack(paths: Iterable[Path], staging: Path) -> list[Unpacked]:
    """Unpack bundles and check everything that can be checked of a file.

    Args:
        paths: bundles and parts of bundles, in any order.
        staging: an empty folder to unpack into.

    Raises:
        UserError: naming the file and what is wrong: not there, truncated, no bundle, a wrong
            checksum or size, a name or kind of file that no bundle holds, a missing part, another
            engine or format. Nothing outside `staging` was written then.
    """
    whole, parts = [], defaultdict(dict)
    for path in paths:
        require(path.exists(), f"bundle {path} does not exist.")
        with _opened(path) as archive:
            if PART in archive.namelist():
                about = _part(path, archive)
                slices = parts[about["bundle"], about["parts"]]
                slices[about["part"]] = path
            else:
                whole.append((path, path))
    for number, ((identity, count), slices) in enumerate(sorted(parts.items())):
        first = slices[min(slices)]
        lacking = sorted(set(range(1, count + 1)) - set(slices))
        require(
            not lacking,
            f"bundle {first} is split into {count} parts, of which {len(lacking)} are missing "
            f"(part {', '.join(map(str, lacking[:9]))}); name all its parts.",
        )
        joined = staging / f"joined-{number}.zip"
        _join([slices[key] for key in sorted(slices)], joined, identity)
        whole.append((first, joined))
    unpacked = []
    for number, (source, path) in enumerate(whole):
        folder = staging / str(number)
        unpacked.append(Unpacked(str(source), folder, _unpack(source, path, folder)))
    return unpacked


@contextlib.contextmanager
def _opened(path: Path, source: Path | None = None) -> Iterator[zipfile.ZipFile]:
    """The archive, whatever goes wrong with it told in one line that names it."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except UserError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
        OverflowError,
    ) as error:  # fmt: skip
        raise UserError(
            f"bundle {source or path} is damaged or truncated ({error or type(error).__name__}); "
            "copy it again."
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"bundle {source or path} cannot be read: {reason}.") from error


def _content(archive: zipfile.ZipFile, source: Path, name: str, most: int) -> bytes:
    """A small member, read whole but never beyond `most` bytes."""
    with archive.open(name) as stream:
        content = stream.read(most + 1)
    require(
        len(content) <= most, f"bundle {source} is refused: its {name} is larger than {most} bytes."
    )
    return content


def _stated(archive: zipfile.ZipFile, source: Path, name: str) -> dict:
    """The JSON object of a member."""
    content = _content(archive, source, name, MOST_MANIFEST)
    try:
        stated = json.loads(content)
    except (ValueError, RecursionError):
        stated = None
    require(isinstance(stated, dict), f"bundle {source} is damaged: its {name} is no JSON object.")
    return stated


# ------------------------------------------------------------------------------------------- parts


def _part(path: Path, archive: zipfile.ZipFile) -> dict:
    about = _stated(archive, path, PART)
    _check_members(path, archive, {PART, PAYLOAD}, compressed=False)
    numbers = [about.get(key) for key in ("part", "parts", "bytes")]
    sound = all(isinstance(number, int) and 0 < number < 2**40 for number in numbers)
    sound = sound and about["part"] <= about["parts"] < 100_000
    sums = [about.get("bundle"), about.get("sha256")]
    sound = sound and all(isinstance(entry, str) and SUM.fullmatch(entry) for entry in sums)
    require(sound, f"bundle {path} is damaged: its {PART} lacks what a part says of itself.")
    return about


def _join(paths: list[Path], target: Path, identity: str) -> None:
    """Put the slices of a bundle together again, each checked by its own checksum."""
    with open(target, "wb") as stream:
        for path in paths:
            with _opened(path) as archive:
                about = _part(path, archive)
                _copy(path, archive, PAYLOAD, stream, (about["sha256"], about["bytes"]))
    require(
        digest(target) == identity,
        f"bundle {paths[0]} is damaged: its {len(paths)} parts together have another checksum than "
        "each of them says.",
    )


# ------------------------------------------------------------------------------------ whole bundles


def _unpack(source: Path, path: Path, folder: Path) -> Manifest:
    with _opened(path, source) as archive:
        require(
            MANIFEST in archive.namelist(),
            f"{source} is no bundle: it has no {MANIFEST}. Bundles are made by python -m snlib run "
            "... --bundle FILE.",
        )
        manifest = _manifest(source, _stated(archive, source, MANIFEST))
        _check_members(source, archive, {MANIFEST, *manifest.files})
        for name, about in manifest.files.items():
            target = folder / name  # a name that MEMBER allows: two levels, no dots, no links
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as stream:
                _copy(source, archive, name, stream, about)
    return manifest


def _manifest(source: Path, stated: dict) -> Manifest:
    try:
        found, engine = int(stated["format"]), int(stated["engine"])
        made_by, commit = str(stated["snlib"])[:80], str(stated["commit"])[:80]
        entries = {
            str(name): (str(about["sha256"]), int(about["bytes"]))
            for name, about in stated["files"].items()
        }
        named = tuple(str(name) for name in stated["tables"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"bundle {source} is damaged: its {MANIFEST} lacks what a bundle says of itself."
        ) from None
    maker = f"snlib {made_by}, commit {commit}"
    require(
        found == FORMAT,
        f"bundle {source} has format {found}, this code reads {FORMAT}; it was made by {maker}.",
    )
    require(
        engine == ENGINE,
        f"bundle {source} was made by engine {engine} ({maker}), here is engine {ENGINE}: its "
        "numbers are not those that this code would give. Merge it there, or compute it again.",
    )
    for name, (checksum, size) in entries.items():
        require(
            MEMBER.fullmatch(name) is not None,
            f"bundle {source} is refused: it holds {name!r}, which is neither "
            "records/<name>.json nor checkpoints/<name>.pt.",
        )
        most = MOST_RECORD if name.startswith("records/") else 2**40
        require(
            SUM.fullmatch(checksum) is not None and 0 <= size <= most,
            f"bundle {source} is refused: {name} is said to have {size} bytes.",
        )
    for name in named:
        require(
            TABLE.fullmatch(name) is not None,
            f"bundle {source} is refused: {name[:80]!r} is no name of a table.",
        )
    return Manifest(made_by, engine, commit, named, entries)


def _check_members(
    source: Path, archive: zipfile.ZipFile, expected: set[str], *, compressed: bool = True
) -> None:
    """The archive holds the expected plain files, each once, and swells no more than records do."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    strange = sorted(set(names) - expected)
    require(not strange, f"bundle {source} is refused: it holds {strange[:1]}, not in its list.")
    lacking = sorted(expected - set(names))
    require(not lacking, f"bundle {source} is damaged: {lacking[:1]} of its list is missing.")
    require(len(names) == len(set(names)), f"bundle {source} is refused: it holds a name twice.")
    for entry in entries:
        mode = entry.external_attr >> 16
        require(
            stat.S_IFMT(mode) in (0, stat.S_IFREG) and not entry.is_dir(),
            f"bundle {source} is refused: {entry.filename} is no plain file, but a link or a "
            "device.",
        )
        require(
            not entry.flag_bits & 1, f"bundle {source} is refused: {entry.filename} is encrypted."
        )
        small = entry.filename == MANIFEST or entry.filename.startswith("records/")
        methods = {zipfile.ZIP_STORED} | ({zipfile.ZIP_DEFLATED} if compressed and small else set())
        require(
            entry.compress_type in methods,
            f"bundle {source} is refused: {entry.filename} is compressed in a way that bundles "
            "are not.",
        )
    packed = sum(entry.compress_size for entry in entries)
    swollen = sum(entry.file_size for entry in entries)
    size = Path(archive.filename).stat().st_size
    require(
        packed <= size and swollen <= MOST_RATIO * size,
        f"bundle {source} is refused: its {size} bytes would become {swollen}.",
    )


def _copy(
    source: Path, archive: zipfile.ZipFile, name: str, target, about: tuple[str, int]
) -> None:
    """Copy a member out, never more than its declared size, and compare its checksum."""
    checksum, size = about
    summed, count = hashlib.sha256(), 0
    with archive.open(name) as stream:
        while chunk := stream.read(CHUNK):
            count += len(chunk)
            if count > size:
                break
            summed.update(chunk)
            target.write(chunk)
    require(
        count == size and summed.hexdigest() == checksum,
        f"bundle {source} is damaged: {name} has another checksum or size than its list says; copy "
        "the bundle again.",
    )
