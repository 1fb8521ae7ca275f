"The simulated league: repeatable, consistent, as hard to beat as the real one, and broken only where a fault says so."
from datetime import date
import numpy as np
import polars as pl
import pytest
from nbprops.settings import Refusal
from nbprops.data import calibration as cal
from nbprops.data.damage import apply_fault
from nbprops.data.landing import NEWS
from nbprops.ops.strikes import STRIKES
from nbprops.data.faults import KINDS, Fault, parse_fault
from nbprops.data.league import simulate, spoil
from nbprops.data.lines import as_of_frame, line_of_record
from nbprops.data.reference import BOOKS, FEEDS
from nbprops.data.season import season_row
from nbprops.data.sources import land
from nbprops.data.tables import TABLES

BOX, TEAM, SHOTS, GAMES = ("nba_raw." + t for t in ("nbac_player_boxscores", "nbac_team_boxscore", "nbac_play_by_play", "nbac_schedule"))
PROPS, TOTALS, INJURIES = ("nba_raw." + t for t in ("odds_api_player_points_props", "odds_api_game_lines", "nbac_injury_report"))
STATS = [c for c in TABLES[BOX].schema() if c in "points fg_makes fg_attempts three_pt_makes ft_makes assists steals turnovers plus_minus".split()]

@pytest.fixture(scope="module")
def light(): return simulate(light=True)

@pytest.fixture(scope="module")
def full(): return simulate()

def test_same_seed_same_league(light):
    "Fails when a draw depends on anything but the seed."
    again = simulate(light=True)
    assert all(light[k].equals(again[k]) for k in light)

def test_other_seed_other_league(light):
    "Fails when the seed is ignored somewhere."
    other = simulate(light=True, seed=1)
    assert not any(light[k].equals(other[k]) for k in light)

def test_playing_on_changes_nothing_before(light):
    "Fails when a later end date disturbs earlier games."
    longer = simulate(light=True, end=date(2026, 2, 28))
    ids = light[GAMES]["game_id"].implode()
    assert all(f.equals(longer[k].filter(pl.col("game_id").is_in(ids))) for k, f in light.items())

def test_a_later_start_is_a_slice(light):
    "Fails when the start date changes what is played."
    late = simulate(light=True, start=date(2025, 12, 1), end=date(2025, 12, 19))
    assert all(f.equals(light[k].filter(pl.col("game_id").is_in(late[GAMES]["game_id"].implode()))) for k, f in late.items())

@pytest.mark.parametrize("size", ["light", "full"])
def test_shapes(size, request):
    "Fails when a key is doubled, a required value is missing or a column has the wrong type."
    league = request.getfixturevalue(size)
    assert set(league) == {BOX, TEAM, SHOTS, GAMES, PROPS, TOTALS, INJURIES, "truth"}
    for name in set(league) - {"truth"}:
        t, f = TABLES[name], league[name]
        assert f.height and f.select(t.key).is_unique().all(), name
        assert dict(f.schema) == {c: d for c, d in t.schema().items() if c in f.columns}, name
        assert f.select(c.name for c in t.columns[:t.declared] if c.required).null_count().sum_horizontal().item() == 0, name

def test_lands_without_a_single_rejected_row(light, wh):
    "Fails when a rule of the warehouse refuses fault-free rows, or landing twice writes twice."
    first, second = land(light, wh), land(light, wh)
    assert len(first) == 7 and all(c.written == c.read > 0 for _, _, c in first)
    assert all(c.present == c.read and c.written == 0 for _, _, c in second)

def test_points_are_counted_not_drawn(full):
    "Fails when a box score does not add up."
    b = full[BOX].filter(pl.col("player_status") == "active")
    assert (b["points"] == 2*b["fg_makes"] + b["three_pt_makes"] + b["ft_makes"]).all()
    for made, tried in (("fg_makes", "fg_attempts"), ("three_pt_makes", "three_pt_attempts"), ("ft_makes", "ft_attempts"), ("three_pt_attempts", "fg_attempts"), ("three_pt_makes", "fg_makes")):
        assert (b[made] <= b[tried]).all() and b[made].min() >= 0

