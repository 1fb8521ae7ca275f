"Nothing from the future reaches a row: facts dated on or after the day, and market or injury facts after the knowledge time."
from dataclasses import replace
from datetime import date, datetime, timedelta
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from nbprops.core import eastern_date
from nbprops.features.context import CONTEXT
from nbprops.features.facts import AsOf, Facts, resolve
from nbprops.features.precompute import CACHE, COMPOSITE, DEFENSE, SHOTS
from nbprops.features.store import STORE, TABLES, build, rebuild_market
from nbprops.features.summaries import PGS
from tests.features_toys import UTC, light

FIRST, LAST = date(2025, 11, 4), date(2025, 12, 17)
DAY_COLUMN = {CACHE: "cache_date", SHOTS: "analysis_date", DEFENSE: "analysis_date"}
BEFORE = (CONTEXT, CACHE, SHOTS, DEFENSE, COMPOSITE, STORE)
SCORES = ("points", "fg_attempts", "fg_makes", "ft_attempts", "ft_makes", "three_pt_attempts", "three_pt_makes", "turnovers", "offensive_rebounds")

def noise(column: str, seed: int, low: int, high: int) -> pl.Expr:
    "Arbitrary whole numbers, per row."
    return (low + pl.struct(pl.all()).hash(seed) % (high - low + 1)).cast(pl.Int64).alias(column)

def shake(frame: pl.DataFrame, late: pl.Expr, seed: int, **ranges: tuple[int, int]) -> pl.DataFrame:
    "The frame with arbitrary values in its late rows, and some of those rows gone."
    new = frame.with_columns(noise(c, seed + i, *r).cast(frame.schema[c]) for i, (c, r) in enumerate(ranges.items()))
    changed = new.filter(late).filter(noise("_", seed, 0, 9) > 1)
    return pl.concat([frame.filter(late.not_()), changed])

def shake_future(f: Facts, day: date, t: datetime, seed: int) -> Facts:
    "Facts with everything dated on or after a day, and everything published after an instant, replaced by arbitrary values."
    games, late = pl.col("game_date") >= day, pl.col("game_date") >= day
    stats = {c: (0, 60) for c in SCORES if c in f.team_box.columns}
    box = shake(f.box, late, seed, **stats).with_columns(minutes=pl.when(late).then(pl.format("{}:{}", noise("m", seed, 0, 47), noise("s", seed + 1, 10, 59))).otherwise("minutes"),
        player_status=pl.when(late & (noise("k", seed, 0, 3) == 0)).then(pl.lit("dnp")).otherwise("player_status"))
    in_game = (pl.col("snapshot_timestamp") > t) | (pl.col("minutes_before_tipoff") <= 0)
    schedule = f.schedule.with_columns(*(pl.when(games).then(noise(c, seed, 70, 150)).otherwise(c).alias(c) for c in ("home_team_score", "away_team_score")), game_status=pl.when(games).then(noise("g", seed, 1, 3)).otherwise("game_status"))
    report = shake(f.injuries, pl.col("report_timestamp") > t, seed).with_columns(injury_status=pl.when((pl.col("report_timestamp") > t) & (noise("i", seed, 0, 1) == 0)).then(pl.lit("out")).otherwise("injury_status"))
    return replace(f, schedule=schedule, box=box, team_box=shake(f.team_box, late, seed, **stats), shots=shake(f.shots, late, seed, shot_value=(2, 3)), injuries=report,
                   props=shake(f.props, in_game, seed, points_line=(1, 50), over_price_american=(100, 200)), game_lines=shake(f.game_lines, pl.col("snapshot_timestamp") > t, seed, line_point=(1, 300)))

def rows_known_at(built: dict, day: date, t: datetime) -> dict[str, pl.DataFrame]:
    "Pre-game rows of the day whose knowledge time is not after t, and post-game rows of earlier days."
    who = built[CONTEXT].filter((pl.col("game_date") == day) & (pl.col("as_of") <= t)).select("player_lookup", "team_abbr", "game_id")
    out = {}
    for name in BEFORE:
        rows = built[name].filter(pl.col(DAY_COLUMN.get(name, "game_date")) == day)
        out[name] = rows.join(who.select("team_abbr").unique() if name == DEFENSE else who.select("player_lookup"), on="team_abbr" if name == DEFENSE else "player_lookup", how="semi", maintain_order="left")
    return out | {name: built[name].filter(pl.col("game_date") < day) for name in TABLES if name not in BEFORE}

def game_days(): return light().schedule.filter(pl.col("game_date").is_between(FIRST, LAST))["game_date"].unique().sort().to_list()

AS_OFS = st.sampled_from(["tip", "run:EARLY", "run:SAME_DAY", "noon", "the day before"])

def knowledge(kind: str, day: date) -> AsOf | str:
    if kind == "noon": return AsOf.at(datetime(day.year, day.month, day.day, 17, tzinfo=UTC))
    if kind == "the day before": return AsOf.at(datetime(day.year, day.month, day.day, 20, tzinfo=UTC) - timedelta(days=1))
    return kind

@settings(max_examples=12)
@given(st.data())
def test_no_cell_of_any_table_sees_the_future(data):
    "A leak in any feature of any of the nine tables: same-day box scores, in-game lines, later reports, later scores."
    day, kind, seed = data.draw(st.sampled_from(game_days())), data.draw(AS_OFS), data.draw(st.integers(1, 2**30))
    a, start = knowledge(kind, day), day - timedelta(days=4)
    before = build(light(), start, day, a)
    instants = before[CONTEXT].filter(pl.col("game_date") == day)["as_of"].unique().sort().to_list()
    t = data.draw(st.sampled_from(instants))
    after = build(shake_future(light(), min(day, eastern_date(t)), t, seed), start, day, a)
    want, got = rows_known_at(before, day, t), rows_known_at(after, day, t)
    assert want[STORE].height > 0
    for name in TABLES:
        limit = pl.col("game_date") < min(day, eastern_date(t))
        w, g = (x[name].filter(limit) if name not in BEFORE else x[name] for x in (want, got))
        assert w.equals(g), (name, [c for c in w.columns if w.height != g.height or not w[c].equals(g[c])])

