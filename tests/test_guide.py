"The operator's guide: every command it names exists with those options, every query runs, and it says what a guide must."
import json, re, shlex
import pytest, typer
from nbprops.cli import app
from tests import house

GUIDE = house.ROOT/"nbs"/"tutorials"/"82_operator_guide.ipynb"
CELLS = json.loads(GUIDE.read_text(encoding="utf-8"))["cells"]
PROSE = "\n".join("".join(c["source"]) for c in CELLS if c["cell_type"] == "markdown")
CALLED = re.findall(r'sh\(f?"(nbprops [^"]*)"\)', "\n".join("".join(c["source"]) for c in CELLS if c["cell_type"] == "code"))

def commands(text: str) -> list[str]:
    "Everything between backticks that is called as a command."
    return re.findall(r"`(nbprops [^`]+)`", text)

def fault(line: str) -> str | None:
    "What is wrong with a command line; None when the application would take it."
    words, at, given = shlex.split(line)[1:], typer.main.get_command(app), []
    while words and hasattr(at, "commands"):
        if words[0] not in at.commands: return f"no command {words[0]}"
        at = at.commands[words.pop(0)]
    if hasattr(at, "commands"): return "a group, not a command"
    known = {o: p for p in at.params for o in p.opts}
    while words:
        w = words.pop(0)
        if not w.startswith("--"): given.append(w); continue
        if w not in known and w not in ("--help", "--json"): return f"no option {w}"
        if w in known and not known[w].is_flag and not words: return f"{w} without a value"
        if w in known and not known[w].is_flag: words.pop(0)
    places = [p for p in at.params if p.param_type_name == "argument"]
    missing = [p.opts[0] for p in at.params if p.required and p.param_type_name == "option" and p.opts[0] not in line]
    return f"{len(given)} words for {len(places)} places" if not sum(p.required for p in places) <= len(given) <= len(places) else f"needs {missing[0]}" if missing else None

@pytest.mark.parametrize("line", sorted({*commands(PROSE), *CALLED}))
def test_every_command_of_the_guide_exists(line):
    "Would catch a guide that sends somebody to a command that is not there, at three in the morning."
    assert fault(line) is None, line

@pytest.mark.parametrize("line, said", [("nbprops fly", "no command"), ("nbprops registry", "a group"), ("nbprops predict --how X", "no option --how"), ("nbprops backup", "0 words"), ("nbprops registry block M", "needs --reason"), ("nbprops predict --mode", "without a value"), ("nbprops predict --mode EARLY", None)])
def test_the_check_can_fail(line, said): assert (fault(line) or "None").startswith(str(said)) or said in fault(line)

def test_every_query_of_the_guide_runs(wh):
    "Would catch a column that was renamed since the guide was written."
    asked = [shlex.split(c)[2] for c in commands(PROSE) if c.startswith("nbprops query")]
    assert len(asked) >= 6
    for sql in asked: wh.script(sql)

def test_the_failure_table_is_complete():
    "Would catch an empty cell, or a symptom that operators met and the guide forgot."
    table = PROSE.split("## When something is wrong")[1]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 20 and all(len(r) == 3 and all(r) for r in rows)
    for word in ("no predictions today", "coverage 8.8 %", "refuses to start", "duplicate", "without attribution", "stale after a moved tip", "because of the build", "warehouse busy", "digest does not fit", "model swapped", "PENDING", "quarantine", "disk full"): assert word in table, word

def test_the_guide_names_all_attribution_fields():
    "Would catch a field of the check that the guide does not explain."
    from nbprops.predict.attribution import FIELDS
    source = "\n".join("".join(c["source"]) for c in CELLS)
    assert not [c for f in FIELDS.values() for c in re.findall(r"model_\w+", str(f)) if f'"{c}"' not in source]

def test_the_ages_in_the_guide_are_the_defaults():
    "Would catch a default that was changed in the code alone."
    from nbprops.ops.care import AGES
    for name, default, unit in AGES.values(): assert re.search(rf"\| {default} {unit} \| `{name}` \|", PROSE), name
