"The commands and the page of the signals, as a person types and reads them."
import json, re
from datetime import date
import pytest
from nbprops.cli import main
from nbprops.signals.practice import outcomes, practice, stored

@pytest.fixture(scope="module")
def played_league(tmp_path_factory):
    from nbprops.data.warehouse import Warehouse
    w = Warehouse(tmp_path_factory.mktemp("signals")/"nbprops.duckdb"); w.migrate()
    league = practice(seed=1); stored(w, league, outcomes(league.predictions, 5))
    return w.path

@pytest.fixture
def home(played_league, tmp_path):
    import shutil
    (tmp_path/"home").mkdir(exist_ok=True); shutil.copy(played_league, tmp_path/"home"/"nbprops.duckdb")
    return tmp_path/"home"

@pytest.fixture
def say(home, say): return say # in the played home

@pytest.mark.parametrize("line, code, word", [
    ("nbprops signals list", 0, "b2b_fatigue_under"), ("nbprops signals annotate --date 2025-11-15", 0, "annotated"), ("nbprops signals annotate --start-date 2025-11-15 --end-date 2025-11-20", 0, "annotated"), ("nbprops signals health --date 2025-12-16", 0, "high_edge"), ("nbprops signals daily --date 2025-11-15", 0, "RED"),
    ("nbprops best-bets --date 2025-11-15 --policy edge3", 0, "OVER"), ("nbprops best-bets --date 2025-11-15", 0, "their games have begun"), ("nbprops subsets --date 2025-11-16", 0, "v9_high_edge_top5"), ("nbprops subsets --date 2025-11-16", 0, "no record"), ("nbprops subsets --date 2025-11-16 --results", 0, "No list was stored"), ("nbprops best-bets --date 2025-11-15 --funnel", 0, "after few_signals"), ("nbprops signals health --date 2025-12-16 --family v9_q43", 0, "Wilson"), ("nbprops signals daily --date 2025-11-15", 0, "not independent"),
    ("nbprops signals backtest --start 2025-11-08 --end 2025-12-19 --tags pace_up --no-page", 0, "pace_mismatch"), ('nbprops signals demote high_edge --reason "stale"', 0, "active -> prototype"),
    ("nbprops signals backtest --start 2025-11-08 --end 2025-12-19 --tags b2b_fatigue_under --no-page", 0, "nothing can be said")])
def test_a_command_answers(say, line, code, word):
    "Fails when a command breaks, or answers something else."
    got = say(line); assert got[0] == code and word in got[1] + got[2], got

@pytest.mark.parametrize("line, word", [
    ("nbprops signals daily --date 2026-07-01", "No game is scheduled"), ("nbprops signals health --date 2026-07-01", "No game is scheduled"), ("nbprops signals health --date 2025-12-16 --family v9_q99", "No model of the family"), ("nbprops best-bets --date 2026-07-01", "No game is scheduled"), ("nbprops best-bets --date 2025-11-15 --policy v9", "is no policy"), ("nbprops best-bets --date 2025-11-15 --results", "No picks of 2025-11-15 were published"),
    ("nbprops signals backtest --start 2025-11-08 --end 2025-12-19 --tags nosuch --no-page", "no signal and no combo"), ("nbprops signals backtest --start 2026-05-01 --end 2026-06-01 --no-page", "No graded prediction"), ('nbprops signals promote high_edge --experiment 00000000 --reason x', "No signal backtest"), ('nbprops signals demote nosuch --reason x', "is no signal"), ("nbprops signals annotate --date 15.11.2025", "YYYY-MM-DD"), ("nbprops signals annotate --date 2025-11-15 --start-date 2025-11-15", "twice")])
def test_bad_input_is_one_sentence_and_exit_code_two(say, line, word):
    "Fails when a mistake is a traceback, or a success."
    code, out, err = say(line); assert code == 2 and word in err and "Traceback" not in err and len(err.strip().splitlines()) == 1

def test_programs_get_json(say):
    "Fails when --json is not the whole answer."
    for line in ("nbprops signals list --json", "nbprops signals daily --date 2025-11-15 --json", "nbprops signals health --date 2025-12-16 --json", "nbprops best-bets --date 2025-11-15 --json", "nbprops best-bets --date 2025-11-15 --funnel --json", "nbprops subsets --date 2025-11-16 --json", "nbprops signals backtest --start 2025-11-08 --end 2025-12-19 --no-page --json"):
        assert json.loads(say(line)[1])

def test_an_empty_home_is_one_sentence(tmp_path, monkeypatch, capsys):
    "Fails when a folder without a warehouse is a traceback."
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"nothing"))
    with pytest.raises(SystemExit) as e: main(["signals", "daily", "--date", "2025-11-15"])
    assert e.value.code == 2 and len(capsys.readouterr().err.strip().splitlines()) == 1

def test_the_page_of_a_backtest(say, home):
    "Fails when the page breaks, lacks a picture or its words, or asks the network for anything."
    code, out, _ = say("nbprops signals backtest --start 2025-11-08 --end 2025-12-19")
    page = next((home/"reports").rglob("signal_backtest*.html")).read_text()
    assert code == 0 and page.count("<svg") >= 3 and "may be promoted" in page and "Benjamini" in page and "Traceback" not in page
    assert all(w in page for w in ("Every rule", "The best of many", "Against plain edges", "Not tested", "Declaration"[1:])) and not re.search(r'(src|href)="https?://', page)

def test_the_registry_tables_are_filled_by_the_first_run(say, home):
    "Fails when a query on combos or subsets finds nothing although they are in force."
    from nbprops.data.warehouse import Warehouse
    say("nbprops subsets --date 2025-11-16")
    w = Warehouse(home/"nbprops.duckdb")
    assert w.read("nba_predictions.signal_combo_registry").height == 7 and w.read("nba_predictions.dynamic_subset_definitions").height == 9