@settings(max_examples=15)
@given(st.data())
def test_a_change_inside_the_window_shows(data):
    "A builder that looks at nothing would pass the test above; each kind of known fact must be able to move its row."
    day = data.draw(st.sampled_from(game_days()[12:]))
    base = build(light(), day, day)
    who = data.draw(st.sampled_from(base[STORE].filter(pl.col("points_avg_season").is_not_null())["player_lookup"].to_list()))
    last = light().box.filter((pl.col("player_lookup") == who) & (pl.col("game_date") < day) & (pl.col("player_status") == "active") & (pl.col("points") > 0)).sort("game_date")["game_id"][-1]
    hit = (pl.col("player_lookup") == who) & (pl.col("game_id") == last)
    moved = replace(light(), box=light().box.with_columns(points=pl.when(hit).then(pl.col("points") + 7).otherwise("points")))
    one, other = (b[STORE].filter(player_lookup=who) for b in (base, build(moved, day, day)))
    changed = [c for c in one.columns if not one[c].equals(other[c])]
    assert {"points_avg_last_3", "points_avg_season", "scoring_trend_slope"} & set(changed)

@pytest.mark.parametrize("frame, change, columns", [
    ("props", {"points_line": pl.col("points_line") + 3}, {"vegas_points_line", "line_vs_season_avg"}),
    ("game_lines", {"line_point": pl.col("line_point") + 5}, {"game_total_line", "implied_team_total"}),
    ("injuries", {"injury_status": pl.lit("out")}, {"injury_risk"}),
    ("team_box", {"offensive_rebounds": pl.col("offensive_rebounds") + 4}, {"team_pace", "opponent_pace", "opponent_def_rating"}),
    ("shots", {"shot_made": pl.lit(True)}, {"shot_zone_mismatch_score"})])
def test_every_feed_reaches_the_store(frame, change, columns):
    "A feed that is read but never used, or used under another name."
    day = date(2025, 12, 10)
    known = pl.col("snapshot_timestamp" if frame in ("props", "game_lines") else "report_timestamp" if frame == "injuries" else "game_date")
    upto = datetime(2025, 12, 11, 5, tzinfo=UTC) if frame in ("props", "game_lines", "injuries") else day
    rows = getattr(light(), frame).with_columns(pl.when(known < upto).then(e).otherwise(c).alias(c) for c, e in change.items())
    base, other = build(light(), day, day)[STORE], build(replace(light(), **{frame: rows}), day, day)[STORE]
    assert columns <= {c for c in base.columns if not base[c].equals(other[c])}

def test_range_equals_days_one_by_one():
    "A value that depends on which other days are built, or on how much history is loaded beside it."
    whole = build(light(), FIRST, LAST)
    for day in game_days()[::6]:
        alone = build(light(), day, day)
        for name in TABLES:
            part = whole[name].filter(pl.col(DAY_COLUMN.get(name, "game_date")) == day)
            assert part.equals(alone[name]), (name, day)

def test_bounded_read_equals_everything(wh):
    "A read that stops too early: the rows of a day from `Facts.read` differ from those made of all facts."
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import land
    from tests.features_toys import light_frames
    land(light_frames(), wh); build_reference(wh)
    day = date(2025, 12, 10)
    read, whole = build(Facts.read(wh, day, day), day, day), build(light(), day, day)
    for name in TABLES: assert read[name].equals(whole[name]), name

def test_one_player_alone_is_the_same_row():
    "Arithmetic that changes with the number of rows beside it (a constant column divides by its reciprocal)."
    day = date(2025, 12, 10)
    whole = build(light(), day, day)
    game = whole[STORE]["game_id"][0]
    other = light().schedule.filter((pl.col("game_date") < day) | (pl.col("game_id") == game))
    part = build(replace(light(), schedule=other), day, day)[STORE]
    assert part.equals(whole[STORE].filter(game_id=game))

def test_market_rebuilt_equals_built():
    "Serving that rebuilds the market features by other means than the builder."
    day = date(2025, 12, 10)
    tip, early = build(light(), day, day)[STORE], build(light(), day, day, "run:EARLY")[STORE]
    again = rebuild_market(light(), tip, "run:EARLY")
    market = [c for c in early.columns if c.startswith(("vegas", "line_", "game_total", "spread", "implied", "multi", "as_of"))]
    both = early.join(again, on=["player_lookup", "game_date"], suffix="_b")
    assert both.height == early.height and all(both[c].equals(both[f"{c}_b"], check_names=False) for c in market)

def test_tip_that_moved_later_known():
    "A run before the news of a moved tip-off that already knows it."
    h = lambda hour: datetime(2026, 2, 2, hour, tzinfo=UTC)
    g = pl.DataFrame({"game_date": [date(2026, 2, 2)], "game_start_utc": [h(20)], "first_game_start_utc": [h(23)], "tip_known_at": [h(15)]})
    assert resolve(g, AsOf.at(h(12)))["tip"][0] == h(23) and resolve(g, AsOf.at(h(16)))["tip"][0] == h(20) and resolve(g, AsOf.tip())["as_of"][0] == h(20)
