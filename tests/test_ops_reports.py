"Reports: refused when asked wrongly, readable when broken, quiet towards the network."
import json, re, shutil
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
import nbformat
import polars as pl
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbprops.ops.checks import validate_daily
from nbprops.ops.daily_page import Day, rates, read_day, suppressed
from nbprops.data.artifacts import Store
from nbprops.ops import reports
from nbprops.ops.card_facts import case_on, judged_dates, opinions, toy_card
from nbprops.ops.card_head import held_words, silence_words
from nbprops.ops.card_parts import bound_rows, leak_verdict, pass_words, shrink_words, told_of
from nbprops.ops.gate_card import PARTS, SHOWN, Card, card_sentence, compared, evidence, gather, labels, part, report_of, way_out, who_won
from nbprops.ops.page import badge, figure, drawing, table, text, tone
from nbprops.ops.rehearsal import CLOCK, DAY, rehearse
from nbprops.ops.reports import available, execute, notebook_of, origin, page_of, run_report, shelf
from nbprops.ops.stored_card import cards_of, store_card
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
        super().__init__(); self.tags, self.links, self.open, self.text = [], [], [], ""
        self.feed(html)
    def handle_starttag(self, tag, attrs):
        self.tags.append(tag); self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data") and v]
        if tag not in ("meta", "br", "hr", "img", "link", "input", "wbr", "path", "use", "rect", "stop"): self.open.append(tag)
    def handle_data(self, data): self.text += data
    def handle_endtag(self, tag):
        if tag in self.open: self.open.remove(tag)

def assert_quiet(html: str) -> Page:
    "No script, no request, readable everywhere."
    page = Page(html)
    assert "script" not in page.tags and not {"iframe", "link", "object", "embed"} & set(page.tags)
    assert [l for l in page.links if not l.startswith("#") and l not in ("index.html", "../index.html")] == [] and not re.search(r"https?://|url\((?!#)|@import|javascript:|\son\w+=", html)
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
    moves = pl.DataFrame([dict(from_state="shadow", to_state="production", reason="first", actor="x", is_override=True)]).with_columns(occurred_at=pl.datetime(2026, 3, 1, time_zone="UTC"))
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
    "No gate may be missing from the card, and each says what it would say about a coin flip, or that it is blind to skill."
    c = card()
    for name in SHOWN:
        e = evidence(c.judged[name])
        assert e.height == len(c.judged[name].results)
        hit = e.filter(pl.col("gate").str.starts_with("hit_rate_edge3")).row(0, named=True)
        assert re.fullmatch(r"(\d+ / \d+ / \d+|all \d+) %", hit["passes 50 / even / 55"])
    main = evidence(c.main)
    told = c.main.summary["characteristics"]["hit_rate_edge3"]
    assert pass_words(told)[0] == " / ".join(f"{told[k][0]:.0f}" for k in ("50", "break-even", "55")) + " %"
    assert main.filter(pl.col("gate").str.starts_with("vegas_bias"))["n to tell"][0] == "blind to skill" and "–" not in main["passes 50 / even / 55"].to_list()
    assert all(way_out(r, c.main) for r in c.main.results)

def whole(c: Card) -> str:
    "A card as a page, without a kernel."
    nb = new_notebook(cells=[new_code_cell("", outputs=[new_output("display_data", {"text/html": str(part(c, name))})]) for name in PARTS])
    return page_of(nb, "gate card").replace("<wbr>", "")

def words(html: str) -> str: return re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<style>.*?</style>|<[^>]+>", " ", html, flags=re.S))

def test_an_old_record_still_makes_a_card():
    "A report stored before the gates knew their characteristics shows that of the hit rate, and leaves the others open."
    c = toy_card()
    strip = lambda r: replace(r, summary={k: v for k, v in r.summary.items() if k not in ("characteristics", "strong", "edge_scale", "looks")} | {"looks": 1})
    old = replace(c, judged={k: report_of(strip(r).to_json()) for k, r in c.judged.items()})
    assert_quiet(html := whole(old))
    e = evidence(old.main)
    assert "blind to skill" not in e["n to tell"].to_list() and told_of(old.main, "hit_rate_edge3")["55"][0] == c.main.characteristic[2]["pass_"] and "Looks at these dates" in html

def test_a_family_judged_by_probability_never_speaks_of_points_of_edge():
    "Edges of a tenth of a point make no pick at edge 3+; a card that said '0 picks' there would call the model silent."
    c = toy_card("v9_anchored", n=900)
    page = words(html := whole(c))
    assert_quiet(html)
    assert not re.search(r"edge [135]\+|edge 3 and more|\(coloured: 3", page)
    for said in ("with positive expected value", "log loss of P(over)", "Brier score", "line - 0.5", "believes 33 % of its residual", "of about 150 decided rows"): assert said in page, said
    assert f"{case_on(c).picks()['won'].count()} decided picks with positive expected value" in page and html.count("<svg") == 5
    assert "believes 0 % of it. It says the line" in shrink_words(dict(slope=-.16, se=.51, factor=0.0, n=3278, days=41))

