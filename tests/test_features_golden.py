"Feature values worked by hand on a small league, signs, and what must never be counted."
from datetime import date, datetime, timedelta
from math import sqrt
import polars as pl
import pytest
from nbprops.features.catalogue import NAMES
from nbprops.features.context import CONTEXT
from nbprops.features.facts import Facts
from nbprops.features.precompute import CACHE, COMPOSITE, DEFENSE, SHOTS
from nbprops.features.store import STORE, build, enforce_ranges, range_breaches
from nbprops.features.summaries import PGS
from tests.features_toys import BOX, D, NIGHTS, SCHEDULE, UTC, box, game_id, golden_frames, schedule, zones

@pytest.fixture(scope="module")
def built(): return build(Facts.of(golden_frames()), D, D)

def row(built, name, **key): return built[name].filter(**key).row(0, named=True)

# Ann's usage in each game: 100 (10 + .44*4 + 2) * 48 / (minutes * (85 + .44*20 + 15)); her minutes: 30, 31.5, 28, 33, 30, 29.5
USAGE = [100*13.76*48/(m*108.8) for m in (30, 31.5, 28, 33, 30, 29.5)]
GOLDEN = {
    "points_avg_last_5": (14 + 9 + 20 + 18 + 22)/5,            # 16.6
    "points_avg_last_10": 93/6, "points_avg_season": 93/6,      # six games: 15.5
    "points_std_last_10": sqrt((10**2 + 14**2 + 9**2 + 20**2 + 18**2 + 22**2 - 93**2/6)/5),
    "games_in_last_7_days": 3,                                  # 29 and 31 October, 2 November; 28 October .. 3 November
    "fatigue_score": 100,                                       # two days of rest, three games, 30.8 minutes on average: nothing is taken off
    "shot_zone_mismatch_score": 10.,                            # paint: share 50 %, so weight 1; (.75 - .5625)*100 = 18.75 pp, *1.2 = 22.5, clamped
    "pace_score": (95.2 - 98.8)/2,                              # New York 80+13.2+14-12 = 95.2 possessions, Boston 85+8.8+15-10 = 98.8
    "usage_spike_score": 0.,                                    # nobody with ten games is out, so projected = season = last seven
    "rest_advantage": 0, "injury_risk": 1,                      # both played on 2 November; probable
    "recent_trend": 2,                                          # (18 + 22)/2 - (14 + 9 + 20)/3 = 20 - 14.33 = 5.67
    "minutes_change": 0,
    "opponent_def_rating": 100*108/98.8,                        # New York allowed 108 points on 88+8.8+10-8 = 98.8 possessions
    "opponent_pace": 95.2, "home_away": 0, "back_to_back": 0, "playoff_game": 0,
    "pct_paint": .5, "pct_mid_range": .2, "pct_three": .3,
    "pct_free_throw": 12/93,                                    # 2 free throws in each of 6 games
    "team_pace": 98.8, "team_off_rating": 100*110/98.8, "team_win_pct": 1.,
    "vegas_points_line": 17.5, "vegas_opening_line": 16.5, "vegas_line_move": 1., "has_vegas_line": 1,
    "avg_points_vs_opponent": None, "games_vs_opponent": 0,
    "minutes_avg_last_10": 182/6, "ppm_avg_last_10": 93/182,
    "dnp_rate": 0.,                                             # Bob is listed as inactive, so absences are delivered; Ann has none
    "pts_slope_10g": (0*10 + 1*14 + 2*9 + 3*20 + 4*18 + 5*22 - 2.5*93)/17.5,   # sum (i - 2.5)^2 = 17.5
    "breakout_flag": 0, "star_teammates_out": 0, "game_total_line": 231., "days_rest": 2,
    "minutes_load_last_7d": 33 + 30 + 29.5, "spread_magnitude": 5., "implied_team_total": (231 - 5)/2,   # away: (T + S)/2 with S = -5
    "points_avg_last_3": 20.,
    "consecutive_games_below_avg": 0,                           # newest 22 > 15.5
    "teammate_usage_available": 0.,                             # Bob is out but has three games
    "usage_rate_last_5": sum(USAGE[1:])/5,
    "games_since_structural_change": 6, "multi_book_line_std": sqrt(.5),   # 17.5 and 18.5
    "prop_over_streak": 3, "prop_under_streak": 0,              # against 15.5: under, under, under, over, over, over
    "line_vs_season_avg": 2.}