def test_teams_are_the_sum_of_their_players(full):
    "Fails when team rows, player rows and scores disagree."
    sums = full[BOX].group_by("game_id", "team_abbr").agg(pl.col(c).sum() for c in STATS if c != "plus_minus")
    both = full[TEAM].join(sums, on=["game_id", "team_abbr"], suffix="_sum")
    assert both.height == full[TEAM].height == 2*full[GAMES].height
    assert all((both[c] == both[f"{c}_sum"]).all() for c in STATS if c != "plus_minus")
    g = full[GAMES].join(full[TEAM].filter("is_home").select("game_id", home="points"), on="game_id").join(full[TEAM].filter(~pl.col("is_home")).select("game_id", away="points"), on="game_id")
    assert (g["home_team_score"] == g["home"]).all() and (g["away_team_score"] == g["away"]).all() and (g["home"] != g["away"]).all()

def test_minutes_add_up(full):
    "Fails when a team plays more or fewer than 240 minutes and 25 per overtime."
    clock = pl.col("minutes").str.split(":").list
    sums = full[BOX].with_columns(s=60*clock.get(0).cast(pl.Int64) + clock.get(1).cast(pl.Int64)).group_by("game_id", "team_abbr").agg(pl.col("s").sum())
    t = full[TEAM].join(sums, on=["game_id", "team_abbr"])
    assert (t["s"] == 60*(240 + 25*t["overtime_periods"])).all() and t["overtime_periods"].max() >= 1

def test_who_did_not_play_has_no_statistics(full):
    "Fails when a number that was not earned is written."
    out = full[BOX].filter(pl.col("player_status") != "active")
    assert set(out["player_status"]) == {"dnp", "inactive"} and out["dnp_reason"].null_count() == 0
    assert out.select(*STATS, "minutes").null_count().row(0) == (out.height,)*(len(STATS) + 1)

def test_shots_add_up(full):
    "Fails when shot events and box scores disagree, or a three is taken from near the rim."
    made = (pl.col("shot_made") & (pl.col("shot_value") == 3)).sum().cast(pl.Int64)
    e = full[SHOTS].group_by("game_id", "player_lookup").agg(pl.len().cast(pl.Int64).alias("tries"), pl.col("shot_made").sum().cast(pl.Int64).alias("makes"), threes=made)
    b = full[BOX].filter(pl.col("fg_attempts") > 0).join(e, on=["game_id", "player_lookup"], how="full")
    assert b.select("tries", "game_id").null_count().sum_horizontal().item() == 0
    assert (b["tries"] == b["fg_attempts"]).all() and (b["makes"] == b["fg_makes"]).all() and (b["threes"] == b["three_pt_makes"]).all()
    assert full[SHOTS].filter(pl.col("shot_value") == 3)["shot_distance_ft"].min() >= 22 > full[SHOTS].filter(pl.col("shot_value") == 2)["shot_distance_ft"].max()
    assert full[SHOTS].filter(~pl.col("shot_made"))["assisted"].null_count() == full[SHOTS].filter(~pl.col("shot_made")).height

def test_schedule_is_a_season(full):
    "Fails when teams play unequal seasons, twice a day, three days running, or in the All-Star break."
    s, g = season_row("2025-26"), full[GAMES]
    teams = pl.concat([g.select("game_date", team=f"{x}_team_tricode") for x in ("home", "away")]).sort("team", "game_date")
    assert g.height == 1230 and set(teams["team"].value_counts()["count"]) == {82} and teams.is_unique().all()
    gap = teams.select(pl.col("game_date").diff().dt.total_days().over("team").alias("g"), (pl.col("game_date") - pl.col("game_date").shift(2)).dt.total_days().over("team").alias("two"))
    assert .14 < (gap["g"] == 1).mean() < .22 and gap["two"].min() >= 3
    assert not g["game_date"].is_between(s["all_star_break_start"], s["all_star_break_end"]).any()
    assert (g["game_date"].min(), g["game_date"].max()) == (s["season_start_date"], s["regular_season_end_date"])
    assert (g["game_start_utc"].dt.convert_time_zone("America/New_York").dt.date() == g["game_date"]).all()
    assert (g["game_id"] == g["game_date"].dt.strftime("%Y%m%d") + "_" + g["away_team_tricode"] + "_" + g["home_team_tricode"]).all()

