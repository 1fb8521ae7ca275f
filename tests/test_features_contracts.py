"Contracts, hashes, feed profiles, quality fields, the batch gate, and what a write does."
from datetime import date, timedelta
import polars as pl
import pytest
from nbprops.data.tables import table
from nbprops.features.catalogue import FEATURES, FULL, NAMES, contract, feed_profile, require_names, same_inputs
from nbprops.features.feeds import FEEDS, feed_days, game_feeds, profile_of, season_so_far
from nbprops.features.guards import batch_gate
from nbprops.features.store import GROUP_NAMES, STORE, TABLES, add_quality, build, write_features
from nbprops.settings import Refusal
from tests.features_toys import light

COUNTS = { # profile -> v9, v9_noveg, v12, v12_noveg, v12_nomarket; indices of v9; what v12 adds
    FULL: ((33, 29, 54, 50, 43), range(33), range(33, 54)),
    "box+shots+props": ((26, 22, 40, 36, 32), [*range(7), 9, 11, 12, *range(15, 22), *range(24, 33)], [34, 35, 36, 39, 40, *range(43, 47), *range(49, 54)]),
    "box+team_box+props": ((27, 23, 42, 38, 34), [*range(6), 7, 9, *range(11, 18), *range(21, 33)], [34, 35, 36, 39, 40, *range(43, 47), *range(48, 54)]),
    "box+props": ((22, 18, 36, 32, 28), [*range(6), 9, 11, 12, 15, 16, 17, 21, *range(24, 33)], [34, 35, 36, 39, 40, *range(43, 47), *range(49, 54)]),
    "box+team_box": ((23, 23, 34, 34, 34), [*range(6), 7, 9, *range(11, 18), *range(21, 25), *range(29, 33)], [34, 35, 36, 39, 40, *range(43, 47), 48, 49])}
SETS = ("v9", "v9_noveg", "v12", "v12_noveg", "v12_nomarket")

@pytest.mark.parametrize("profile", COUNTS)
def test_contract_counts_and_members(profile):
    "A feature that a profile keeps or drops against its feeds."
    counts, v9, added = COUNTS[profile]
    got = {s: contract(s, profile) for s in SETS}
    assert tuple(got[s].count for s in SETS) == counts
    assert [f.index for f in got["v9"].features] == list(v9) and [f.index for f in got["v12"].features] == [*v9, *added]
    without = {25, 26, 27, 28}
    assert [f.index for f in got["v12_noveg"].features] == [i for i in (*v9, *added) if i not in without]
    assert [f.index for f in got["v12_nomarket"].features] == [i for i in (*v9, *added) if i not in without | {38, 41, 42, 50, 51, 52, 53}]
    print(profile, counts)

def test_hash_binds_inputs_not_names():
    "Equal inputs with different hashes, or a changed range with the same."
    assert contract("v8").hash == contract("v9").hash and len(contract("v9").hash) == 64
    assert contract("v12", "box+team_box").hash == contract("v12_nomarket", "box+team_box").hash and "v12_nomarket" in same_inputs("v12", "box+team_box")
    from dataclasses import replace
    other = replace(contract("v9"), features=(replace(FEATURES[0], high=71.), *contract("v9").features[1:]))
    swapped = replace(contract("v9"), features=(FEATURES[1], FEATURES[0], *contract("v9").features[2:]))
    assert len({contract("v9").hash, other.hash, swapped.hash}) == 3

@pytest.mark.parametrize("call", [lambda: contract("v10"), lambda: contract("v9", "box+magic"), lambda: require_names(contract("v9"), contract("v9").names[::-1]), lambda: build(light(), date(2025, 12, 2), date(2025, 12, 1)), lambda: build(light(), date(2025, 12, 2), date(2025, 12, 3), "run:SOMETIME")])
def test_wrong_requests_are_refused(call):
    "A default path for an unknown set, feed, order, range or run."
    with pytest.raises(Refusal): call()