GOLDEN["pts_vs_season_zscore"] = (16.6 - 15.5)/GOLDEN["points_std_last_10"]
GOLDEN["deviation_from_avg_last3"] = (20 - 15.5)/GOLDEN["points_std_last_10"]
GOLDEN["scoring_trend_slope"] = GOLDEN["pts_slope_10g"]        # six games are fewer than seven

def test_golden_row_of_54_features(built):
    "A formula, a window, a unit or a sign that differs from the written definition of any of the 54 features."
    assert set(GOLDEN) == set(NAMES)
    got = row(built, STORE, player_lookup="ann")
    for name, want in GOLDEN.items():
        assert (got[name] is None) if want is None else got[name] == pytest.approx(want, abs=1e-8), (name, got[name], want)

def test_golden_quality_fields(built):
    "Quality that does not follow from presence: Ann lacks only an optional history against New York."
    got = row(built, STORE, player_lookup="ann")
    assert got["feed_profile"] == "box+team_box+shots+props" and got["missing_feature_names"] == [] and got["default_feature_count"] == 0
    assert got["matchup_quality_pct"] == 100 and got["is_quality_ready"] and got["origin"] == "backfill" and got["line_bookmaker"] == "draftkings"

def test_in_game_line_is_not_the_line(built):
    "The snapshot fifteen minutes after the tip (25.5) as a line of record."
    ctx = row(built, CONTEXT, player_lookup="ann")
    assert ctx["current_points_line"] == 17.5 and ctx["line_minutes_before_game"] == 90 and ctx["books_count"] == 2

def test_inactive_player_has_no_statistics_and_is_not_eligible(built):
    "An absence stored as zeros, or a player ruled out on the expected slate."
    past = build(Facts.of(golden_frames()), NIGHTS[0], NIGHTS[-1])[PGS].filter(player_lookup="bob").sort("game_date")
    assert past["points"].to_list() == [8, None, 8, None, 8, None] and past["is_dnp"].to_list() == [False, True]*3
    bob = row(built, CONTEXT, player_lookup="bob")
    assert not bob["is_eligible"] and bob["eligibility_reason"] == "injury_out" and bob["injury_risk"] == 3
    assert row(built, STORE, player_lookup="bob")["dnp_rate"] == .5

def test_usage_is_gated_per_game():
    "A late team row that blanks usage beyond its own game."
    frames = golden_frames()
    late = game_id(NIGHTS[5], "BOS", "MIA")
    frames["nba_raw.nbac_team_boxscore"] = frames["nba_raw.nbac_team_boxscore"].filter(pl.col("game_id") != late)
    got = build(Facts.of(frames), NIGHTS[0], D)
    assert got[PGS].filter(player_lookup="ann").sort("game_date")["usage_rate"].is_null().to_list() == [False]*5 + [True]
    assert row(got, CACHE, player_lookup="ann", cache_date=D)["usage_rate_last_5"] == pytest.approx(sum(USAGE[1:5])/4, abs=1e-8)

def test_defense_against_league(built):
    "A percentage-point column stored as a fraction, or with the sign of a strong defence."
    zone = row(built, DEFENSE, team_abbr="NYK")
    # Chicago makes 3 of 4 in the paint against New York; the league: (3/5 + 2/4 + 2/4 + 3/4) per game = 10 of 17
    assert zone["paint_pct_allowed_last_15"] == .75 and zone["paint_defense_vs_league_avg"] == pytest.approx(100*(.75 - 10/17), abs=1e-9)
    assert zone["weakest_zone"] == "paint" and zone["games_in_sample"] == 6 and zone["opponent_points_per_game"] == 108