def test_nothing_is_known_after_the_tip(full):
    "Fails when a line or a report of a fault-free league lies at or after the tip-off."
    tips = full[GAMES].select("game_id", tip="game_start_utc")
    for name, seen in ((PROPS, "snapshot_timestamp"), (TOTALS, "snapshot_timestamp"), (INJURIES, "report_timestamp")):
        f = full[name].join(tips, on="game_id")
        assert (f[seen] < f["tip"]).all()
    p = full[PROPS].join(tips, on="game_id")
    assert (p["minutes_before_tipoff"] == (p["tip"] - p["snapshot_timestamp"]).dt.total_minutes()).all() and p["minutes_before_tipoff"].min() > 0

def test_lines_are_on_the_lattice(full):
    "Fails when a line is no half point, a price lies between -100 and 100, or the vig is not a margin."
    p = full[PROPS]
    assert ((2*p["points_line"]) % 1 == 0).all() and .005 < (p["points_line"] % 1 == 0).mean() < .06
    priced = p.filter(pl.col("bookmaker") != "prizepicks")
    assert priced["over_price_american"].null_count() == 0 and p.filter(pl.col("bookmaker") == "prizepicks")["over_price_american"].null_count() > 0
    implied = lambda c: pl.when(pl.col(c) > 0).then(100/(pl.col(c) + 100)).otherwise(-pl.col(c)/(100 - pl.col(c)))
    vig = priced.select(v=implied("over_price_american") + implied("under_price_american") - 1)["v"]
    assert priced.select(pl.min_horizontal(pl.col("over_price_american").abs(), pl.col("under_price_american").abs()).min()).item() >= 100
    assert .055 < vig.mean() < .08 and vig.min() > .02

def test_scratches_have_a_line_and_no_score(full):
    "Fails when late scratches vanish: some lined players must not play, and most of them are on a report."
    lined = cal.lines_of(full).join(full[BOX].select(player="player_lookup", game_date="game_date", status="player_status", game_id="game_id"), on=["player", "game_date"])
    out = lined.filter(pl.col("status") != "active")
    assert .03 < out.height/lined.height < .09
    reported = out.join(full[INJURIES].select("game_id", player="player_lookup").unique(), on=["game_id", "player"], how="semi")
    assert .5 < reported.height/out.height < 1

def test_light_league_is_small(light):
    "Fails when the light league outgrows its name."
    dates = light[GAMES]["game_date"]
    assert (dates.max() - dates.min()).days < 60 and light[GAMES].height <= 130
    assert 17 < light[PROPS].group_by("game_date").agg(pl.col("player_lookup").n_unique())["player_lookup"].mean() < 26

@pytest.mark.parametrize("seed", [0, 3])
def test_as_hard_to_beat_as_the_real_market(seed, full):
    "Fails when the process drifts away from the real truth table, or the market becomes easy."
    league = full if seed == 0 else simulate(seed=seed)
    measured = cal.yardsticks(cal.boxes_of(league), cal.lines_of(league))
    outside = cal.compare(measured).filter(~pl.col("inside"))
    assert outside.is_empty(), outside
    assert measured["MAE, past and line"] > measured["line MAE"] - .03

def test_truth_is_unbiased_and_better_than_the_line(full):
    "Fails when the truth frame is not the mean of what happens, or the market knows more than the truth."
    t = full["truth"].filter("played", "regular")
    lines = line_of_record(full[PROPS], as_of_frame(full[GAMES]), BOOKS, FEEDS).select("game_id", "player_lookup", "line")
    j = t.join(lines, on=["game_id", "player_lookup"])
    assert abs((t["points"] - t["true_mean"]).mean()) < .2
    assert (j["points"] - j["true_middle"]).abs().mean() < (j["points"] - j["line"]).abs().mean()

