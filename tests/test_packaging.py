"""Pins, environment, Makefile, citation: what a fresh clone stands on."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch"}
TARGETS = ["help", "workbook", "test", "lab", "lint", "bench", "evidence", "record", "clean"]


def pins(requirements: list[str]) -> dict[str, str]:
    """Name to version; fails where a requirement is not pinned exactly."""
    found = {}
    for text in requirements:
        requirement = Requirement(text)
        if requirement.name == "snlib":  # one extra naming another
            continue
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{text} is not pinned"
        found[requirement.name] = specifier.version
    return found


CORE = pins(PROJECT["dependencies"])
EXTRAS = {name: pins(extra) for name, extra in PROJECT["optional-dependencies"].items()}
TESTED = CORE | EXTRAS["audit"] | EXTRAS["cluster"] | EXTRAS["test"]


def test_environment_and_pyproject_pin_the_same() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda, by_pip = {}, []
    for entry in environment["dependencies"]:
        if isinstance(entry, dict):
            by_pip += entry["pip"]
        elif not re.match(r"(python|pip)\b(?!-)", entry):
            name, version = entry.split("=")
            conda[name] = version
    expected = {CONDA_NAMES.get(name, name): version for name, version in TESTED.items()}
    assert conda | pins(by_pip) == expected
    assert not conda.keys() & pins(by_pip).keys()
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]
    assert environment["channels"] == ["conda-forge", "nodefaults"]


@pytest.mark.parametrize("name", sorted(TESTED))
def test_the_pins_are_what_runs_here(name: str) -> None:
    assert importlib.metadata.version(name).split("+")[0] == TESTED[name]


def test_every_import_of_the_package_is_pinned() -> None:
    """Read from the sources, so that a module cannot lean on what another library brings along."""
    modules = importlib.metadata.packages_distributions()
    known = {name.lower().replace("_", "-") for name in CORE | EXTRAS["audit"] | EXTRAS["cluster"]}
    for path in (ROOT / "snlib").rglob("*.py"):
        for name in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.M):
            for owner in modules.get(name, []):
                fit = {"snlib", "pygments", "pillow", *known}  # two that the pinned ones require
                assert owner.lower().replace("_", "-") in fit, f"{path.name} imports {name}"


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run make with this project's Makefile."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=environment.pop("folder", ROOT),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_help_is_the_default_and_names_every_target() -> None:
    help_text = make().stdout
    assert help_text == make("help").stdout
    assert re.findall(r"^  make (\w+) ", help_text, re.M) == TARGETS


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with spaces in its name that holds the Makefile and nothing installed."""
    folder = tmp_path / "a new clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def python(folder: Path, script: str) -> str:
    """An interpreter that answers as `script` says; returns its path."""
    path = folder.parent / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 1", "is not Python 3.11 to 3.14. Name another: make PYTHON="),
        ('case "$2" in *ensurepip*) exit 1;; esac', "sudo apt install python3-venv"),
    ],
    ids=["too old", "no venv"],
)
def test_a_wrong_python_is_one_plain_line(clone: Path, script: str, message: str) -> None:
    done = make("lint", f"PYTHON={python(clone, script)}", folder=clone)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[0]
    assert len(done.stderr.splitlines()) == 2  # the second is make's own
    assert not (clone / ".venv").exists()


def test_no_python_at_all_is_one_plain_line(clone: Path) -> None:
    done = make("lint", "PYTHON=", folder=clone)
    assert "Python 3.11 to 3.14 is needed and was not found" in done.stderr.splitlines()[0]


def installs(clone: Path) -> bool:
    """Whether `make lint` would install."""
    return "pip install" in make("-n", "lint", folder=clone).stdout


def test_installs_when_missing_stale_or_moved(clone: Path) -> None:
    assert installs(clone)
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to(shutil.which("python3"))
    stamp = clone / ".venv" / "installed-in"
    stamp.write_text(str(clone))
    assert not installs(clone)
    os.utime(stamp, (0, 0))
    assert installs(clone)
    os.utime(stamp)
    moved = clone.rename(clone.with_name("moved"))
    assert installs(moved)


def test_continuous_integration_calls_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"
    subprocess.run(["bash", "-n", script], check=True)


def test_citation_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Farnia", "Zhang", "Tse"]
    assert (paper["year"], paper["identifiers"][0]["value"]) == (2019, "arXiv:1811.07457")
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_pre_commit_runs_the_tools_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    assert [hook["id"] for hook in hooks] == ["ruff", "ruff-format", "notebook-metadata"]