def many_games(points, gap=2, start=date(2025, 10, 22), statuses=None, team="BOS"):
    "Frames of one player over many nights; the slate is two days after the last."
    days = [start + timedelta(days=gap*i) for i in range(len(points))]
    games = [schedule(d, "BOS", "MIA", scores=(100, 90)) for d in days] + [schedule(days[-1] + timedelta(days=2), "BOS", "MIA", 1)]
    rows = [box(d, "BOS", "MIA", "ann", team, p, "30:00" if p is not None else None, "active" if p is not None else "dnp", ft_makes=1) for d, p in zip(days, points)]
    return {SCHEDULE: pl.DataFrame(games, infer_schema_length=None), BOX: pl.DataFrame(rows, infer_schema_length=None)}, days

def last_row(frames, days, name=STORE):
    d = days[-1] + timedelta(days=2)
    return build(Facts.of(frames), d, d)[name].filter(player_lookup="ann").row(0, named=True)

def shot_nights(counts_only=()): # nights whose shots come as counts without assists
    "Seven nights of one player: two made of four a night, one of them assisted, and no attempt on the third."
    frames, days = many_games([4]*7)
    tries = pl.when(pl.col("game_date") == days[2])
    frames[BOX] = frames[BOX].with_columns(fg_attempts=tries.then(0).otherwise(4), fg_makes=tries.then(0).otherwise(2), three_pt_attempts=pl.lit(0), three_pt_makes=pl.lit(0))
    shot = lambda i, d, k: {"game_id": game_id(d, "BOS", "MIA"), "game_date": d, "event_number": k, "player_lookup": "ann", "team_abbr": "BOS", "shot_value": 2, "shot_distance_ft": 3., "shot_made": k < 2, "assisted": k == 0 if k < 2 else None}
    events = [shot(i, d, k) for i, d in enumerate(days) if i != 2 and i not in counts_only for k in range(4)]
    counted = [zones(days[i], "BOS", "MIA", "ann", (4, 2), (0, 0), (0, 0)) for i in counts_only]
    frames["nba_raw.nbac_play_by_play"] = pl.DataFrame(events, infer_schema_length=None)
    if counted: frames["nba_raw.player_shot_counts"] = pl.DataFrame(counted)
    return frames, days

def test_a_night_without_attempts_does_not_hide_the_assisted_rate():
    "A rate lost because no shot was taken one night; or a rate invented where the feed counts shots without assists."
    known, unknown = last_row(*shot_nights(), SHOTS), last_row(*shot_nights(counts_only=(4,)), SHOTS)
    assert known["assisted_rate_last_10"] == 50 and known["games_in_sample_10"] == 7
    assert unknown["assisted_rate_last_10"] is None and unknown["games_in_sample_10"] == 7 and unknown["paint_rate_last_10"] == 100

def test_last_ten_games_are_not_thirty_days():
    "A last_10 column that is a 30-day mean: of 12 games only 4 lie within 30 days."
    frames, days = many_games([10]*8 + [30]*4, gap=7)
    got = last_row(frames, days)
    assert got["points_avg_last_10"] == (10*6 + 30*4)/10 and got["points_avg_last_5"] == (10 + 4*30)/5

def test_dnp_is_not_a_game():
    "Absences that count as games of zero points or push games out of the window."
    frames, days = many_games([20, None, 20, None, 20, 20, None, 26, 26])
    got = last_row(frames, days)
    assert got["points_avg_last_3"] == (20 + 26 + 26)/3 and got["points_avg_season"] == 132/6 and got["dnp_rate"] == pytest.approx(3/9)

def test_zero_points_in_real_minutes_are_a_game():
    "A scoreless game treated as an absence."
    frames, days = many_games([20]*4 + [0]*4)
    assert last_row(frames, days)["points_avg_last_5"] == 4.

@pytest.mark.parametrize("points, sign", [([8, 9, 12, 13, 15, 18, 20, 25], 1), ([25, 20, 18, 15, 13, 12, 9, 8], -1)])
def test_trends_have_the_sign_of_the_series(points, sign):
    "A trend computed newest-first."
    frames, days = many_games(points)
    got = last_row(frames, days)
    assert all(sign*got[k] > 0 for k in ("recent_trend", "pts_slope_10g", "scoring_trend_slope", "deviation_from_avg_last3"))

