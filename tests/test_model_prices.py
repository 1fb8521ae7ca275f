"Prices by which a bet is judged."
from datetime import date
import polars as pl
import pytest
from nbprops.data.league import simulate
from nbprops.data.reference import build_reference
from nbprops.data.sources import land
from nbprops.data.warehouse import Warehouse
from nbprops.features.facts import Facts
from nbprops.features.store import build, write_features
from nbprops.model.evaluation import evaluation_rows

FIRST, LAST, KEYS = date(2025, 11, 4), date(2025, 12, 12), ["game_id", "player_lookup"]

@pytest.fixture(scope="module")
def both(tmp_path_factory):
    "The same games judged from a store of the tip-off and from one of the morning."
    frames = simulate(light=True)
    def rows(as_of):
        wh = Warehouse(tmp_path_factory.mktemp("prices")/"n.duckdb"); wh.migrate(); land(frames, wh); build_reference(wh)
        write_features(wh, build(Facts.read(wh, FIRST, LAST), FIRST, LAST, "tip"))
        if as_of != "tip": write_features(wh, build(Facts.read(wh, date(2025, 12, 6), LAST), date(2025, 12, 6), LAST, as_of), (date(2025, 12, 6), LAST))
        return evaluation_rows(wh, date(2025, 12, 1), LAST).sort(KEYS)
    return rows("tip"), rows("run:OVERNIGHT")

def test_a_morning_slate_is_judged_at_the_prices_of_the_tip(both):
    "Fails when the price of the morning is taken for a bet on the closing line, or a moved line has no price."
    tip, morning = both
    joined = tip.join(morning, on=KEYS, suffix="_m")
    assert joined.height == tip.height > 100
    for c in ("line", "over_price_american", "under_price_american"): assert joined[c].equals(joined[f"{c}_m"], null_equal=True), c

def test_the_line_of_the_features_is_the_line_of_the_bet(both):
    "Fails when a model reads one line and is judged on another."
    for rows in both:
        priced = rows.filter(pl.col("vegas_points_line").is_not_null())
        assert (priced["vegas_points_line"] == priced["line"]).all() and priced.height > 100
