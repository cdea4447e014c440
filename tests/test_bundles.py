"""Bundles: what is put in comes out, and nothing that an enemy made is unpacked."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest
from test_results import record_of

from snlib import bundles
from snlib.bundles import layout
from snlib.errors import UserError
from snlib.results import ENGINE, Store, save_record
from snlib.runs import Run

RUNS = [Run(seed=seed) for seed in range(6)]


@pytest.fixture
def store(tmp_path) -> Store:
    """Four records and one checkpoint; of the last run there is nothing."""
    store = Store(tmp_path / "store")
    for run in RUNS[:4]:
        save_record(record_of(run), store)
    store.work.mkdir()
    noise = random.Random(0).randbytes(50_000)
    store.checkpoint_path(RUNS[4].name).write_bytes(noise)
    return store


@pytest.fixture
def bundle(store, tmp_path) -> Path:
    path = tmp_path / "a.zip"
    assert bundles.write(path, store, [run.name for run in RUNS], tables=["gap.paper"]) == [path]
    return path


def files_of(store: Store) -> dict[str, bytes]:
    """What a bundle of the store should hold."""
    held = {f"records/{path.name}": path.read_bytes() for path in store.records.iterdir()}
    return held | {f"checkpoints/{path.name}": path.read_bytes() for path in store.work.iterdir()}


def unpacked(paths: list[Path], folder: Path) -> dict[str, bytes]:
    """The content of what the paths unpack to, by name."""
    folder.mkdir()
    found = {}
    for one in bundles.unpack(paths, folder):
        for path in one.folder.rglob("*"):
            if path.is_file():
                found[str(path.relative_to(one.folder))] = path.read_bytes()
    return found


def test_what_is_put_in_comes_out(store, bundle, tmp_path):
    assert unpacked([bundle], tmp_path / "out") == files_of(store)
    (one,) = bundles.unpack([bundle], tmp_path / "again")
    assert one.source == str(bundle) and one.manifest.engine == ENGINE
    assert one.manifest.tables == ("gap.paper",)


def test_a_bundle_is_the_same_whenever_it_is_made(store, bundle, tmp_path):
    other = tmp_path / "b.zip"
    bundles.write(other, store, [run.name for run in reversed(RUNS)], tables=["gap.paper"])
    assert other.read_bytes() == bundle.read_bytes()


def test_checkpoints_may_stay_and_nothing_makes_no_file(store, tmp_path):
    path = tmp_path / "b.zip"
    bundles.write(path, store, [run.name for run in RUNS], checkpoints=False)
    assert not [name for name in unpacked([path], tmp_path / "out") if name.endswith(".pt")]
    assert bundles.write(tmp_path / "c.zip", store, [RUNS[5].name]) == []
    assert not (tmp_path / "c.zip").exists()


def test_a_damaged_record_is_left_out_and_told(store, tmp_path):
    """With it in the bundle, nothing of that would be taken at home."""
    path = store.record_path(RUNS[1].name)
    path.write_text(path.read_text()[:100])
    with pytest.warns(UserWarning, match=f"left out of the bundle: record {RUNS[1].name}.json"):
        bundles.write(tmp_path / "b.zip", store, [run.name for run in RUNS])
    found = unpacked([tmp_path / "b.zip"], tmp_path / "out")
    assert f"records/{RUNS[0].name}.json" in found and f"records/{RUNS[1].name}.json" not in found


def test_another_file_is_not_replaced(store, bundle, tmp_path):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("hard work")
    with pytest.raises(UserError, match=r"thesis.txt is there and is no bundle; name another"):
        bundles.write(thesis, store, [RUNS[0].name])
    assert thesis.read_text() == "hard work"
    assert bundles.write(bundle, store, [RUNS[0].name]) == [bundle]  # a bundle is


@pytest.mark.parametrize("data", ["My-Images", "my.images 2", "图像"])
def test_tables_of_any_folder_of_images_come_home(store, tmp_path, data):
    path, name = tmp_path / "b.zip", f"gap.quick@{data}"
    bundles.write(path, store, [RUNS[0].name], tables=[name])
    (one,) = bundles.unpack([path], tmp_path / "out")
    assert one.manifest.tables == (name,)


def test_a_bundle_that_cannot_be_written_says_so(store, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"bundle .*b\.zip cannot be written"):
        bundles.write(tmp_path / "file" / "b.zip", store, [RUNS[0].name])


# ------------------------------------------------------------------------------------------- parts


@pytest.fixture
def parts(store, tmp_path) -> list[Path]:
    names = [run.name for run in RUNS]
    return bundles.write(tmp_path / "p.zip", store, names, part_bytes=20_000)


def test_parts_stay_below_the_size_and_come_together_in_any_order(store, parts, tmp_path):
    assert [part.name for part in parts] == ["p.1of4.zip", "p.2of4.zip", "p.3of4.zip", "p.4of4.zip"]
    assert all(part.stat().st_size <= 20_000 for part in parts)
    assert not (tmp_path / "p.zip").exists()
    assert unpacked([*reversed(parts), parts[0]], tmp_path / "out") == files_of(store)


def test_a_small_bundle_is_not_split_and_takes_the_place_of_old_parts(store, parts, tmp_path):
    (written,) = bundles.write(
        tmp_path / "p.zip", store, [RUNS[0].name], part_bytes=layout.PART_BYTES
    )
    assert written.name == "p.zip" and not any(part.exists() for part in parts)


def test_a_part_too_small_to_hold_anything_is_refused(store, tmp_path):
    with pytest.raises(UserError, match="part_bytes is 100; it must be at least"):
        bundles.write(tmp_path / "p.zip", store, [RUNS[0].name], part_bytes=100)


@pytest.mark.parametrize("lost", [0, 3])
def test_a_missing_part_is_named(parts, tmp_path, lost):
    kept = [part for part in parts if part != parts[lost]]
    message = rf"is split into 4 parts, of which 1 are missing \(part {lost + 1}\)"
    with pytest.raises(UserError, match=message):
        unpacked(kept, tmp_path / "out")


def test_parts_of_two_bundles_do_not_mix(store, parts, tmp_path):
    save_record(record_of(RUNS[5]), store)
    other = bundles.write(tmp_path / "q.zip", store, [run.name for run in RUNS], part_bytes=20_000)
    with pytest.raises(UserError, match="parts, of which"):
        unpacked([*parts[:3], other[3]], tmp_path / "out")


def test_a_part_whose_payload_was_changed_is_named(parts, tmp_path):
    with zipfile.ZipFile(parts[1]) as archive:
        about, payload = (archive.read(name) for name in (layout.PART, layout.PAYLOAD))
    with zipfile.ZipFile(parts[1], "w") as archive:
        archive.writestr(layout.PART, about)
        archive.writestr(layout.PAYLOAD, payload[:-1] + bytes([payload[-1] ^ 1]))
    with pytest.raises(UserError, match=r"p\.2of4\.zip is damaged: payload has another checksum"):
        unpacked(parts, tmp_path / "out")