def test_more_rest_is_fresher():
    "fatigue_score read as tiredness: a back-to-back must lower it, three days of rest raise it."
    score = {}
    for rest in (1, 2, 4):
        frames, days = many_games([20]*6, gap=3)
        frames[SCHEDULE] = frames[SCHEDULE].filter(pl.col("game_status") == 3).vstack(pl.DataFrame([schedule(days[-1] + timedelta(days=rest), "BOS", "MIA", 1)], schema=frames[SCHEDULE].schema))
        d = days[-1] + timedelta(days=rest)
        score[rest] = build(Facts.of(frames), d, d)[COMPOSITE].filter(player_lookup="ann")["fatigue_score"].item()
    assert score[1] < score[2] <= score[4]

def test_weaker_defence_and_faster_opponent_raise_their_features():
    "Inverted signs of the mismatch and of the pace score."
    def scores(makes, fga):
        frames = golden_frames()
        zed = pl.col("player_lookup") == "zed"
        frames["nba_raw.player_shot_counts"] = frames["nba_raw.player_shot_counts"].with_columns(paint_makes=pl.when(zed).then(makes).otherwise("paint_makes"))
        frames["nba_raw.nbac_team_boxscore"] = frames["nba_raw.nbac_team_boxscore"].with_columns(fg_attempts=pl.when(pl.col("team_abbr") == "NYK").then(fga).otherwise("fg_attempts"))
        r = row(build(Facts.of(frames), D, D), STORE, player_lookup="ann")
        return r["shot_zone_mismatch_score"], r["pace_score"]
    assert scores(1, 80)[0] < 0 < scores(3, 80)[0] and scores(3, 80)[1] < scores(3, 84)[1]

def test_percent_fed_as_fraction_is_rejected(built):
    "A unit slip that walks into the store: the field must go missing and be reported with its unit."
    rows = built[STORE].with_columns(pct_paint=pl.col("pct_paint")*100, usage_rate_last_5=pl.col("usage_rate_last_5")/100)
    found = range_breaches(rows)
    assert found["field"].unique().to_list() == ["pct_paint"] and found["unit"][0] == "fraction"
    assert enforce_ranges(rows)["pct_paint"].drop_nulls().is_empty()

def test_two_games_on_one_date_are_ordered_by_game():
    "A doubleheader whose games are counted once, or ordered at random."
    frames, days = many_games([10]*7)
    twin = game_id(days[-1], "BOS", "ORL")
    frames[SCHEDULE] = frames[SCHEDULE].vstack(pl.DataFrame([schedule(days[-1], "BOS", "ORL", scores=(90, 80))], schema=frames[SCHEDULE].schema))
    frames[BOX] = frames[BOX].vstack(pl.DataFrame([box(days[-1], "BOS", "ORL", "ann", "BOS", 40, ft_makes=1)], schema=frames[BOX].schema))
    got = last_row(frames, days)
    assert got["points_avg_last_3"] == (10 + 10 + 40)/3 and got["games_in_last_7_days"] == 4 and twin > game_id(days[-1], "BOS", "MIA")

def test_late_tipoff_belongs_to_its_eastern_date():
    "A game that tips off after midnight UTC and is known a day too early or too late."
    frames, days = many_games([10]*7)
    d = days[-1] + timedelta(days=2)
    late = datetime(d.year, d.month, d.day, 3, 30, tzinfo=UTC) + timedelta(days=1)   # 22:30 Eastern on d
    frames[SCHEDULE] = frames[SCHEDULE].with_columns(game_start_utc=pl.when(pl.col("game_status") == 1).then(pl.lit(late)).otherwise("game_start_utc"))
    got = build(Facts.of(frames), d, d)[CONTEXT].row(0, named=True)
    assert got["game_date"] == d and got["days_rest"] == 2 and got["as_of"] == late

def test_first_fourteen_days_have_no_rows():
    "Feature rows in the bootstrap of a season."
    frames, _ = many_games([10]*6, start=date(2025, 10, 23))
    assert build(Facts.of(frames), date(2025, 10, 21), date(2025, 11, 3))[STORE].is_empty()
    assert build(Facts.of(frames), date(2025, 11, 3), date(2025, 11, 4))[STORE].height == 1

