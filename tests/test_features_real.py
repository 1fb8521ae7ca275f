"What the real feeds can and cannot feed; needs the folder of real feeds."
from datetime import date
import polars as pl
import pytest
from nbprops.features.catalogue import contract, feed_profile
from nbprops.features.context import CONTEXT
from nbprops.features.guards import CANARY, RECOVERABLE, batch_gate, leak_canary, line_residual
from nbprops.features.store import STORE, build
from nbprops.features.summaries import PGS
from tests.features_toys import real_facts

pytestmark = pytest.mark.real

@pytest.fixture(scope="module")
def season(): return build(real_facts(), date(2025, 11, 4), date(2026, 2, 28))

@pytest.mark.parametrize("windows, profile", [
    ([(date(2025, 11, 2), date(2026, 1, 31)), (date(2026, 2, 1), date(2026, 2, 28))], "box+shots+props"),
    ([(date(2023, 10, 24), date(2024, 6, 17))], "box+team_box"),
    ([(date(2024, 1, 30), date(2024, 6, 17))], "box+team_box+props"),
    ([(date(2024, 1, 30), date(2024, 6, 17)), (date(2025, 11, 2), date(2026, 1, 31))], "box+props")])
def test_feed_profiles_of_real_windows(windows, profile):
    "A feed counted as present that was not delivered, or the reverse."
    assert feed_profile(real_facts(), windows) == profile

def test_clean_rows_pass_the_canary(season):
    "A same-day leak on real rows."
    assert .65 < leak_canary(season[STORE], season[PGS]) < CANARY

def test_market_free_set_does_not_know_the_line(season):
    "A set called free of the market from which the line can be computed."
    profile = "box+shots+props"
    assert line_residual(season[STORE], "v12_nomarket", profile) >= RECOVERABLE
    assert line_residual(season[STORE], "v12_noveg", profile) < 1e-6

def test_no_required_feature_is_absent_for_all(season):
    "A feature of the profile that the real data never fills."
    store = season[STORE].filter(pl.col("feed_profile") == "box+shots+props")
    empty = [f.name for f in contract("v12", "box+shots+props").features if store[f.name].null_count() == store.height]
    assert empty == []

def test_most_lined_players_are_on_the_slate(season):
    "A universe that misses players whom bookmakers expect to play."
    lined = season[PGS].filter(pl.col("points_line").is_not_null() & (pl.col("game_date") >= date(2025, 11, 4)))
    found = lined.join(season[CONTEXT], on=["game_id", "player_lookup"], how="semi")
    assert found.height/lined.height > .99

def test_slate_holds_players_who_did_not_play(season):
    "A universe made of the players who played."
    absent = season[CONTEXT].join(season[PGS], on=["game_id", "player_lookup"], how="anti")
    assert absent.height/season[CONTEXT].height > .1

def test_few_values_out_of_range(season):
    "A range or a unit that real values do not respect."
    assert season["breaches"].height < .01*season[STORE].height

def test_batch_gate_stops_few_real_dates(season):
    "A gate that honest dates cannot pass."
    crit = batch_gate(season[STORE]).filter(severity="CRIT")
    assert crit["game_date"].n_unique() < .1*season[STORE]["game_date"].n_unique()
