"""The walls: who imports whom, how long a file is, what the library never calls."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "snlib"
MAX_LINES = 300

# Each room and the rooms it may import. A room that is not listed fails: give it a place here.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "capturing": set(),
    "functions": set(),
    "attacks": {"capturing", "errors"},
    "datasets": {"errors"},
    "spectral": {"capturing", "errors", "functions"},
    "bounds": {"errors", "spectral"},
    "models": {"errors", "functions", "spectral"},
}
GROUND = set(ALLOWED)
ALLOWED |= {
    "files": {"errors"},
    "series": set(),
    "columns": set(),
    "interrupts": set(),
    "devices": {"errors"},
    "deadlines": set(),
    "results": {"columns", "errors", "files", "series"},
    "tidy": {"errors", "results"},
    "runs": {"errors", "results"},
    "provenance": {"results"},
    "protocols": {"runs"},
    "evaluation": GROUND,
    "audit": GROUND | {"evaluation"},
    "checkpoints": {"devices", "errors", "results", "runs"},
    "team": {"devices", "errors"},
    "augmentation": set(),
    "capture": {"capturing"},
    "precision": {"errors"},
    "learning": GROUND,
    "steps": GROUND
    | {"augmentation", "capture", "evaluation", "learning", "precision", "runs", "team"},
    "training": GROUND
    | {"checkpoints", "devices", "evaluation", "precision", "runs", "steps", "team"},
    "nets": GROUND | {"checkpoints", "devices", "provenance", "results", "runs", "training"},
    "robustness": GROUND | {"evaluation", "runs"},
    "measurements": GROUND | {"checkpoints", "evaluation", "robustness", "runs", "training"},
    "worker": GROUND
    | {"deadlines", "devices", "measurements", "nets", "precision", "provenance"}
    | {"results", "runs", "team", "training"},
    "experiments": {"errors", "protocols", "runs"},
    "tables": {"columns", "errors", "results", "runs", "experiments", "tidy"},
    "costs": {"models", "runs"},
    "speed": {"costs", "models", "provenance", "runs"},
    "room": {"costs", "runs", "speed"},
    "journal": {"errors", "files", "results", "runs"},
    "runner": {"devices", "errors", "interrupts", "results", "room", "runs", "worker"},
    "parallel": {"deadlines", "results", "runner", "runs", "team", "worker"},
    "cluster": {"datasets", "devices", "errors", "files", "interrupts"}
    | {"provenance", "results", "runner", "runs", "worker"},
    "listing": {"columns", "costs", "datasets", "experiments", "protocols"}
    | {"results", "room", "runner", "runs", "speed", "tidy"},
    "bundles": {"errors", "files", "results"},
    "arrivals": {"errors", "provenance", "results", "runs"},
    "merging": {"arrivals", "bundles", "checkpoints", "errors", "files", "results", "tables"},
    "choice": set(),
    "statistics": {"choice", "errors"},
    "crossovers": {"errors"},
    "ranking": {"errors"},
    "densities": {"errors"},
    # bounds only to normalize recorded margins: claims and figures read tables alone
    "claims": {"columns", "errors", "bounds", "choice", "densities", "results"}
    | {"statistics", "tables"},
    "priority": {"claims", "experiments", "runs"},  # which run decides most claims
    "figures": {"errors", "bounds", "choice", "results", "experiments", "statistics", "tables"}
    | {"claims", "columns", "crossovers", "densities", "ranking"},
    "explore": {"errors"},
    "workbook": {"claims", "errors", "listing", "results", "figures", "tidy"},
}
FREE = {"__init__", "__main__", "commands"}  # the face and the command line see every room
TALKERS = {"__main__", "commands", "workbook"}
TORCH = {"torch", "torchvision"}
# A GPU machine may have these alone; anything else is imported where it is used.
BASE = TORCH | {"numpy", "pandas", "PIL", "tqdm"}
BESIDES = {
    "figures": {"matplotlib", "seaborn"},
    "explore": {"ipywidgets", "matplotlib"},
    "workbook": {"nbclient", "nbconvert", "nbformat", "pygments"},
}


def sources() -> list[Path]:
    """Every file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room of a file: the first part of its path, without the suffix."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, path: Path) -> set[str]:
    """Full dotted names that a file imports, relative ones resolved."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                folder = path.relative_to(ROOT).parts[: -node.level]
                base = ".".join([*folder, *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def first_level(tree: ast.Module) -> list[ast.stmt]:
    """The imports that happen when the file itself is imported."""
    return [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


def rooms_imported(tree: ast.AST, path: Path) -> set[str]:
    """Rooms of the package that a file imports, its own left out."""
    parts = [name.split(".") for name in imports(tree, path)]
    rooms = {part[1] for part in parts if part[0] == "snlib" and len(part) > 1}
    return {room for room in rooms if room_exists(room)} - {room_of(path)}


def room_exists(room: str) -> bool:
    """Whether a name of the package is a module, not a function on its face."""
    return (PACKAGE / f"{room}.py").exists() or (PACKAGE / room).is_dir()


def forbidden(tree: ast.AST) -> list[str]:
    """Calls and imports that the library never makes, with their lines."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or node.names[0].name
            if module.split(".")[0] in {"pickle", "dill", "joblib", "cloudpickle"}:
                found.append(f"line {node.lineno}: {module}")
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        words = {word.arg: ast.unparse(word.value) for word in node.keywords}
        seeds_all = call in {"torch.manual_seed", "torch.cuda.manual_seed_all", "random.seed"}
        wrong = (
            seeds_all
            or call.endswith((".random.seed", ".cuda", "read_pickle", "to_pickle"))
            or (call.endswith("torch.load") and words.get("weights_only") != "True")
            or (call.endswith(("np.load", "numpy.load")) and words.get("allow_pickle") != "False")
            or (call.endswith("rcParams.update") or call == "sns.set")
        )
        if wrong:
            found.append(f"line {node.lineno}: {call}")
    return found


