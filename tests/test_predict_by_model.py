"By model: the strict form, its interval, its coverage, and the owner's own query."
import os, re
from pathlib import Path
import polars as pl
import pytest
from nbprops.core import implied_probability
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.predict.by_model import by_model
from nbprops.predict.grading import ACC, grade
from nbprops.predict.worker import Worker
from nbprops.settings import Refusal
from nbprops.stats import hit_rate
from tests.predict_world import DAY, LAST, PRED, copy_world

@pytest.fixture(scope="module")
def built(tmp_path_factory, light_home):
    home = tmp_path_factory.mktemp("world")/"home"
    os.environ["NBPROPS_HOME"] = str(home)
    copy_world(light_home, home)
    wh = Warehouse(home/"nbprops.duckdb")
    Worker.from_registry(wh, Store(str(home/"models")), quiet=True).predict_range(DAY, LAST)
    grade(wh, DAY, LAST)
    return home

@pytest.fixture
def wh(built, tmp_path): return copy_world(built, tmp_path/"home")[0]

def owners_query(edge: float) -> str:
    "E2 of the owner's file, at another edge."
    from nbprops.data.warehouse import statements
    text = (Path(__file__).parent/"owner_queries.sql").read_text(encoding="utf-8")
    (sql,) = [s for note, s in statements(text) if note.startswith("E2.")]
    return re.sub(r">= 5\b", f">= {edge}", sql)

@pytest.mark.parametrize("edge", [0, 1, 2.5, 5])
def test_the_owners_query_counts_the_same(wh, edge):
    "Would catch a report that answers another question than the query it replaces."
    asked = {r["model_file_name"]: r for r in wh.sql(owners_query(edge)).iter_rows(named=True)}
    lines = by_model(wh, "catboost_v9", edge).lines
    assert set(lines["model_file_name"]) == set(asked) and (edge > 1 or asked)
    for file, part in lines.group_by("model_file_name"):
        e2 = asked[file[0]]
        assert (part["rows"].sum(), part["first_date"].min(), part["last_date"].max()) == (e2["predictions"], e2["first_game"], e2["last_game"])
        assert 100*part["wins"].sum()/part["rows"].sum() == pytest.approx(e2["hit_rate"], abs=.051) and part.height == 1 and part["mae"][0] == pytest.approx(e2["mae"], abs=.0051)

def test_the_strict_form_against_a_plain_count(wh):
    "Would catch pushes, voids or passes in the denominator, and a break-even that is a constant."
    got = by_model(wh, "catboost_v9", 1).lines.row(0, named=True)
    rows = [r for r in wh.sql(f"SELECT * FROM {ACC} WHERE system_id = 'catboost_v9' AND line_value IS NOT NULL").iter_rows(named=True) if abs(r["predicted_points"] - r["line_value"]) >= 1]
    n = lambda x: sum(r["result"] == x for r in rows)
    assert (got["wins"], got["losses"], got["pushes"], got["voids"], got["passes"]) == tuple(n(x) for x in ("WIN", "LOSS", "PUSH", "VOID", "PASS")) and got["decided"] == n("WIN") + n("LOSS") > 5
    decided = [r for r in rows if r["result"] in ("WIN", "LOSS")]
    rate = hit_rate(pl.Series([r["result"] == "WIN" for r in decided]), pl.Series([r["game_date"] for r in decided]))
    assert (got["hit_rate_pct"], got["low_pct"], got["high_pct"]) == pytest.approx((100*rate.rate, 100*rate.low, 100*rate.high))
    prices = [implied_probability(r["over_price_american"] if r["recommendation"] == "OVER" else r["under_price_american"]) for r in rows if r["result"] in ("WIN", "LOSS", "PUSH")]
    assert got["break_even_pct"] == pytest.approx(100*sum(prices)/len(prices)) and got["priced"] == len(prices)

