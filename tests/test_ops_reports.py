"Reports: refused when asked wrongly, readable when broken, quiet towards the network."
import json, re, shutil
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
import nbformat
import polars as pl
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbprops.ops.checks import validate_daily
from nbprops.ops.daily_page import Day, rates, read_day, suppressed
from nbprops.ops.gate_card import SHOWN, Card, card_sentence, compared, evidence, labels, report_of, way_out, who_won
from nbprops.ops.page import badge, figure, drawing, table, text, tone
from nbprops.ops.rehearsal import CLOCK, DAY, rehearse
from nbprops.ops.reports import available, execute, notebook_of, run_report, shelf
from nbprops.model.gates import run_gates
from nbprops.settings import Broken, Refusal
from tests import house, model_toys

def notebook(folder: Path, *cells, tags=("parameters",), name="small") -> str:
    "A notebook with a parameters cell and some code."
    nb = new_notebook(cells=[new_code_cell("day = 'monday'", metadata={"tags": list(tags)}), *(new_code_cell(c) for c in cells)], metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}})
    nbformat.write(nb, folder/f"{name}.ipynb")
    return str(folder/f"{name}.ipynb")

class Page(HTMLParser):
    "Tags and attributes of a page."
    def __init__(self, html: str):
        super().__init__(); self.tags, self.links, self.open = [], [], []
        self.feed(html)
    def handle_starttag(self, tag, attrs):
        self.tags.append(tag); self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data") and v]
        if tag not in ("meta", "br", "hr", "img", "link", "input", "wbr", "path", "use", "rect", "stop"): self.open.append(tag)
    def handle_endtag(self, tag):
        if tag in self.open: self.open.remove(tag)

def assert_quiet(html: str) -> Page:
    "No script, no request, readable everywhere."
    page = Page(html)
    assert "script" not in page.tags and not {"iframe", "link", "object", "embed"} & set(page.tags)
    assert [l for l in page.links if not l.startswith("#")] == [] and not re.search(r"https?://|url\((?!#)|@import|javascript:|\son\w+=", html)
    for word in ("prefers-color-scheme: dark", "@media print", 'name="viewport"', 'lang="en"', "max-width: 42rem"): assert word in html
    assert page.tags.count("svg") == len(re.findall(r'<svg role="img" aria-labelledby="(\w+)-t"[^>]*><title id="\1-t">[^<]{10,}', html))
    assert [t for t in page.open if t not in ("html", "body")] == []
    return page

def test_unknown_reports_and_parameters_are_refused(tmp_path):
    "A misspelled date would silently give a report about another day."
    with pytest.raises(Refusal, match="No report is called 'weather'.*daily_validation"): run_report("weather", {}, tmp_path/"out")
    with pytest.raises(Refusal, match="no parameter 'game_dat'.*knows game_date"): run_report("daily_validation", {"game_dat": "2026-02-10"}, tmp_path/"out")
    with pytest.raises(Refusal, match="no cell tagged"): run_report(notebook(tmp_path, tags=()), {}, tmp_path/"out")
    assert not (tmp_path/"out").exists()

def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    "Whoever lacks papermill is told what to install, and gets no traceback."
    import importlib.util
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "papermill" else real(name, *a))
    with pytest.raises(Refusal, match=r"papermill.*pip install nbprops\[reports\]"): run_report("gate_card", {}, tmp_path)

def test_a_broken_notebook_leaves_a_readable_page(tmp_path):
    "What was finished stands there; the page says which step broke, why, and how to mend it."
    source = notebook(tmp_path, "print('finished part')", "from nbprops.settings import Refusal\nraise Refusal('No line landed', 'the feed is late', 'nbprops ingest PATH')", "print('never reached')")
    with pytest.raises(Broken, match="broke in step 3 of 4: No line landed.*Mend: nbprops ingest PATH") as e: run_report(source, {"day": "tuesday"}, tmp_path/"new"/"folder")
    html = (tmp_path/"new"/"folder"/"small_tuesday.html").read_text()
    assert e.value.exit_code == 3 and "finished part" in html and "never reached" not in html and "This report broke in step 3 of 4" in html and "nbprops ingest PATH" in html
    assert_quiet(html)