def test_another_season_and_bad_requests():
    "Fails when a season is hard-wired, or a senseless request is answered."
    old = simulate("2023-24", light=True)[GAMES]
    assert old["season"].unique().to_list() == ["2023-24"] and old["game_date"].min() >= date(2023, 10, 24)
    for kwargs in (dict(season="1999-00"), dict(start=date(2026, 2, 1), end=date(2026, 1, 1)), dict(start=date(2026, 7, 1), end=date(2026, 7, 9))):
        with pytest.raises(Refusal): simulate(light=True, **kwargs)

# ---- faults

def test_every_fault_has_a_name_a_check_and_a_default():
    "Fails when a fault name is lost, or one without a check appears."
    assert KINDS.height == 26 and KINDS["name"].is_unique().all() and KINDS.select("field", "strength", "check").null_count().sum_horizontal().item() == 0
    assert set(KINDS["strikes"]) == {"feeds", "rows", "both", "work"} and set(KINDS.filter(pl.col("strikes").is_in(["feeds", "both"]))["name"]) == set(NEWS)
    assert set(KINDS.filter(pl.col("strikes").is_in(["rows", "both"]))["name"]) == set(STRIKES)

@pytest.mark.parametrize("text, says", [("wrong_units", "No fault is called"), ("moved_tip:strength=x", "cannot be read"), ("dnp_zeros:strength=2", "share"), ("dnp_zeros:strength=x", "cannot be read"),
    ("dnp_zeros:from=2026-02-30", "cannot be read"), ("dnp_zeros:power=1", "no part of a fault"), ("late_feed:field=weather", "no feed"), ("duplicate_rows:field=nowhere", "No table"),
    ("constant_feature:field=mood", "no table has a column"), ("dnp_zeros:from=2026-02-02,to=2026-02-01", "after")])
def test_a_bad_fault_is_refused(text, says):
    "Fails when a fault that cannot be is accepted, or refused without a reason."
    with pytest.raises(Refusal) as e: parse_fault(text)
    assert says in str(e.value)

def test_fault_reads_as_written():
    "Fails when a part of the written form is lost."
    f = parse_fault("late_feed:field=props,strength=6,from=2025-11-01,to=2025-11-02", seed=7)
    assert f == Fault("late_feed", "props", 6.0, date(2025, 11, 1), date(2025, 11, 2), 7)
    assert (Fault("duplicate_rows").field, Fault("duplicate_rows").strength, Fault("duplicate_rows").past, Fault("wrong_unit").past) == ("prediction_accuracy", .1, True, False)

def test_in_game_lines_are_there_and_are_not_read(light):
    "Fails when the fault does nothing, spills over its dates, or the line functions use its rows."
    broken = simulate(light=True, faults=(Fault("in_game_lines", strength=.5, start=date(2025, 11, 10), end=date(2025, 11, 16)),))
    assert all(broken[k].equals(light[k]) for k in light if k != PROPS)
    late = broken[PROPS].filter(pl.col("minutes_before_tipoff") <= 0)
    assert late.height > 100 and late["game_date"].is_between(date(2025, 11, 10), date(2025, 11, 16)).all() and (late["snapshot_timestamp"] > late["commence_timestamp"]).all()
    assert broken[PROPS].select(TABLES[PROPS].key).is_unique().all() and broken[PROPS]["snapshot_id"].is_unique().all() and broken[PROPS].height == light[PROPS].height
    record = line_of_record(broken[PROPS], as_of_frame(broken[GAMES]), BOOKS, FEEDS)
    assert record["minutes_before_tipoff"].min() > 0 and not set(record["snapshot_id"]) & set(late["snapshot_id"])
    points = broken["truth"].select("game_id", "player_lookup", "points").drop_nulls()
    error = lambda f: f.join(points, on=["game_id", "player_lookup"]).select((pl.col("points") - pl.col("points_line")).abs().mean()).item()
    assert error(late) < .7*error(light[PROPS])

