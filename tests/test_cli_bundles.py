"""The commands bundle and merge, as a person types them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_merging import NAMES, RUNS, away, home, record, tiny

from snlib.__main__ import main
from snlib.results import save_record

__all__ = ["away", "home", "tiny"]  # fixtures


def test_away_and_home_again(home, away, tmp_path, capsys):
    file, store = tmp_path / "a.zip", str(home.root)
    assert main(["bundle", str(file), "tiny", "--store", str(away.root)]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert main(["merge", str(file), "--store", store]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("new          3\nsame         0\nconflicting  0\n") and not err
    assert "checkpoints  1 to go on from" in out and out.endswith("tiny.quick.csv\n")
    assert main(["verify", "--store", store]) == 0
    capsys.readouterr()
    save_record(record(RUNS[0], 0.6), home)
    assert main(["merge", str(file), "--store", store]) == 1
    out, err = capsys.readouterr()
    assert "same         2" in out and "conflicting  1" in out
    assert err.startswith(f"snlib: record {NAMES[0]} ") and err.count("\n") == 1


def test_split_and_records_only(away, tmp_path, capsys):
    file = tmp_path / "a.zip"
    command = ["bundle", str(file), "tiny", "--store", str(away.root)]
    assert main([*command, "--split", "16K", "--records-only"]) == 0
    assert capsys.readouterr().out == f"{file}\n"  # small enough for one file
    away.checkpoint_path(NAMES[3]).write_bytes(bytes(50_000))
    assert main([*command, "--split", "16K"]) == 0
    parts = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert len(parts) > 3 and all(part.stat().st_size <= 16 * 1024 for part in parts)
    assert main([*command, "--split"]) == 0 and capsys.readouterr().out == f"{file}\n"


WRONG = [
    (["bundle", "a.zip", "gab"], r"experiment is 'gab'; .* Did you mean 'gap'\?"),
    (["bundle", "a.zip", "tiny", "--split", "big"], r"--split is 'big'; allowed are sizes such as"),
    (["bundle", "a.zip", "tiny", "--split", "10"], r"--split is '10'; it must be at least 16K"),
    (["bundle", "a.zip", "steady"], r"nothing is recorded of these 4 runs in "),
    (["bundle", "none/such/a.zip", "tiny"], r"bundle .*a\.zip cannot be written"),
    (["merge", "a.zip"], r"bundle a\.zip does not exist"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda part: str(part)[-24:])
def test_wrong_input_gives_one_line(away, arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").write_text("a file, no folder")
    assert main([*arguments, "--store", str(away.root)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and re.match(rf"snlib: .*{message}", err)
