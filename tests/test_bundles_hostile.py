"""Bundles that an enemy made, and damaged ones: refused by name, nothing unpacked elsewhere."""

from __future__ import annotations

import json
import random
import stat
import struct
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from test_bundles import bundle, files_of, store, unpacked

from snlib.bundles import layout
from snlib.errors import UserError
from snlib.results import ENGINE

__all__ = ["bundle", "store"]  # fixtures


def craft(path: Path, members: list, **changes) -> Path:
    """A bundle made by hand.

    Args:
        members: (name or ZipInfo, content, whether its list names it).
        changes: what its manifest says otherwise.
    """
    names = [getattr(name, "filename", name) for name, _, _ in members]
    listed = {
        name: {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
        for name, (_, content, known) in zip(names, members, strict=True)
        if known
    }
    manifest = {"format": 1, "snlib": "0", "engine": ENGINE, "commit": "abc", "tables": []}
    manifest |= {"files": listed} | changes
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(layout.MANIFEST, json.dumps(manifest))
        for name, content, _ in members:
            archive.writestr(name, content)
    return path


RECORD = f"records/{'0' * 16}.json"


def info(name: str, **attributes) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    for key, value in attributes.items():
        setattr(entry, key, value)
    return entry


ELSEWHERE = [
    "../evil.json",
    "/tmp/evil.json",
    "records/../../evil.json",
    "records/../" + "0" * 16 + ".json",
    "C:\\evil.json",
    "records\\" + "0" * 16 + ".json",
    "records/" + "0" * 16 + ".json\n",
    "records/" + "0" * 16 + ".pt",
    "records/" + "G" * 16 + ".json",
    "snlib/__init__.py",
    "",
]


@pytest.mark.parametrize("name", ELSEWHERE, ids=repr)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    path = craft(tmp_path / "a.zip", [(name or "x", b"{}", False)], files={
        name: {"sha256": "0" * 64, "bytes": 2}
    })  # fmt: skip
    with pytest.raises(UserError, match=r"a\.zip is refused: it holds"):
        unpacked([path], tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == [path, tmp_path / "out"]


BOMB = bytes(50_000_000)


def stated(checksum: str = "0" * 64, size: int = 2) -> dict:
    """A manifest's list with one record, of this checksum and size."""
    return {"files": {RECORD: {"sha256": checksum, "bytes": size}}}


def special(kind: int) -> zipfile.ZipInfo:
    """A member that is no plain file."""
    return info(RECORD, external_attr=(kind | 0o777) << 16)


CHECKPOINT = f"checkpoints/{'0' * 16}.pt"
DEFLATED, BZIP2 = {"compress_type": zipfile.ZIP_DEFLATED}, {"compress_type": zipfile.ZIP_BZIP2}
BOMB = bytes(20_000_000)
UNLISTED, EMPTY = [(RECORD, b"{}", False)], []
REFUSED = {
    "a file beside its list": ([(RECORD, b"{}", True), ("evil.py", b"1", False)], {}, "refused"),
    "a file of its list lacking": (EMPTY, stated(), "missing"),
    "a wrong checksum": (UNLISTED, stated(), "another checksum or size"),
    "a wrong size": (UNLISTED, stated(sha256(b"{}").hexdigest(), 3), "another checksum or size"),
    "no checksum": (UNLISTED, stated("0"), "refused"),
    "a size below 0": (UNLISTED, stated(size=-1), "said to have -1 bytes"),
    "a record too large": (UNLISTED, stated(size=2**40), "said to have 1099511627776 bytes"),
    "a link": ([(special(stat.S_IFLNK), b"/etc/passwd", True)], {}, "a link"),
    "a device": ([(special(stat.S_IFCHR), b"", True)], {}, "a device"),
    "a compressed checkpoint": ([(info(CHECKPOINT, **DEFLATED), BOMB, True)], {}, "compressed in"),
    "a zip bomb": ([(info(RECORD, **DEFLATED), BOMB, True)], {}, "would become 20000"),
    "bzip2": ([(info(RECORD, **BZIP2), b"{}", True)], {}, "compressed in"),
    "another format": (EMPTY, {"format": 2}, "has format 2, this code reads 1"),
    "another engine": (EMPTY, {"engine": ENGINE + 1}, f"made by engine {ENGINE + 1} .*is engine"),
    "no engine": (EMPTY, {"engine": None}, "lacks what a bundle says"),
    "a list for a table": (EMPTY, {"files": []}, "lacks what a bundle says"),
    "a table elsewhere": (EMPTY, {"tables": ["../gap.quick"]}, "no name of a table"),
}


@pytest.mark.parametrize(("members", "changes", "message"), REFUSED.values(), ids=REFUSED)
def test_a_hostile_bundle_is_refused_by_name(tmp_path, members, changes, message):
    path = craft(tmp_path / "a.zip", members, **changes)
    with pytest.raises(UserError, match=rf"bundle .*a\.zip .*({message})") as refused:
        unpacked([path], tmp_path / "out")
    assert "\n" not in str(refused.value)


def test_a_member_that_is_larger_than_it_says_is_not_unpacked(tmp_path):
    """The size in the archive's directory is patched: 5 MB of zeros pretend to be two bytes."""
    path = craft(
        tmp_path / "a.zip",
        [(info(RECORD, compress_type=zipfile.ZIP_DEFLATED), bytes(5_000_000), False)],
        files={RECORD: {"sha256": "0" * 64, "bytes": 2}},
    )
    content = path.read_bytes()
    assert content.count(struct.pack("<I", 5_000_000)) == 2  # local header and directory
    path.write_bytes(content.replace(struct.pack("<I", 5_000_000), struct.pack("<I", 2)))
    with pytest.raises(UserError, match=r"a\.zip is damaged"):
        unpacked([path], tmp_path / "out")
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*.json")) <= 2


def test_a_name_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = craft(tmp_path / "a.zip", [(RECORD, b"{}", True), (RECORD, b"[]", True)])
    with pytest.raises(UserError, match="holds a name twice"):
        unpacked([path], tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(100), b'{"a": 1}'])
def test_what_is_no_bundle_is_named(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bundle .*a\.zip is damaged or truncated .*copy it again"):
        unpacked([path], tmp_path / "out")


def test_a_zip_without_a_manifest_and_a_file_that_is_absent(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=r"a\.zip is no bundle: it has no manifest\.json"):
        unpacked([tmp_path / "a.zip"], tmp_path / "out")
    with pytest.raises(UserError, match=r"b\.zip does not exist"):
        unpacked([tmp_path / "b.zip"], tmp_path / "other")


def test_a_truncated_bundle_is_refused_wherever_it_ends(bundle, tmp_path):
    content = bundle.read_bytes()
    for turn, length in enumerate(range(0, len(content), len(content) // 30)):
        bundle.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"a\.zip is damaged or truncated"):
            unpacked([bundle], tmp_path / str(turn))


def test_a_flipped_bit_is_refused_or_without_effect(store, bundle, tmp_path):
    """Most bits count; a few are dates and the like, which nothing is read from."""
    content, chance, refused = bundle.read_bytes(), random.Random(0), 0
    directory = content.index(b"PK\x01\x02")
    places = [chance.randrange(len(content)) for _ in range(60)]
    places += [chance.randrange(directory, len(content)) for _ in range(120)]
    for turn, place in enumerate(places):
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        bundle.write_bytes(damaged)
        try:
            found = unpacked([bundle], tmp_path / str(turn))
        except UserError as error:
            assert "a.zip" in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert found == files_of(store)
    assert refused > len(places) / 2