def test_pushes_voids_and_passes_neither_win_nor_lose(wh):
    "Would catch a rate that moves when a bet is returned."
    before = by_model(wh, "catboost_v9", 1).lines.row(0, named=True)
    for result in ("PUSH", "VOID", "PASS"):
        wh.sql(f"INSERT INTO {ACC} SELECT * REPLACE (CONCAT(prediction_id, '{result}') AS prediction_id, CONCAT(player_lookup, '{result}') AS player_lookup, '{result}' AS result, CAST(NULL AS BOOL) AS prediction_correct) FROM {ACC} WHERE system_id = 'catboost_v9' AND result IN ('WIN', 'LOSS')")
    after = by_model(wh, "catboost_v9", 1).lines.row(0, named=True)
    assert {k: after[k] for k in ("wins", "losses", "decided", "hit_rate_pct", "low_pct", "high_pct")} == {k: before[k] for k in ("wins", "losses", "decided", "hit_rate_pct", "low_pct", "high_pct")}
    assert after["rows"] == before["rows"] + 3*before["decided"]

def test_training_days_stand_apart_and_carry_no_interval(wh):
    "Would catch a hit rate on games that the model was trained on, sold as evidence."
    wh.sql(f"UPDATE {ACC} SET model_training_end_date = '{DAY}' WHERE system_id = 'catboost_v9'"); wh.sql(f"UPDATE {PRED} SET model_training_end_date = '{DAY}' WHERE system_id = 'catboost_v9'")
    got = by_model(wh, "catboost_v9", 0)
    free, trained = got.lines.filter(~pl.col("inside")).row(0, named=True), got.lines.filter("inside").row(0, named=True)
    assert (free["first_date"], free["last_date"], trained["first_date"], trained["last_date"]) == (LAST, LAST, DAY, DAY)
    assert trained["low_pct"] is None and trained["remark"].startswith("training days, no evidence") and "training days, no evidence" in str(got) and free["low_pct"] is not None and "training" not in free["remark"]

def test_low_coverage_hides_the_rate(wh):
    "Would catch a hit rate over the rows that somebody happened to grade."
    full = by_model(wh, "catboost_v9", 1).lines.row(0, named=True)
    assert full["coverage_pct"] == 100.0
    wh.sql(f"DELETE FROM {ACC} WHERE system_id = 'catboost_v9' AND result = 'LOSS'")
    got = by_model(wh, "catboost_v9", 1)
    r = got.lines.row(0, named=True)
    assert r["gradable"] == full["gradable"] and r["coverage_pct"] == pytest.approx(100*(full["gradable"] - full["losses"])/full["gradable"]) and r["coverage_pct"] < 80
    assert (r["hit_rate_pct"], r["low_pct"]) == (None, None) and "no rate is shown" in str(got) and r["wins"] == full["wins"]

def test_rows_that_were_never_graded_at_all_are_a_line(wh):
    "Would catch a model that vanishes from the report because nobody graded it."
    wh.sql(f"DELETE FROM {ACC} WHERE system_id = 'catboost_v9_shadow'")
    r = by_model(wh, "catboost_v9_shadow", 1).lines.row(0, named=True)
    assert r["coverage_pct"] == 0 and r["decided"] == 0 and r["hit_rate_pct"] is None and str(by_model(wh, "catboost_v9_shadow", 1))

def test_two_files_of_one_system_are_two_lines(wh):
    "Would catch the 75.9 % that belonged to neither file."
    wh.sql(f"UPDATE {ACC} SET model_file_name = 'other.cbm', model_sha256 = REPEAT('e', 64) WHERE system_id = 'catboost_v9' AND game_date = '{LAST}'")
    lines = by_model(wh, "catboost_v9", 0).lines
    assert lines["model_file_name"].to_list()[0] == "other.cbm" and lines.height == 2 and lines["first_date"].to_list() == [LAST, DAY]
    assert by_model(wh, "catboost_v9", 0, end=DAY).lines["model_file_name"].to_list() == lines["model_file_name"].to_list()[1:]

def test_a_hand_written_system_and_an_unknown_one(wh):
    "Would catch a report that needs a file name, or that is silent about a typing error."
    got = by_model(wh, "moving_average", 2)
    assert got.lines.height == 1 and "moving_average_v1" in str(got) and "after the tip-off" in str(got)
    assert "no graded row has such an edge" in str(by_model(wh, "moving_average", 55))
    with pytest.raises(Refusal, match="choose among catboost_v9, "): by_model(wh, "catboost9")
    with pytest.raises(Refusal, match="no edge"): by_model(wh, "catboost_v9", -1)
