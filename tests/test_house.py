"The house itself: nothing drifts, no import runs upwards, notebooks were really run."
import ast, filecmp, json, shutil, subprocess, sys
from pathlib import Path
import pytest
from tests import house

@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    "A copy of the source tree in which nbdev may write."
    target = tmp_path_factory.mktemp("copy")/"nbprops"
    shutil.copytree(house.ROOT, target, ignore=shutil.ignore_patterns(".venv", ".git", ".nbprops*", "__pycache__", "*.egg-info", ".pytest_cache", ".hypothesis"))
    return target

def _differences(copy: Path, pattern: str) -> list[str]:
    files = [p.relative_to(house.ROOT) for d in ("nbs", "nbprops") for p in (house.ROOT/d).rglob(pattern) if "__pycache__" not in p.parts]
    return [str(f) for f in files if not filecmp.cmp(house.ROOT/f, copy/f, shallow=False)]

def test_nbdev_clean_changes_nothing(copy):
    "Fails when a notebook was committed with metadata that makes noise in every diff."
    subprocess.run([sys.executable, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean()"], cwd=copy, check=True, capture_output=True)
    assert _differences(copy, "*.ipynb") == []

def test_nbdev_export_changes_nothing(copy):
    "Fails when the package and its notebooks disagree."
    subprocess.run([sys.executable, "-c", "from nbdev.export import nb_export; from nbdev.doclinks import nbdev_export; nbdev_export()"], cwd=copy, check=True, capture_output=True)
    assert _differences(copy, "*.py") == []

def test_readme_is_made_from_the_index():
    "Fails when README.md was edited by hand, or the index changed without `make readme`."
    assert (house.ROOT/"README.md").read_text(encoding="utf-8") == house.readme_text()

def test_reports_in_the_package_equal_the_masters():
    "Fails when a report notebook was changed without `make export`."
    masters = [p for p in (house.ROOT/"reports").iterdir() if p.suffix in (".ipynb", ".css", ".tpl", ".j2")]
    assert masters
    assert [p.name for p in masters if not filecmp.cmp(p, house.ROOT/"nbprops"/"reports"/p.name, shallow=False)] == []

def test_no_import_runs_upwards(): assert house.upward_imports() == []

def test_no_import_cycle(): assert house.cycles() == []

def test_no_machine_path_in_a_notebook(): assert house.machine_paths() == []

def _shows(source: str) -> bool:
    "Whether a cell ends in an expression, so that it should show something."
    body = ast.parse("\n".join(l for l in source.splitlines() if not l.lstrip().startswith(("%", "!")))).body
    last = body[-1] if body else None
    return isinstance(last, ast.Expr) and not isinstance(last.value, ast.Call)

@pytest.mark.parametrize("path", house.notebooks(), ids=lambda p: p.stem)
def test_results_are_shown(path):
    "Fails when a notebook was committed without having been run."
    cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    silent = [src for c in cells if not c["outputs"] and "#| " not in (src := "".join(c["source"])) and "parameters" not in c["metadata"].get("tags", []) and _shows(src) and not src.rstrip().endswith((";", "None"))]
    assert path.parts[-2] == "reports" or silent == []

def test_every_command_and_option_is_explained():
    "An option that nobody explained is an option that is guessed."
    from nbprops.cli import app
    from nbprops.commands.reference import unexplained
    assert unexplained(app) == []
