"A model's day: judged against its own expectation, and silent where a day cannot speak."
import json, shutil
from datetime import date, timedelta
import numpy as np
import pytest
from scipy.stats import binom
from nbprops.cli import main
from nbprops.data.warehouse import Warehouse
from nbprops.ops.rehearsal import DAY, rehearse
from nbprops.ops.reports import run_report
from nbprops.ops.colour_page import read_colours, record_words
from nbprops.ops.weekly_page import judged, read_week, verdicts, week_sentence
from nbprops.predict.day_performance import Z, day_performance, detectable, difference_high, most_wins, window_line
from nbprops.settings import Refusal
from nbprops.stats import wilson
from tests.test_ops_reports import assert_quiet

ACC = "nba_predictions.prediction_accuracy"

@pytest.fixture(scope="module")
def made(tmp_path_factory): return rehearse(tmp_path_factory.mktemp("days")/"world.duckdb")

@pytest.fixture
def world(made, tmp_path):
    "A warehouse of one's own, with a month of graded rows."
    home = tmp_path/"home"; home.mkdir(exist_ok=True)
    shutil.copy(made.path, home/"nbprops.duckdb")
    return Warehouse(home/"nbprops.duckdb")

def run(*words: str) -> int:
    "Exit code of a command."
    with pytest.raises(SystemExit) as e: main(list(words))
    return e.value.code

def expect(wh, rate: float, mae: float = 5.0) -> None:
    "Let the model have promised this."
    wh.sql(f"UPDATE {ACC} SET model_expected_hit_rate = @r, model_expected_mae = @m WHERE system_id = 'catboost_v9'", r=float(rate), m=float(mae))

def test_counts_equal_a_count_by_hand(world):
    "Wins, losses, error and directions of the day, from the table."
    p = day_performance(world, DAY, "catboost_v9")
    r = world.sql(f"SELECT COUNTIF(result = 'WIN') AS w, COUNTIF(result = 'LOSS') AS l, COUNTIF(result = 'PUSH') AS p FROM {ACC} WHERE game_date = @d AND system_id = 'catboost_v9' AND ABS(predicted_points - line_value) >= 3 AND recommendation IN ('OVER', 'UNDER')", d=DAY).row(0)
    day, week, month = p.windows
    assert (day.wins, day.losses, day.pushes) == tuple(int(x) for x in r)
    assert day.mae == pytest.approx(world.sql(f"SELECT AVG(absolute_error) AS m FROM {ACC} WHERE game_date = @d AND system_id = 'catboost_v9'", d=DAY)["m"][0])
    assert (day.days, week.days, month.days) == (1, 7, 28) and sum(w.n for w in p.directions[:2]) == day.n and sum(w.n for w in p.directions[2:]) == month.n
    assert p.games == p.final and p.gradable == p.graded > 0 and p.colour.startswith("RED")

def test_a_day_is_insufficient_and_says_what_it_could_have_shown(world):
    expect(world, 45)
    p = day_performance(world, DAY, "catboost_v9")
    assert p.verdict == "INSUFFICIENT" and p.exit_code == 0 and p.windows[0].excess.low is None
    assert "could not have shown" in str(p) or "four times in five" in str(p)

def test_four_weeks_below_the_promise_warn(world):
    expect(world, 60)
    p = day_performance(world, DAY, "catboost_v9")
    assert p.verdict == "WARN" and "the hit rate of four weeks" in p.reasons[0]
    assert run("validate", "model-performance", "--date", str(DAY), "--system-id", "catboost_v9") == 1

def test_an_error_above_the_promise_warns(world):
    expect(world, 45, mae=3.0)
    p = day_performance(world, DAY, "catboost_v9")
    assert p.verdict == "WARN" and any("error of four weeks" in r for r in p.reasons)

def test_a_bad_night_is_told_from_a_bad_month(world):
    "The error of one night is held against how much nights differ."
    expect(world, 45, mae=5.0)
    world.sql(f"UPDATE {ACC} SET absolute_error = absolute_error + 6 WHERE system_id = 'catboost_v9' AND game_date = @d", d=DAY)
    p = day_performance(world, DAY, "catboost_v9")
    assert p.verdict == "WARN" and any("error of the day" in r for r in p.reasons) and not any("four weeks" in r for r in p.reasons)

