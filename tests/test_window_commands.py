"The window commands: from a warehouse to a stored record, a page and an exit code; bad input is one sentence."
import json
from dataclasses import replace
from datetime import date
import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st
from nbprops.commands.windows import numbers, seconds
from nbprops.data.warehouse import Warehouse
from nbprops.model.window_case import LIGHT, SMALL, small_study
from nbprops.model.window_evidence import asked, family_of, read_study, rebuilt_of, reported_rows
from nbprops.model.window_sweep import Grid, Sweep, blocks_of, curve, run, window_of
from nbprops.settings import Refusal
from tests.player import run as command

SPAN = dict(base="2025-11-04:2025-11-21", wide="2025-11-04:2025-12-12")

@pytest.fixture(scope="module")
def season(tmp_path_factory):
    "A home with the light league and its features until the end of the small study."
    from nbprops.data.league import simulate
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import land
    from nbprops.features.facts import Facts
    from nbprops.features.store import build, write_features
    home = tmp_path_factory.mktemp("season")/"home"; home.mkdir()
    wh, span = Warehouse(home/"nbprops.duckdb"), (SMALL.base[0], SMALL.evaluation[1])
    wh.migrate(); land(simulate(light=True, end=span[1]), wh); build_reference(wh)
    write_features(wh, build(Facts.read(wh, *span), *span))
    return home

def call(home, *words, code=0):
    "A command on a home; its JSON or text."
    out = command(home, *words)
    assert out.returncode == code, (out.stdout[-1500:], out.stderr[-1500:])
    return json.loads(out.stdout) if "--json" in words else out.stdout + out.stderr

def test_a_study_of_a_warehouse_is_the_study_of_its_frames(season):
    wh, here = Warehouse(season/"nbprops.duckdb"), small_study(0)
    s = read_study(wh, asked(wh, "2025-11-02:2025-11-21", "2025-11-02:2025-12-12"), method=LIGHT)
    assert s.windows == SMALL and s.contract.hash == here.contract.hash
    for mine, theirs in ((s.stored, here.stored), (s.fresh, here.fresh)):
        names = [*here.contract.names, "actual"]
        assert mine.select(names).cast(pl.Float64).equals(theirs.select(names).cast(pl.Float64))
    assert s.games.equals(here.games.filter(pl.col("game_date") >= s.games["game_date"].min())) and "no graded predictions" in s.source

def test_a_stored_row_that_was_changed_afterwards_is_found(season, tmp_path):
    import shutil
    shutil.copy(season/"nbprops.duckdb", tmp_path/"changed.duckdb")
    wh = Warehouse(tmp_path/"changed.duckdb")
    wh.sql("UPDATE nba_predictions.ml_feature_store_v2 SET fatigue_score = 100 - fatigue_score WHERE game_date BETWEEN '2025-11-22' AND '2025-12-12'")
    from nbprops.model.window_guards import failed, guards
    assert failed(guards(read_study(wh, asked(wh, **SPAN), method=LIGHT))) == ["feature(composite)"]

def test_recorded_predictions_are_the_reported_comparison_when_there_are_any(light_home, tmp_path):
    from nbprops.predict.grading import grade
    from tests.predict_world import DAY, LAST, copy_world
    wh, store, worker = copy_world(light_home, tmp_path/"home")
    for d in (DAY, LAST): worker().predict(d)
    grade(wh, DAY, LAST)
    w = replace(SMALL, base=(date(2025, 11, 4), date(2025, 12, 1)), wide=(date(2025, 11, 4), date(2025, 12, 8)), evaluation=(DAY, LAST))
    from nbprops.features.facts import Facts
    served, words = reported_rows(wh, store, "v9_mae", w, Facts.read(wh, DAY, LAST))
    assert words.startswith("graded predictions of catboost_v9") and min(f.height for f in served.values()) > 20
    for f in served.values():
        assert f["model_sha256"].n_unique() == 1 and f.select((pl.col("predicted") - pl.col("recomputed")).abs().max()).item() < .011
        assert f["record"].is_not_null().mean() > .5 and f.filter(pl.col("record") != pl.col("line")).is_empty() # each was served with the line of its moment
        assert f["vegas_points_line"].is_not_null().mean() > .5 and f.filter(pl.col("vegas_points_line").is_not_null() & (pl.col("vegas_points_line") != pl.col("line"))).is_empty()