def test_store_has_every_feature_in_order():
    "A catalogue and a store table that drift apart."
    cols = [c for c in table(STORE).content if c in NAMES]
    assert cols == list(NAMES) and len(FEATURES) == 54 and all(f.low < f.high for f in FEATURES)
    assert sum(len([f for f in FEATURES if f.group == g]) for g in GROUP_NAMES) == 54

def full_row(**changes):
    return pl.DataFrame({"player_lookup": ["a"], "game_date": [date(2025, 11, 5)], "breached": [False]} | {f"has_{x}": [True] for x in FEEDS} | {f.name: [f.low] for f in FEATURES}).with_columns(**changes)

def judged(frame): return add_quality(frame).row(0, named=True)

def test_quality_score_by_hand():
    "Weights of the quality score: 34 features from checked tables and the market at 100, 20 from summaries and slate at 87."
    assert judged(full_row())["feature_quality_score"] == pytest.approx((34*100 + 20*87)/54)
    optional = judged(full_row(pct_paint=pl.lit(None, pl.Float64)))
    assert optional["feature_quality_score"] == pytest.approx((33*100 + 20*87)/53) and optional["default_feature_count"] == 0

@pytest.mark.parametrize("missing, cap, tier", [(1, 69, "poor"), (4, 69, "poor"), (5, 49, "critical")])
def test_missing_required_features_cap_the_score(missing, cap, tier):
    "A contaminated row whose mean still looks gold."
    gone = [f.name for f in FEATURES if f.required][:missing]
    got = judged(full_row(**{n: pl.lit(None, pl.Float64) for n in gone}))
    assert got["feature_quality_score"] == cap and got["quality_tier"] == tier and got["default_feature_count"] == missing
    assert got["missing_feature_names"] == gone and not got["is_quality_ready"] and not got["is_training_ready"]

def test_features_outside_the_profile_are_not_missed():
    "A row blamed for a feed that its season never had."
    gone = {f.name: pl.lit(None, pl.Float64) for f in FEATURES if "injuries" in f.feeds}
    assert judged(full_row(**gone))["default_feature_count"] > 0
    assert judged(full_row(has_injuries=pl.lit(False), **gone))["is_training_ready"]

def test_group_without_features_is_null_and_passes():
    "A share of nothing counted as zero."
    got = judged(full_row(has_props=pl.lit(False)))
    assert got["market_quality_pct"] is None and got["is_training_ready"] and got["matchup_quality_pct"] == 100

def test_feed_is_present_from_95_percent():
    "A threshold that rounds in a feed's favour."
    days = pl.DataFrame({"season": ["s"], "game_date": [date(2025, 11, 5)], "games": [100], "dates": [20]} | {f: [v] for f, v in zip(FEEDS, (95, 94, 100, 0, 19, 95, 18))})
    assert profile_of(days, [(date(2025, 11, 1), date(2025, 11, 30))]) == "box+team_box+props+game_lines"

def test_profile_needs_both_windows_and_season_so_far_looks_back_only():
    "A profile of one window used for two; a stored profile that knows later dates."
    days = feed_days(game_feeds(light()))
    later = days.with_columns(shots=pl.when(pl.col("game_date") > date(2025, 12, 1)).then(0).otherwise("shots"))
    a, b = (date(2025, 10, 21), date(2025, 12, 1)), (date(2025, 12, 2), date(2025, 12, 19))
    assert "shots" in profile_of(later, [a]) and "shots" not in profile_of(later, [a, b])
    cuts = pl.DataFrame({"season": ["2025-26"]*2, "cut": [date(2025, 12, 2), date(2025, 12, 19)]})
    assert season_so_far(later, cuts).sort("cut")["has_shots"].to_list() == [True, False]

def test_profile_from_a_warehouse_equals_profile_from_facts(wh):
    "Two ways to the profile that disagree."
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import land
    from tests.features_toys import light_frames
    land(light_frames(), wh); build_reference(wh)
    window = [(date(2025, 11, 10), date(2025, 11, 30)), (date(2025, 12, 1), date(2025, 12, 10))]
    assert feed_profile(wh, window) == feed_profile(light(), window) == FULL

