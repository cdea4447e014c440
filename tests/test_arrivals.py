"""Records that came from elsewhere and are none: one of them refuses all that came with it."""

from __future__ import annotations

import json
import random

import pytest
from test_bundles_hostile import craft
from test_merging import NAMES, RUNS, away, bundle, bundle_of, home, record, snapshot

from snlib import merging, results
from snlib.errors import UserError
from snlib.results import Store, load_record, save_record

__all__ = ["away", "bundle", "home"]  # fixtures


def resealed(store: Store, edit) -> None:
    """Change the first run's record and seal it again, as an enemy can."""
    path = store.record_path(NAMES[0])
    stored = json.loads(path.read_bytes())
    edit(stored)
    stored[results.SEAL] = results._seal(stored)
    path.write_text(json.dumps(stored))


BAD = {
    "text for a number": lambda stored: stored["rows"][0]["value"].__setitem__(0, "high"),
    "a truth value for a number": lambda stored: stored["rows"][0]["x"].__setitem__(0, True),
    "a list for a name": lambda stored: stored["rows"][0].__setitem__("split", [1]),
    "a row without its attack": lambda stored: [row.pop("attack") for row in stored["rows"]],
    "rows of uneven length": lambda stored: stored["rows"][0]["value"].append(1.0),
    "diverged in words": lambda stored: stored.__setitem__("diverged", "no"),
    "suites in words": lambda stored: stored.__setitem__("suites", "accuracy"),
    "no provenance": lambda stored: stored.__setitem__("provenance", []),
    "hours in words": lambda stored: stored["provenance"].__setitem__("seconds", "long"),
    "no mean norm": lambda stored: stored.pop("mean_norm"),
    "an unknown setting": lambda stored: stored["settings"].__setitem__("magic", 1),
}


@pytest.fixture
def unlooked(monkeypatch):
    """Bundles take every record as it is, as those of another program would."""
    monkeypatch.setattr("snlib.bundles.writing.read_record", lambda *_, **__: {})


@pytest.mark.parametrize("edit", BAD.values(), ids=BAD)
def test_a_record_that_is_none_refuses_everything(home, away, edit, tmp_path, unlooked):
    resealed(away, edit)
    with pytest.raises(UserError, match=rf"record {NAMES[0]}\.json .*nothing was merged"):
        merging.merge([bundle_of(away, tmp_path / "a.zip")], home)
    with pytest.raises(UserError, match="nothing was merged"):
        merging.merge([away.root], home)
    assert not snapshot(home)


def test_settings_of_another_engine_or_version_are_told_apart(home, away):
    for changes, message in (
        ({"engine": 7}, "made by engine 7, here is engine"),
        ({"magic": 1}, "settings that this version of snlib does not know"),
        ({"scheme": "magic"}, "settings that this version of snlib does not know"),
    ):
        settings = {**RUNS[0].settings(), **changes}
        path = save_record({**record(RUNS[0]), "settings": settings}, away)
        with pytest.raises(UserError, match=rf"record {path.name} .*{message}"):
            merging.merge([away.root], home)
        path.unlink()
    assert not snapshot(home)


def test_an_edit_by_hand_is_caught_on_the_way(home, away, tmp_path, unlooked):
    path = away.record_path(NAMES[1])
    path.write_text(path.read_text().replace("0.5", "0.9", 1))
    with pytest.raises(UserError, match="was changed after it was written"):
        merging.merge([bundle_of(away, tmp_path / "a.zip")], home)
    assert not snapshot(home)


def test_one_bad_bundle_among_good_ones_refuses_all(home, bundle, tmp_path):
    bad = craft(tmp_path / "bad.zip", [("../evil", b"", True)])
    with pytest.raises(UserError, match=r"bad\.zip is refused"):
        merging.merge([bundle, bad], home)
    assert not snapshot(home)


def test_folders_that_are_no_other_store(home, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty is no store"):
        merging.merge([tmp_path / "empty"], home)
    home.records.mkdir(parents=True)
    with pytest.raises(UserError, match="is the store itself"):
        merging.merge([home.root], home)


def test_a_link_in_a_store_is_not_followed(home, away, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_bytes(away.record_path(NAMES[0]).read_bytes())
    away.record_path(NAMES[0]).unlink()
    away.record_path(NAMES[0]).symlink_to(secret)
    with pytest.raises(UserError, match=rf"record {NAMES[0]}\.json is a link"):
        merging.merge([away.root], home)


def test_damaged_json_never_merges(home, away):
    """Bytes of a record changed at random: refused, or nothing that is read has changed."""
    path, chance = away.record_path(NAMES[0]), random.Random(0)
    content, expected = path.read_bytes(), load_record(NAMES[0], away)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            merging.merge([away.root], Store(home.root / str(chance.random())))
        except UserError as error:
            assert NAMES[0] in str(error)
        else:
            assert load_record(NAMES[0], away) == expected