def test_the_command_answers_keeps_and_draws(season):
    r = call(season, "investigate", "window", "--base", SPAN["base"], "--wide", SPAN["wide"], "--family", "v9_mae", "--seeds", "3", "--light", "--claimed", "mae=4.1", "--json")
    assert r["verdict"] == "no_real_difference" and r["claim"].startswith("The claimed mae of 4.10") and r["command"].startswith("nbprops investigate window --base 2025-11-04:2025-11-21")
    wh = Warehouse(season/"nbprops.duckdb")
    row = wh.sql("SELECT * FROM nba_predictions.ml_experiments WHERE experiment_id = @e", e=r["experiment_id"]).row(0, named=True)
    assert row["experiment_type"] == "window_investigation" and row["status"] == "completed" and json.loads(row["results_json"])["sentence"] == r["sentence"] and row["data_snapshot_hash"] == r["snapshot"]
    from pathlib import Path
    html = Path(r["page"]).read_text(encoding="utf-8")
    assert html.count("<svg") == 6 and r["command"] in html.replace("&quot;", '"') and html.index("In pictures") < html.index("Was the comparison valid?") < html.index("Attribution") < html.index("Not tested") < html.index("Repeat it")

@pytest.mark.parametrize("words, says", [(["--base", "2025-11-21:2025-11-04", "--wide", SPAN["wide"]], "swap the dates"), (["--base", SPAN["base"], "--wide", SPAN["wide"], "--eval", "2025-12-01:2026-01-04"], "begin on 2025-12-13"),
    (["--base", SPAN["base"], "--wide", SPAN["wide"], "--eval", "2025-12-13:2025-12-15"], "on 3 days"), (["--base", SPAN["base"], "--wide", "2025-11-04:2026-01-04"], "ingest later games"), (["--base", SPAN["base"], "--wide", SPAN["wide"], "--family", "v9_anchored"], "investigate v9_mae"),
    (["--base", SPAN["base"], "--wide", SPAN["wide"], "--family", "v99_mae"], "choose one of"), (["--base", SPAN["base"], "--wide", SPAN["wide"], "--budget", "soon"], "write it like 5m"), (["--base", SPAN["base"], "--wide", SPAN["wide"], "--claimed", "mae"], "write it like mae"),
    (["--base", SPAN["base"], "--wide", SPAN["wide"], "--seeds", "1"], "use 10"), (["--base", SPAN["wide"], "--wide", SPAN["base"]], "swap --base and --wide"), (["--base", SPAN["base"], "--wide", SPAN["wide"], "--claimed", "hr=0.746"], "write hr=74.6"),
    (["--base", SPAN["base"], "--wide", SPAN["wide"], "--light", "--reported", "2025-10-01:2025-10-03"], "No reported row"), (["--base", SPAN["base"], "--wide", SPAN["wide"]], "at least 1000 are needed")])
def test_bad_questions_are_one_sentence_and_exit_2(season, words, says):
    said = call(season, "investigate", "window", *words, code=2)
    assert says in said and len(said.strip().splitlines()) == 1

def test_a_warehouse_that_is_not_there_is_one_sentence(tmp_path): assert "No warehouse" in call(tmp_path/"none", "investigate", "window", "--base", SPAN["base"], "--wide", SPAN["wide"], code=2)

def test_a_budget_is_kept_and_the_skipped_arms_are_listed(season):
    r = call(season, "investigate", "window", "--base", SPAN["base"], "--wide", SPAN["wide"], "--family", "v9_mae", "--light", "--everything", "--budget", "14s", "--no-page", "--json")
    assert r["seconds"] < 20 and any("the budget was used up" in u for u in r["untested"]) and r["verdict"] == "no_real_difference"

@pytest.mark.parametrize("text, value", [("5m", 300), ("90", 90), ("1.5h", 5400)])
def test_budgets_are_read(text, value): assert seconds(text) == value