def test_a_model_without_a_pick_says_so_in_one_sentence():
    "Five gates that cannot tell are one fact: nothing was bet."
    c = toy_card("v9_anchored", n=600)
    rows = c.scored.with_columns(predicted=pl.col("line"), **{k: pl.col("line") for k in c.scored.columns if k.startswith("seed_")})
    mute = replace(c, scored=rows)
    mute = replace(mute, judged={p: report_of(run_gates(replace(case_on(mute), rows=rows.drop("rival")), p).to_json()) for p in SHOWN}, rival=None, bundle=c.bundle.with_spec(anchor=dict(slope=0.0, se=1.0, factor=0.0, n=9, days=9)))
    assert "it made no decided pick with positive expected value on 600 rows" in card_sentence(mute) and "it says the line" in silence_words(mute)
    assert_quiet(html := whole(mute))
    assert "so there is no hit rate to draw" in html

def test_the_card_says_why_a_passing_hit_rate_is_not_believed():
    "The bound passes and the verdict is INSUFFICIENT: without the reason it looks like an error of the gate."
    import numpy as np
    rows, rng = model_toys.scored_rows(skill=1.0, noise=3.0, seeds=3), np.random.default_rng(8)
    blind = lambda: pl.Series((rows["line"] + pl.Series(rng.normal(0, 3, rows.height))).to_list())
    rows = rows.with_columns(seed_43=blind(), seed_44=blind())
    report = run_gates(model_toys.case(rows.drop("incumbent").with_columns(incumbent=pl.lit(None, pl.Float64)), incumbent=None))
    assert report["hit_rate_edge3"].verdict == "INSUFFICIENT"
    c = replace(card("shadow"), judged={"default": report})
    assert "only 1 of 3 seeds" in card_sentence(c) and re.search(r"its own lower bound of [\d.]+ % reaches the break-even of 52.38 %, but only 1 of 3 seeds", words(part(c, "banner")))
    old = replace(report, results=tuple(replace(r, detail=r.detail.partition("; the artefact passes")[0]) for r in report.results))
    assert "passes by its own bound, but its median seed does not" in card_sentence(replace(c, judged={"default": old})) and held_words(card().main) == ""

def test_the_market_leak_is_red_where_a_set_claims_to_be_free():
    "A set that calls itself free of the market and knows the line must not pass for independent."
    assert [leak_verdict(*a, .8)[0] for a in (("v12_nomarket", .4), ("v12_nomarket", 1.6), ("v12_noveg", .02), ("v9", 0.0))] == ["FAIL", "PASS", "", ""]
    c = toy_card()
    red = replace(c, row=c.row | dict(model_family="v12_nomarket_mae", feature_set="v12_nomarket"), told=dict(market_residual=.4), judged={})
    assert 'class="finding bad"' in part(red, "market") and "0.8" in part(red, "market") and "knows the line" in part(c, "market")

def test_more_looks_ask_for_more():
    "Every further look must raise the hit rate that passes and lower what a break-even model gets away with."
    t = bound_rows(300, .5238, 1.0, [1, 4, 20])
    number = lambda k: [float(v.split()[0]) for v in t[t.columns[k]]]
    assert number(2) == sorted(number(2)) and number(2)[0] < number(2)[2] and number(3) == sorted(number(3), reverse=True)
    assert "4 models with 6 verdicts" in words(part(toy_card(), "looks")) and "3 looks" not in words(part(toy_card(), "looks"))

def test_the_words_stand_at_the_end_folded():
    "Whoever signs can look a word up; whoever knows it is not held up."
    html = whole(toy_card())
    seen = html[html.index("<section><h2>Words"):]
    assert html.index("<h2>Decision") < html.index("<h2>Words") and "<details><summary>" in seen and "open" not in seen[:120]
    for term in ("edge", "line", "break-even", "no-vig", "push", "INSUFFICIENT", "shadow", "paired comparison", "design effect", "semantic id"): assert f"<dt>{term}</dt>" in seen, term

@pytest.fixture
def shelved(wh, tmp_path):
    "A registry with one model that was judged and one that never was; no game is in the warehouse."
    from nbprops.model.registry import Registry
    r = Registry(wh, Store(str(tmp_path/"store")), print)
    judged, never = model_toys.bundle(1), model_toys.bundle(2, seed=1, windows=dict(requested=model_toys.WINDOW, effective=model_toys.WINDOW), evaluation={})
    report = run_gates(model_toys.case())
    r.register(judged, r.upload(judged), gate_policy="default", gate_verdict=report.verdict, gates_json=report.to_json())
    r.register(never, r.upload(never))
    return r, judged.model_id, never.model_id