def test_a_notebook_that_hangs_is_stopped(tmp_path):
    "A cell that never ends must not hold a scheduler for ever."
    with pytest.raises(Broken, match="broke in step 2 of 2"): run_report(notebook(tmp_path, "import time; time.sleep(60)", name="slow"), {}, tmp_path, timeout=2)
    assert "broke in step 2 of 2" in (tmp_path/"slow.html").read_text()

@pytest.fixture(scope="module")
def day_home(tmp_path_factory):
    "A home with a validated rehearsal in which two things are broken."
    import os
    folder = tmp_path_factory.mktemp("home")
    wh = rehearse(folder/"nbprops.duckdb")
    for clock, day in ((CLOCK - timedelta(days=1), DAY - timedelta(days=1)), (CLOCK, DAY)):
        os.environ["NBPROPS_NOW"] = clock.isoformat()
        if day == DAY:
            wh.sql("UPDATE nba_predictions.player_prop_predictions SET default_feature_count = 1 WHERE game_date = @d AND team_abbr = 'NYK'", d=DAY)
            wh.sql("UPDATE nba_predictions.ml_feature_store_v2 SET feed_profile = 'box+rosters+team_box+props' WHERE TRUE")
        validate_daily(wh, day)
    del os.environ["NBPROPS_NOW"]
    return folder, wh

def test_the_daily_page_shows_verdict_change_and_command(day_home, tmp_path, monkeypatch):
    "Verdict, what is new, what to do; every finding and every reason for not asking; three pictures."
    folder, wh = day_home
    monkeypatch.setenv("NBPROPS_HOME", str(folder)); monkeypatch.setenv("NBPROPS_NOW", CLOCK.isoformat())
    ipynb, html = run_report("daily_validation", {"game_date": "2026-02-10"}, tmp_path)
    page = html.read_text()
    seen = assert_quiet(page)
    plain = re.sub(r"<wbr>", "", page)
    assert seen.tags.count("svg") == 3 and "Tuesday, February 10, 4 games: zero_tolerance" in plain and plain.index("What changed") < plain.index("What to do") < plain.index("Findings") < plain.index("All checks") < plain.index("Not applicable")
    assert "nbprops backfill predictions --dates 2026-02-10 --force" in plain and "the feed shots is not in the profile" in plain and "SELECT" in plain
    assert ipynb.exists() and not any(o.output_type == "error" for c in nbformat.read(ipynb, 4).cells for o in c.get("outputs", []))
    assert "read_day" not in re.sub(r"<details>.*?</details>", "", page, flags=re.S)

def test_a_day_that_was_not_validated_says_how(day_home, tmp_path, monkeypatch):
    folder, _ = day_home
    monkeypatch.setenv("NBPROPS_HOME", str(folder))
    with pytest.raises(Broken, match="2026-01-05 has not been validated.*nbprops validate daily --date 2026-01-05"): run_report("daily_validation", {"game_date": "2026-01-05"}, tmp_path)

def test_no_hit_rate_on_thin_grading(day_home):
    "Below 80 % coverage a hit rate is a guess about the part that was graded."
    d = read_day(day_home[1], DAY)
    assert not suppressed(d) and rates(d).height == 3
    thin = [dict(r, detail=r["detail"] | {"measures": {"day": 90.0, "week": 71.0}}) if r["check_id"] == "grading_coverage" else r for r in d.results.to_dicts()]
    frame = d.results.drop("detail").with_columns(detail=pl.Series([r["detail"] for r in thin], dtype=pl.Object))
    assert suppressed(Day(d.day, frame, d.before, d.volume, d.graded, d.slate))

# -- the gate card -------------------------------------------------------------

def card(state="production", standing="unproven", **facts) -> Card:
    "A card of a toy model beside a toy rival."
    rows = model_toys.scored_rows(**facts).with_columns(rival=pl.col("incumbent"))
    row = dict(model_id="m1", model_family="v9_mae", state=state, training_start_date=date(2025, 11, 2), training_end_date=date(2026, 1, 8), training_samples=9000, feature_set="v9", feed_profile="box+shots+props", sha256="a"*64)
    moves = pl.DataFrame([dict(from_state="shadow", to_state="production", reason="first", actor="x", is_override=True)])
    c = model_toys.case(rows.drop("rival"), train_end=date(2026, 1, 8), incumbent=None)
    return Card(row, {p: report_of(run_gates(c, p).to_json()) for p in SHOWN}, rows, None, standing, moves, dict(row, model_id="m2", training_end_date=date(2026, 1, 31), training_samples=13000))