def test_team_change_and_layoff_start_a_new_role():
    "A count of games that runs through a trade or a long absence."
    frames, days = many_games([10]*8)
    moved = pl.when(pl.col("game_date") < days[5]).then(pl.lit("MIA")).otherwise("team_abbr")
    frames[BOX] = frames[BOX].with_columns(team_abbr=moved)
    assert last_row(frames, days)["games_since_structural_change"] == 3
    gone, days = many_games([10]*9)
    gone[BOX] = gone[BOX].filter(~pl.col("game_date").is_between(days[1], days[8] - timedelta(days=1)))
    assert last_row(gone, days)["games_since_structural_change"] == 1   # 22 October, then nothing until the last game

def test_trade_moves_the_player_to_one_team_only():
    "A traded player on two slates of one date."
    frames, days = many_games([10]*7)
    frames[BOX] = frames[BOX].with_columns(team_abbr=pl.when(pl.col("game_date") < days[3]).then(pl.lit("MIA")).otherwise("team_abbr"))
    d = days[-1] + timedelta(days=2)
    assert build(Facts.of(frames), d, d)[CONTEXT].filter(player_lookup="ann")["team_abbr"].to_list() == ["BOS"]

def test_unknown_injuries_are_not_health():
    "Without any report the injury columns must be missing, and the row must say so."
    frames = golden_frames(); del frames["nba_raw.nbac_injury_report"]
    ctx = row(build(Facts.of(frames), D, D), CONTEXT, player_lookup="bob")
    assert ctx["injury_risk"] is None and ctx["star_teammates_out"] is None and ctx["eligibility_reason"].endswith("injuries_unknown")

def test_report_older_than_a_day_is_no_report():
    "Yesterday's report taken for today's."
    frames = golden_frames()
    old = frames["nba_raw.nbac_injury_report"].with_columns(report_timestamp=pl.col("report_timestamp") - pl.duration(hours=30))
    ctx = row(build(Facts.of(frames | {"nba_raw.nbac_injury_report": old}), D, D), CONTEXT, player_lookup="ann")
    assert ctx["injury_risk"] is None

def test_no_line_for_him_is_not_no_line_that_day():
    "has_vegas_line that says 0 on a date, or at an hour, for which no line was collected at all."
    frames = golden_frames()
    early = datetime(2025, 11, 4, 13, tzinfo=UTC)     # the day's first line is seen at 14:00
    noon = datetime(2025, 11, 4, 15, tzinfo=UTC)
    flag = lambda frames, t: {r["player_lookup"]: r["has_vegas_line"] for r in build(Facts.of(frames), D, D, t)[STORE].iter_rows(named=True)}
    assert flag(frames, early) == {"ann": None, "bob": None, "nat": None} and flag(frames, noon) == {"ann": 1, "bob": 0, "nat": 0}
    props = frames["nba_raw.odds_api_player_points_props"].filter(pl.col("game_date") < D)
    assert set(flag(frames | {"nba_raw.odds_api_player_points_props": props}, "tip").values()) == {None}

def test_twin_clocks_of_a_line():
    "A run that uses a line published after it, or the opening line of another book."
    got = lambda t: row(build(Facts.of(golden_frames()), D, D, t), STORE, player_lookup="ann")
    at = lambda hour: datetime(2025, 11, 4, hour, 30, tzinfo=UTC)
    assert (got(at(15))["vegas_points_line"], got(at(15))["multi_book_line_std"]) == (16.5, None)
    assert (got(at(22))["vegas_points_line"], got(at(22))["vegas_opening_line"]) == (17.5, 16.5)

def test_one_prop_streak_ends_with_a_push_or_a_game_without_line():
    "A streak that runs through a push, or is told about a player whose last game had no line."
    frames = golden_frames()
    name = "nba_raw.odds_api_player_points_props"
    on = lambda day: pl.col("game_date") == day
    pushed = frames[name].with_columns(points_line=pl.when(on(NIGHTS[4])).then(18.).otherwise("points_line"))   # Ann scored 18 that night
    assert row(build(Facts.of(frames | {name: pushed}), D, D), STORE, player_lookup="ann")["prop_over_streak"] == 1
    blank = frames[name].filter(on(NIGHTS[5]).not_())
    assert row(build(Facts.of(frames | {name: blank}), D, D), STORE, player_lookup="ann")["prop_over_streak"] is None