def test_a_card_for_every_state(shelved):
    "Never judged, file gone, blocked: the card says so in a sentence and still has its identity, its history and a place to sign."
    r, judged, never = shelved
    html = words(page := whole(gather(r, never)))
    assert_quiet(page)
    assert "No gate has judged this v9_mae model" in html and "NOT JUDGED" in html and f"nbprops gates run {never}" in html and "Decision" in html and "Evidence" not in html
    no_games = words(whole(gather(r, judged)))
    assert "cannot be scored again" in no_games and "Evidence" in no_games and "Points scored" not in no_games
    from nbprops.model.states import paths
    r.store.remove(paths(r.get(judged))[0])
    gone = words(page := whole(gather(r, judged)))
    assert_quiet(page)
    assert "The model file cannot be opened" in gone and "is not in the store" in gone and "hit_rate_edge3" in gone
    r.block(judged, "leak of the line")
    blocked = words(whole(gather(r, judged)))
    r.import_rows(pl.DataFrame([dict(model_id="catboost_v9_33features_20260201_011018", model_family="v9_mae", status="production", enabled=True, is_production=True)]))
    older = words(page := whole(gather(r, "catboost_v9_33features_20260201_011018")))
    assert_quiet(page)
    assert "in production without any verdict" in older and "Nobody wrote down which feeds" in older and "unknown dates" in older and "gates run" not in older and "UNPROVEN" in older
    assert "It is blocked: nothing may serve it" in blocked and "BLOCKED" in blocked and "leak of the line" in blocked and "registry enable" not in blocked

def test_a_card_is_kept_beside_its_model(shelved, tmp_path, monkeypatch):
    "What was signed must still be there: the same card once, a different one under a name of its own, nothing replaced."
    r, judged, never = shelved
    row, page = r.get(never), tmp_path/"card.html"
    monkeypatch.setenv("NBPROPS_NOW", "2026-03-01T17:00:00Z")
    def put(body): page.write_text(f"<h1>{body}</h1><footer>made {body!r} at some time {len(list(tmp_path.iterdir()))}</footer>"); return store_card(r.store, row, page)
    first, new = put("SHADOW")
    page.write_text(page.read_text().replace("at some time", "later"))
    assert new and first.endswith(f"catboost/v9_mae/{never}.card.html") and store_card(r.store, row, page) == (first, False)
    second, new = put("REJECT")
    assert new and second.endswith(f"{never}.card.20260301_170000.html") and put("REJECT") == (second, False)
    third, _ = put("PROMOTE")
    assert len({first, second, third}) == 3 == len(cards_of(r.store, row)) and b"SHADOW" in r.store.get(cards_of(r.store, row)[0]) and cards_of(r.store, r.get(judged)) == []

def test_the_command_renders_and_stores(shelved, tmp_path, monkeypatch):
    "The way a person goes: one call, a page to read, and the same page beside the model."
    r, _, never = shelved
    monkeypatch.setenv("MODEL_STORE_URI", r.store.uri)
    from nbprops.story import gate_card
    out = gate_card(never, tmp_path/"pages")
    assert out["stored_note"] == "new" and Path(out["stored"]).read_bytes() == Path(out["html"]).read_bytes()
    assert "No gate has judged" in assert_quiet(Path(out["html"]).read_text()).text

# -- pieces --------------------------------------------------------------------

def test_the_first_line_says_whose_games_these_are(day_home, monkeypatch):
    "A page about a simulated league must not pass for one about real games, nor the other way round."
    nb = new_notebook(cells=[new_markdown_cell("# Verdict")])
    for where, colour in (("simulated league", " made-up"), ("real feeds", ""), ("real feeds mixed with a simulated league", " made-up")):
        monkeypatch.setattr(reports, "origin", lambda: where)
        page = page_of(nb, "t")
        assert f'<p class="origin{colour}"><strong>{where[0].upper() + where[1:]}</strong>' in page and page.index("class=\"origin") < page.index("Verdict") and f"on {where}</footer>" in page
    monkeypatch.undo()
    monkeypatch.setenv("NBPROPS_HOME", str(day_home[0]))
    assert origin() in ("simulated league", "real feeds")
    monkeypatch.setenv("NBPROPS_HOME", str(day_home[0]/"nothing"))
    assert origin() == "" and 'class="origin' not in page_of(nb, "t")

def test_every_colour_can_be_read_on_both_papers():
    "Grey on grey passes every other test; WCAG asks for 4.5 to 1."
    css = (shelf()/"report.css").read_text()
    themes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, flags=re.S)[:2]]
    def light(c):
        v = [int(c[i:i + 2], 16)/255 for i in (1, 3, 5)]
        return sum(k*(x/12.92 if x <= .04045 else ((x + .055)/1.055)**2.4) for k, x in zip((.2126, .7152, .0722), v))
    def ratio(a, b): return (max(light(a), light(b)) + .05)/(min(light(a), light(b)) + .05)
    low = [(name, paper, round(ratio(t[name], t[paper]), 2)) for t in themes for name in ("ink", "muted", "first", "second", "good", "fair", "bad", "odd", "still") for paper in ("paper", "card") if ratio(t[name], t[paper]) < 4.5]
    assert len(themes) == 2 and low == []

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