@pytest.mark.parametrize("text", ["", "a,b", "28,-1"])
def test_lists_that_are_none_are_refused(text):
    with pytest.raises(Refusal): numbers(text, "lengths")

# the sweep

@given(st.lists(st.integers(1, 90), min_size=1, max_size=4, unique=True), st.lists(st.integers(0, 40), min_size=1, max_size=3, unique=True), st.integers(1, 5), st.integers(1, 14), st.integers(20, 250))
def test_no_window_reaches_its_block_or_begins_before_the_data(lengths, ages, blocks, days, season_days):
    g, first = Grid(tuple(lengths), tuple(ages), blocks, days), date(2025, 10, 21)
    last = date.fromordinal(first.toordinal() + season_days)
    try: found = blocks_of(g, first, last)
    except Refusal: assert season_days - days + 1 < g.reach; return
    assert found[-1][1] == last and all(b[0] > a[1] for a, b in zip(found, found[1:]))
    for b in found:
        for n in lengths:
            for a in ages:
                w = window_of(b, n, a)
                assert first <= w[0] <= w[1] < b[0] and (w[1] - w[0]).days == n - 1 and (b[0] - w[1]).days == a + 1

def small_sweep(rows: pl.DataFrame) -> Sweep:
    "Four cells of two seeds on a light league."
    s = small_study(2)
    return Sweep(s.family, s.contract, rows, rows.filter(pl.col("line").is_not_null()), Grid((14, 30), (0, 7), 1, 10), (42, 43), replace_params(s.params), LIGHT)

def replace_params(p: dict) -> dict: return p | dict(iterations=40)

def test_results_of_judged_days_do_not_move_what_is_said_about_them():
    s = small_study(2)
    rows = pl.concat([s.rebuilt.filter("ready"), s.fresh]).sort("game_date", "game_id", "player_lookup")
    a = small_sweep(rows); block = a.blocks()[0]
    later = small_sweep(rows.with_columns(actual=pl.when(pl.col("game_date") >= block[0]).then(pl.col("actual") + 7).otherwise("actual")))
    one, two = curve(*run(a)), curve(*run(later))
    assert one.select("spread", "spread_low", "picks").equals(two.select("spread", "spread_low", "picks")) and not one["error"].equals(two["error"])
    line = (rows.filter(pl.col("game_date").is_between(*block) & pl.col("line").is_not_null()).select((pl.col("actual") - pl.col("line")).abs().mean()).item())
    cells, _, daily = run(a)
    got = one.filter(length=14, age=0)["error"][0]
    assert got == pytest.approx(cells[14, 0]["error_n"].sum()/cells[14, 0]["error_d"].sum() - line)

def test_the_sweep_command_writes_a_table_a_picture_and_an_experiment(season):
    r = call(season, "windows", "sweep", "--start", "2025-11-04", "--lengths", "14,28", "--ages", "0", "--blocks", "2", "--block-days", "8", "--seeds", "2", "--light", "--json")
    from pathlib import Path
    assert len(r["curve"]) == 2 and Path(r["picture"]).read_text().lstrip().startswith("<?xml") and r["sentence"]
    assert Warehouse(season/"nbprops.duckdb").sql("SELECT experiment_type FROM nba_predictions.ml_experiments WHERE experiment_id = @e", e=r["experiment_id"])["experiment_type"][0] == "window_sweep"

@pytest.mark.parametrize("words, says", [(["--start", "soon"], "is no date"), (["--start", "2025-11-04", "--lengths", "90,100"], "add up to"), (["--start", "2025-11-04", "--lengths", "x"], "is no list"), (["--start", "2025-11-04", "--seeds", "0"], "at least 1"), (["--start", "2025-11-04", "--lengths", "0,14"], "trains nothing"), (["--start", "2025-11-04", "--lengths", "28", "--ages", "0", "--blocks", "6"], "ask for --blocks"), (["--start", "2025-11-04", "--lengths", "5", "--ages", "0", "--light"], "leave out the shortest")])
def test_bad_sweeps_are_one_sentence(season, words, says):
    said = call(season, "windows", "sweep", *words, code=2)
    assert says in said and len(said.strip().splitlines()) == 1