def prints(tree: ast.AST) -> list[int]:
    """Lines that print."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_walls(path: Path) -> None:
    tree, room = ast.parse(path.read_text()), room_of(path)
    assert len(path.read_text().splitlines()) < MAX_LINES
    assert not forbidden(tree)
    if room not in TALKERS:
        assert not prints(tree), "the library never prints"
    if room not in FREE:
        assert room in ALLOWED, f"snlib/{room} has no place in tests/test_layering.py"
        assert rooms_imported(tree, path) <= ALLOWED[room]
    if room in {"figures", "claims"}:
        assert not {name.split(".")[0] for name in imports(tree, path)} & TORCH
    outside = {name.split(".")[0] for name in imports(ast.Module(first_level(tree), []), path)}
    assert outside - {"snlib"} <= set(sys.stdlib_module_names) | BASE | BESIDES.get(room, set())


def test_the_order_has_no_circle() -> None:
    seen: set[str] = set()
    waiting = dict(ALLOWED)
    while waiting:
        ready = {room for room, below in waiting.items() if below <= seen}
        assert ready, f"a circle among {sorted(waiting)}"
        seen |= ready
        waiting = {room: below for room, below in waiting.items() if room not in ready}


@pytest.mark.parametrize(
    "line",
    [
        "torch.manual_seed(0)",
        "np.random.seed(0)",
        "net.cuda()",
        "import pickle",
        "from joblib import dump",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_forbidden_things_are_seen(line: str) -> None:
    assert forbidden(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "generator.manual_seed(0)",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "torch.cuda.is_available()",
    ],
)
def test_allowed_things_pass(line: str) -> None:
    assert not forbidden(ast.parse(line))


def test_imports_are_read_in_every_form() -> None:
    text = "import snlib.results\nfrom snlib import bounds\nfrom ..models import build\n"
    tree = ast.parse(text + "def later():\n    from snlib.training import fit\n")
    found = imports(tree, PACKAGE / "spectral" / "new.py")
    assert found == {"snlib.results", "snlib.bounds", "snlib.models.build", "snlib.training.fit"}