@pytest.mark.parametrize("damage,said", [("UPDATE nba_reference.nba_schedule SET game_status = 1 WHERE game_date = @d", "games are not final"), ("DELETE FROM nba_predictions.prediction_accuracy WHERE game_date = @d", "nothing is graded"),
    ("DELETE FROM nba_reference.nba_schedule WHERE game_date = @d", "no game was scheduled"), ("UPDATE nba_predictions.prediction_accuracy SET model_expected_mae = NULL, model_expected_hit_rate = NULL WHERE game_date = @d", "state no expectation"),
    ("DELETE FROM nba_predictions.prediction_accuracy WHERE game_date = @d AND recommendation <> 'PASS' AND MOD(LENGTH(player_lookup) + CAST(actual_points AS INT64), 2) = 0", "gradable predictions are graded")])
def test_what_cannot_be_judged_is_not(world, damage, said):
    "Even where the numbers look bad: half a day is no day."
    expect(world, 60)
    world.sql(damage, d=DAY)
    if "MOD" in damage: world.sql("DELETE FROM nba_predictions.prediction_accuracy WHERE game_date = @d AND recommendation = 'OVER'", d=DAY)
    p = day_performance(world, DAY, "catboost_v9")
    assert p.verdict == "INSUFFICIENT" and said in p.reasons[0] and str(p)

def test_unknown_systems_are_refused(world):
    with pytest.raises(Refusal, match="No system 'catboost_v99'.*catboost_v9_shadow"): day_performance(world, DAY, "catboost_v99")
    assert run("validate", "model-performance", "--date", "2026-02-1x", "--system-id", "catboost_v9") == 2

def test_an_uncertain_promise_is_harder_to_break():
    "An expectation from eighty picks carries its own interval; without one the bound is the exact one-sample bound."
    assert difference_high(60, 150, .54, 80) > difference_high(60, 150, .54, None)
    assert difference_high(60, 150, .54, None) == pytest.approx(wilson(60, 150, Z)[1] - .54)
    assert difference_high(0, 0, .54, 80) == 1.0

def test_what_is_detectable_is_detected():
    "Drawn seasons: at the detectable rate four in five are called worse, and at the promise one in eighty or fewer."
    rng = np.random.default_rng(0)
    for n, behind in ((40, None), (120, 200), (300, None)):
        r = detectable(n, .55, behind)
        calls = lambda p: np.mean([difference_high(w, n, .55, behind) < 0 for w in rng.binomial(n, p, 4000)])
        assert calls(r) == pytest.approx(.8, abs=.03) and calls(.55) <= .0125 + .008
    assert detectable(2, .55) is None and detectable(30, .55) < detectable(300, .55) and most_wins(2, .55, None) == -1

def test_json_of_the_day(world, capsys):
    assert run("validate", "model-performance", "--date", str(DAY), "--json") in (0, 1)
    out = json.loads(capsys.readouterr().out)
    assert {"verdict", "reasons", "windows", "directions", "colour", "could_have_shown", "seen"} <= set(out)

def test_the_colours_of_a_morning_do_not_know_the_evening(world):
    "For one date the record ends on the eve; for a range it is the range's."
    c, r = read_colours(world, DAY, DAY), read_colours(world, DAY - timedelta(days=3), DAY)
    assert c.picks["game_date"].max() < DAY == r.picks["game_date"].max() and r.picks["game_date"].min() >= DAY - timedelta(days=3)
    assert "all 4 days were RED" in record_words(r.records["catboost_v9"])
    with pytest.raises(Refusal, match="No game is scheduled"): read_colours(world, date(2026, 7, 1), date(2026, 7, 1))

def test_the_week_would_rather_say_not_proven(world):
    w = read_week(world, DAY)
    assert {(l.system, l.span) for l in w.lines} >= {("catboost_v9", 7), ("catboost_v9", 28)} and len(verdicts(w)) == 3
    l = w.of(28)[0]
    assert l.mae - l.line_mae == pytest.approx(l.gap) and judged(l, 10_000) == "NOT PROVEN"
    world.sql(f"DELETE FROM {ACC} WHERE game_date < @d", d=DAY)
    assert week_sentence(read_week(world, DAY)).startswith("Not proven: no model made 20")
    with pytest.raises(Refusal, match="Nothing is graded"): read_week(world, date(2025, 1, 1))

def test_commands_and_pages(world, capsys):
    assert run("report", "weekly", "--date", str(DAY), "--no-page", "--json") == 0 and json.loads(capsys.readouterr().out)["sentence"]
    assert run("report", "daily-signal", "--date", str(DAY), "--no-page") == 0
    said = capsys.readouterr().out
    assert "changes no pick" in said and "0.0065" in said and "chosen after the fact" in said
    for name, params in (("weekly_performance", {"end": str(DAY)}), ("daily_signal", {"start": str(DAY - timedelta(days=5)), "end": str(DAY)})):
        page = assert_quiet(run_report(name, params)[1].read_text())
        assert "What changed" in page.text and "What to do" in page.text and page.tags.count("svg") == 2