def test_a_game_is_judged_alone():
    "Would catch a flag of a game that changes when other games leave the schedule: the profile of a window finds only the window's lines."
    from nbprops.features.feeds import game_feeds, only
    a, b = date(2025, 11, 20), date(2025, 12, 3)
    whole, part = game_feeds(light()), game_feeds(only(light(), a, b))
    assert part.equals(whole.filter(pl.col("game_date").is_between(a, b))) and 0 < part.height < whole.height

def test_profile_does_not_depend_on_the_order_of_windows(wh):
    "A window's bounded read, history included, that speaks for the dates of another window."
    from nbprops.data.league import simulate
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import land
    from tests.features_toys import light_frames
    last = {k: v for k, v in simulate(season="2024-25", light=True).items() if k != "truth"}
    land(light_frames(), wh); land(last, wh); build_reference(wh)
    windows = [(date(2024, 11, 20), date(2024, 12, 15)), (date(2025, 11, 10), date(2025, 11, 30))] # reading the second brings the first's games, not its lines
    assert feed_profile(wh, windows) == feed_profile(wh, windows[::-1]) == FULL

@pytest.fixture(scope="module")
def built(): return build(light(), date(2025, 11, 25), date(2025, 12, 19))

def test_batch_gate_finds_the_famous_faults(built):
    "A feature that is constant over a date, or empty, published as if nothing had happened."
    rows = built[STORE].filter(pl.col("game_id").n_unique().over("game_date") >= 3)
    assert rows["game_date"].n_unique() > 2 and batch_gate(rows).filter(severity="CRIT").is_empty()
    sick = rows.with_columns(team_win_pct=pl.lit(.5), injury_risk=pl.lit(0.), pace_score=pl.lit(None, pl.Float64), vegas_points_line=pl.when(pl.int_range(pl.len()).over("game_date") < 3).then("vegas_points_line"))
    got = {(r["feature"], r["rule"], r["severity"]) for r in batch_gate(sick).iter_rows(named=True)}
    assert {("team_win_pct", "zero_variance", "CRIT"), ("pace_score", "no_value", "CRIT"), ("vegas_points_line", "sparse", "WARN")} <= got
    assert not any(f == "injury_risk" for f, _, _ in got)

def test_write_is_idempotent_and_drops_stale_rows(wh, built):
    "A second write that changes rows, or a player who left the slate and stays on it."
    span = (date(2025, 11, 25), date(2025, 12, 19))
    first, second = write_features(wh, built, span), write_features(wh, built, span)
    assert sum(c.written for c in first.values()) > 1000 and all(c.written == 0 and c.present == c.read - c.quarantined for c in second.values())
    gone = built[STORE]["player_lookup"][0]
    write_features(wh, {k: v.filter(pl.col("player_lookup") != gone) if "player_lookup" in v.columns else v for k, v in built.items()}, span)
    assert wh.read(STORE, *span, where="player_lookup = @p", p=gone).is_empty() and wh.read(STORE, *span).height > 0

def test_out_of_range_values_go_to_quarantine(wh, built):
    "A rejected value that vanishes while the run says success."
    assert built["breaches"].height > 0
    write_features(wh, built)
    kept = wh.sql("SELECT field, unit, value_text FROM nba_orchestration.quarantine WHERE table_name = @t", t=STORE)
    assert kept.height == built["breaches"].height and kept["unit"].is_in(["points/game", "percent", "points", "percent sum", "per 100", "poss/48", "points/min", "games", "days", "minutes"]).all()

def test_built_tables_conform_and_pass_their_rules(built):
    "A builder and a table declaration that disagree in a column, a type or a unit."
    from nbprops.data.rules import check
    for name in TABLES:
        assert dict(built[name].schema) == {k: v for k, v in table(name).schema().items() if k in built[name].columns}, name
        assert check(name, built[name]).filter(severity="ERROR").height <= .01*built[name].height, name