def test_a_stored_verdict_reads_back_unchanged():
    "The card shows the record, so the record must survive the way through JSON."
    report = run_gates(model_toys.case(), "default")
    again = report_of(report.to_json())
    assert again.to_json() == report.to_json() and again["vegas_bias"].verdict == report["vegas_bias"].verdict

def test_the_card_says_unproven_and_never_wins_by_chance():
    "A model made production on an override is called unproven; a difference inside its interval is no victory."
    c = card(rival=2.6, skill=0.0)
    assert card_sentence(c).startswith("Unproven, in production on an override") and "Neither the narrow model" in who_won(c) and "could not have been seen" in who_won(c)
    assert not card_sentence(card("shadow", "unproven")).startswith("Unproven")

def test_a_real_difference_is_named_with_its_interval():
    "A rival that is clearly worse loses, in the sentence and in the table."
    c = card(rival=9.0)
    assert who_won(c).startswith("The narrow model") and "interval excludes zero" in who_won(c)
    t = compared(c)
    gap = (c.scored["predicted"] - c.scored["actual"]).abs().mean() - (c.scored["rival"] - c.scored["actual"]).abs().mean()
    assert float(t["difference"][0]) == pytest.approx(gap, abs=6e-4) and labels(c.row, c.rival) == ("narrow", "wide")

def test_the_evidence_lists_every_gate_of_both_policies():
    "No gate may be missing from the card, and the hit-rate gate shows what it would say about a coin flip."
    c = card()
    for name in SHOWN:
        e = evidence(c.judged[name])
        assert e.height == len(c.judged[name].results) and "coin flip" in e.filter(pl.col("gate").str.starts_with("hit_rate_edge3"))["what it says"][0]
    assert all(way_out(r, c.main) for r in c.main.results)

def test_the_demo_card_holds_what_a_signer_needs(played):
    "Verdict, profile, both policies, comparison, pictures, hashes, the way out, a place to sign; and the same for the daily page."
    _, out = played
    html = Path(out["card"]["html"]).read_text()
    seen, plain = assert_quiet(html), html.replace("<wbr>", "")
    order = ["What changed", "Feeds and features", "Evidence", "Both policies side by side", "What this many picks can show", "Comparison", "Pictures", "Bias by tier", "Seeds", "What would change the verdict", "Data", "Identity", "History", "Decision"]
    assert [plain.index(w) for w in order] == sorted(plain.index(w) for w in order) and seen.tags.count("svg") >= 4
    for word in ("sha256 of the file", "semantic id", "incident-2026-02", "coin flip", "narrow", "wide", out["card"]["model_id"]): assert word in plain, word
    assert_quiet(Path(out["daily"]["html"]).read_text())

# -- pieces --------------------------------------------------------------------

def test_text_is_escaped_and_missing_is_shown():
    "A value from a feed must not become markup."
    assert "<b>" not in table(pl.DataFrame({"a": ["<b>x</b>"]})) and "&lt;b&gt;" in text("<b>") and "–" in text(float("nan")) and "<img" not in badge("<img>")

def test_every_verdict_has_a_tone():
    "A verdict without a colour would look like a remark."
    assert {tone(v) for v in ("OK", "PASS", "PROMOTE")} == {"good"} and {tone(v) for v in ("CRIT", "FAIL", "REJECT")} == {"bad"} and tone("ERROR") == "odd" and tone("NOT_APPLICABLE") == "still"

def test_two_figures_do_not_share_ids():
    "Equal ids would let one drawing clip or label another."
    def one(alt):
        with drawing(2, 1) as (fig, ax): ax.plot([1, 2], [1, 2])
        return figure(fig, alt)
    a, b = (set(re.findall(r'\bid="([^"]+)"', one(f"a line, number {i}"))) for i in (1, 2))
    assert a and not a & b

def test_the_report_shelf_is_whole():
    "Both reports, the style sheet and the page ship inside the package."
    assert set(available()) >= {"daily_validation", "gate_card"} and (shelf()/"report.css").is_file() and (shelf()/"report.tpl").is_file()
    for name in available(): assert any("parameters" in c.metadata.get("tags", []) for c in nbformat.read(notebook_of(name), 4).cells)