def test_late_feed_withholds_and_invents_nothing(light):
    "Fails when a late feed is on time, is late on other days, or touches another feed."
    day = date(2025, 12, 1)
    broken = simulate(light=True, faults=(f"late_feed:from={day},to={day}",))
    assert all(broken[k].equals(light[k]) for k in light if k != BOX)
    assert broken[BOX].equals(light[BOX].filter(pl.col("game_date") != day)) and (light[BOX]["game_date"] == day).any()
    for feed, table in (("rosters", BOX), ("team_box", TEAM), ("shots", SHOTS), ("props", PROPS), ("injuries", INJURIES), ("game_lines", TOTALS)):
        f = spoil(light, Fault("late_feed", feed, 12))
        assert f[table].height < light[table].height and all(f[k].equals(light[k]) for k in light if k != table), feed

def test_built_faults_hit_what_they_name():
    "Fails when a fault of a built table misses, spills over, or depends on the order of rows."
    days = [date(2026, 1, 1 + k % 20) for k in range(400)]
    f = pl.DataFrame({"game_id": [f"g{k}" for k in range(400)], "player_lookup": ["x"]*400, "game_date": days, "is_dnp": [k % 4 == 0 for k in range(400)],
                      "points": [None if k % 4 == 0 else k for k in range(400)], "starter_flag": [None]*400}, schema_overrides={"starter_flag": pl.Boolean})
    name, start = "nba_analytics.player_game_summary", date(2026, 1, 11)
    zero = apply_fault(Fault("dnp_zeros", start=start), name, f)
    assert zero.filter(~pl.col("is_dnp") | (pl.col("game_date") < start)).equals(f.filter(~pl.col("is_dnp") | (pl.col("game_date") < start)))
    assert (zero.filter("is_dnp", pl.col("game_date") >= start)["points"] == 0).all() and zero["starter_flag"].null_count() == 400
    half, key = Fault("dnp_zeros", strength=.5), "game_id"
    assert apply_fault(half, name, f.reverse()).sort(key).equals(apply_fault(half, name, f).sort(key)) and 25 < apply_fault(half, name, f).filter("is_dnp")["points"].null_count() < 75
    assert not apply_fault(half, name, f).equals(apply_fault(Fault("dnp_zeros", strength=.5, seed=1), name, f))

def test_constant_duplicate_and_unit():
    "Fails when one of the simple faults does something else than its name says."
    s = pl.DataFrame({"player_lookup": [f"p{k}" for k in range(200)], "game_date": [date(2026, 1, 1)]*100 + [date(2026, 1, 2)]*100, "team_win_pct": np.linspace(.2, .8, 200)})
    c = apply_fault(Fault("constant_feature", start=date(2026, 1, 2)), "ml_feature_store_v2", s)
    assert c["team_win_pct"][:100].equals(s["team_win_pct"][:100]) and set(c["team_win_pct"][100:]) == {.5}
    twice = apply_fault(Fault("duplicate_rows", "ml_feature_store_v2", .25), "ml_feature_store_v2", s)
    assert 30 < twice.height - 200 < 75 and twice[:200].equals(s) and twice.unique().height == 200
    assert apply_fault(Fault("duplicate_rows"), "ml_feature_store_v2", s).equals(s)
    z = pl.DataFrame({"team_abbr": ["BOS"], "analysis_date": [date(2026, 1, 1)], "paint_pct_allowed_last_15": [.6], "games_in_sample": [15]})
    w = apply_fault(Fault("wrong_unit"), "nba_precompute.team_defense_zone_analysis", z)
    assert w["paint_pct_allowed_last_15"].item() == 60. and w["games_in_sample"].item() == 15
    served = pl.DataFrame({"game_id": [f"g{k}" for k in range(200)], "player_lookup": ["x"]*200, "game_date": [date(2026, 1, 1)]*200, "line_minutes_before_game": [40]*200})
    assert 20 < (apply_fault(Fault("in_game_lines"), "player_prop_predictions", served)["line_minutes_before_game"] <= 0).sum() < 60
