"The house rules as functions: README from the index notebook, report copies, import floors. `python -m tests.house readme|reports|check`."
import ast, json, re, shutil, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ["settings", "core", "stats", "data", "features", "model|signals", "predict", "ops", "story", "commands", "cli"]

def readme_text() -> str:
    "README.md as Markdown from nbs/index.ipynb: prose, code and text results; cells marked `#| hide` are left out, of those marked `#| echo: false` only the answer is shown."
    out = ["<!-- made from nbs/index.ipynb by `make readme`; edit the notebook -->"]
    for cell in json.loads((ROOT/"nbs"/"index.ipynb").read_text(encoding="utf-8"))["cells"]:
        src = "".join(cell["source"]).strip()
        if not src or "#| hide" in src: continue
        if cell["cell_type"] == "markdown": out.append(src); continue
        code = "\n".join(l for l in src.splitlines() if not l.startswith("#|"))
        if code and "#| echo: false" not in src: out.append(f"```python\n{code}\n```")
        out += [t.strip() if t.startswith("| ") else f"```text\n{t.strip()}\n```" for t in map(_plain, cell.get("outputs", [])) if t.strip()]
    return "\n\n".join(out) + "\n"

def _plain(output: dict) -> str:
    "The text of one cell output."
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))

def module_imports(path: Path) -> set[str]:
    "Modules of the package that a file imports, as dotted names below `nbprops`."
    here, found = path.relative_to(ROOT/"nbprops").with_suffix("").parts, set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = list(here[:len(here) - node.level]) if node.level else node.module.split(".")[1:] if (node.module or "").startswith("nbprops") else None
            if base is None: continue
            target = base + (node.module.split(".") if node.level and node.module else [])
            found |= {".".join(target + [a.name]) if (ROOT/"nbprops"/Path(*target, a.name)).with_suffix(".py").exists() else ".".join(target) for a in node.names}
        elif isinstance(node, ast.Import): found |= {a.name.removeprefix("nbprops.") for a in node.names if a.name.startswith("nbprops.")}
    return {f for f in found if f}

def imports() -> dict[str, set[str]]:
    "Import graph of the package: module -> modules."
    files = [p for p in (ROOT/"nbprops").rglob("*.py") if p.name not in ("_modidx.py", "__init__.py")]
    return {".".join(p.relative_to(ROOT/"nbprops").with_suffix("").parts): module_imports(p) for p in files}

def floor(module: str) -> int:
    "The floor a module stands on."
    return next(i for i, names in enumerate(FLOORS) if module.split(".")[0] in names.split("|"))

def upward_imports() -> list[str]:
    "Imports that point to a higher floor."
    return sorted(f"{m} -> {d}" for m, deps in imports().items() for d in deps if floor(d) > floor(m))

def cycles() -> list[str]:
    "Modules that can reach themselves by imports."
    graph, found = imports(), []
    for start in graph:
        seen, todo = set(), list(graph[start])
        while todo:
            m = todo.pop()
            if m in seen: continue
            seen.add(m); todo += graph.get(m, ())
        if start in seen: found.append(start)
    return sorted(found)

def copy_reports() -> None:
    "The report notebooks also ship inside the package."
    target = ROOT/"nbprops"/"reports"
    target.mkdir(exist_ok=True)
    for p in sorted((ROOT/"reports").iterdir()):
        if p.suffix in (".ipynb", ".css", ".tpl", ".j2"): shutil.copyfile(p, target/p.name)

def notebooks() -> list[Path]:
    "All notebooks of the project."
    return sorted(p for d in ("nbs", "reports") for p in (ROOT/d).rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)

MACHINE = re.compile(r"/(?:work|tmp|root|home/\w+|Users)/[\w.]+")

def machine_paths() -> list[str]:
    "Outputs and sources that name a path of some machine."
    return [f"{p.name}: {m[0]}" for p in notebooks() for m in MACHINE.finditer(p.read_text(encoding="utf-8"))]

if __name__ == "__main__":
    verb = sys.argv[1] if len(sys.argv) > 1 else "check"
    if verb == "readme": (ROOT/"README.md").write_text(readme_text(), encoding="utf-8")
    elif verb == "reports": copy_reports()
    else: print("\n".join(upward_imports() + cycles() + machine_paths()) or "the house stands")
