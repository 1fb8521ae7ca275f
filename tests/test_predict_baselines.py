"The systems that are code: every formula by hand, similar games against a slow oracle, what may not be seen, and who listens to whom."
import json, math, os, random
from datetime import date, timedelta
import polars as pl, pytest
from nbprops.features.catalogue import contract
from nbprops.features.feeds import FEEDS
from nbprops.predict.ensembles import BASELINES, CLUBS, add_absent, add_words, ensemble, word
from nbprops.predict.gate import gate, lacks, marks, run_mode
from nbprops.predict.similarity import SIMILAR, add_similar, similarity
from nbprops.predict.systems import FileSystem, side_of
from nbprops.predict.worker import Worker
from nbprops.predict.zone_matchup import zone_matchup
from tests.predict_world import DAY, LAST, PRED, copy_world, tiny_model, utc
from tests.test_predict_systems import rows

ZONE = dict(points_avg_season=16.0, opponent_def_rating=110.0, pct_paint=.40, pct_mid_range=.20, pct_three=.40, pct_free_throw=.20, fatigue_score=100.0, pace_score=0.0, home_away=1.0, points_std_last_10=3.0, games_in_last_7_days=2.0)

def one(system, base: dict, **over) -> float:
    return system.predict(pl.DataFrame([base | over], schema={k: pl.Float64 for k in base})).item()

def zone(**over): return one(zone_matchup(), ZONE, **over)

def conf(system, **columns) -> float:
    return round(pl.DataFrame([columns], schema={k: pl.Float64 for k in columns}).select(system.confidence(pl.lit(90.0))).item(), 4)

def side(system, edge, confidence) -> str:
    return pl.DataFrame({"e": [edge]}, schema={"e": pl.Float64}).select(system.pick(pl.col("e"), pl.lit(confidence))).item()

# --- zone matchup -------------------------------------------------------------------------------------------------------

def test_zone_matchup_by_hand():
    "Would catch a wrong sensitivity, weight, cap or correction, and every step on the wrong side of its bound."
    assert zone() == pytest.approx(16 + .8)
    pushed = lambda rating, **o: round(zone(opponent_def_rating=rating, **o) - zone(**o), 9)
    assert pushed(112.0) == round(.6*(1.2*1.0 + 1.0*.7 + 1.1*1.0 + .8*.7), 9)
    alone = lambda share: round(pushed(112.0, pct_paint=share, pct_mid_range=None, pct_three=None, pct_free_throw=None)/(.6*1.2), 9)
    assert [alone(x) for x in (.40, .3999, .20, .1999, 0.0, None)] == [1.0, .7, .7, .4, .4, 0.0]
    only = lambda z: {k: .5 if k == z else None for k in ("pct_paint", "pct_mid_range", "pct_three", "pct_free_throw")}
    assert [pushed(111.0, **only(z)) for z in ("pct_paint", "pct_mid_range", "pct_three", "pct_free_throw")] == [.36, .30, .33, .24]
    assert pushed(130.0, **only("pct_paint")) == 3.0 and pushed(90.0, **only("pct_paint")) == -3.0 and pushed(120.0, **only("pct_mid_range")) == 3.0 and pushed(119.0, **only("pct_mid_range")) == 2.7
    assert [round(zone(fatigue_score=f) - zone(), 9) for f in (50.0, 49.9, 30.0, 29.9)] == [0, -.8, -.8, -1.5]
    assert zone(pace_score=2.0) - zone() == pytest.approx(.8) and zone(home_away=0.0) - zone() == pytest.approx(-1.6) and zone(home_away=None) == pytest.approx(16.0)
    assert zone(points_avg_season=70.0) == 60.0 and zone(points_avg_season=0.0, home_away=0.0) == 0.0

def test_zone_matchup_signs():
    "Would catch a weak defence that lowers a prediction, and freshness read as tiredness."
    ratings = [zone(opponent_def_rating=r) for r in (95.0, 104.0, 110.0, 113.0, 121.0)]
    assert ratings == sorted(ratings) and len(set(ratings)) == 5
    assert zone(fatigue_score=20.0) < zone(fatigue_score=40.0) < zone(fatigue_score=90.0)

def test_zone_matchup_inputs():
    "Would catch a substitute for what is required, or a refusal for what is not."
    s = zone_matchup()
    assert s.contract.required == ["points_avg_season", "opponent_def_rating"] and zone(opponent_def_rating=None) is None and zone(points_avg_season=None) is None
    optional = {f.name: None for f in s.contract.features if not f.required}
    assert zone(**optional) == 16.0
    assert conf(s, points_std_last_10=None, games_in_last_7_days=None) == .5 and [conf(s, points_std_last_10=a, games_in_last_7_days=b) for a, b in ((4, 3), (4.1, 2), (6, 1), (6.1, 0), (9, 4))] == [.60, .47, .32, .25, .45]
    assert [side(s, e, c) for e, c in ((2.0, .6), (2.1, .6), (-2.1, .46), (2.1, .45), (None, .6))] == ["PASS", "OVER", "UNDER", "PASS", "NO_LINE"]

# --- similarity ---------------------------------------------------------------------------------------------------------

SIM = dict(points_avg_last_5=20.0, points_avg_season=20.0, opponent_def_rating=112.0, similar_points=20.0, fatigue_score=70.0, shot_zone_mismatch_score=0.0, pace_score=0.0, usage_spike_score=0.0, home_away=1.0)

def sim(**over): return one(similarity(), SIM, **over)

def test_similarity_formula_by_hand():
    "Would catch a wrong correction, a sign, or a venue that is symmetric."
    assert sim() == 20.8 and sim(home_away=0.0) == 19.5
    assert [sim(**{k: None}) for k in ("points_avg_last_5", "points_avg_season", "opponent_def_rating", "home_away")] == [None]*4
    assert sim(fatigue_score=90.0) - sim() == pytest.approx(.3) and sim(fatigue_score=30.0) - sim() == pytest.approx(-.6)
    assert [round(sim(**{k: 2.0}) - sim(), 9) for k in ("shot_zone_mismatch_score", "pace_score", "usage_spike_score")] == [.8, 1.6, 1.6]
    assert sim(fatigue_score=None, shot_zone_mismatch_score=None, pace_score=None, usage_spike_score=None) == 20.8 and sim(similar_points=None) is None and sim(similar_points=80.0) == 60.0

def test_similarity_confidence_and_picks():
    "Would catch every step that begins on the wrong side of its bound."
    s = similarity()
    c = lambda n, score, std: conf(s, similar_games=n, similar_score=score, similar_points_std=std)
    assert [c(n, 70, 9) for n in (5, 6, 7, 9, 10, 14, 15, 20)] == [.26, .26, .42, .42, .45, .45, .48, .48]
    assert [c(5, x, 9) for x in (70, 74.9, 75, 84.9, 85, 100)] == [.26, .26, .29, .29, .32, .32]
    assert [c(5, 70, x) for x in (0, 3.9, 4, 5.9, 6, 7.9, 8, 20)] == [.41, .41, .37, .37, .33, .33, .26, .26]
    assert c(15, 85, 3) == .69 and c(15, 85, 5) == .65
    assert [side(s, e, k) for e, k in ((2.0, .65), (-2.0, .65), (1.9, .69), (5.0, .649), (None, .69))] == ["OVER", "UNDER", "PASS", "PASS", "NO_LINE"]

def slow_score(now: dict, then: dict) -> int:
    "Resemblance of two evenings, as a person would count it."
    tier = lambda r: None if r is None else 0 if r < 110 else 1 if r < 115 else 2
    rest = lambda d: None if d is None else 4 if d >= 4 else max(int(d), 1)
    mood = lambda f: None if f is None else "hot" if f >= 3 else "cold" if f <= -3 else "normal"
    points = 0
    a, b = tier(now["opponent_def_rating"]), tier(then["opponent_def_rating"])
    if a is not None and b is not None: points += 40 if a == b else 20 if abs(a - b) == 1 else 0
    a, b = rest(now["days_rest"]), rest(then["days_rest"])
    if a is not None and b is not None: points += 30 if a == b else 15 if abs(a - b) == 1 else 0
    if now["home_away"] is not None and now["home_away"] == then["home_away"]: points += 15
    a, b = mood(now["form"]), mood(then["form"])
    if a is not None and b is not None: points += 15 if a == b else 5
    return points

def slow_similar(now: dict, games: list[dict]) -> tuple | None:
    "Count, weighted mean, mean score and spread of the best twenty similar games."
    found = [(slow_score(now, g), g) for g in games if g["player_lookup"] == now["player_lookup"] and now["game_date"] - timedelta(days=365) <= g["date_then"] < min(now["game_date"], now["cut"])]
    best = sorted([x for x in found if x[0] >= 70], key=lambda x: (x[0], x[1]["date_then"], x[1]["game_then"]), reverse=True)[:20]
    if not best: return None
    n, w = len(best), sum(s for s, _ in best)
    mean = sum(g["points"] for _, g in best)/n
    return n, sum(s*g["points"] for s, g in best)/w, w/n, math.sqrt(sum((g["points"] - mean)**2 for _, g in best)/n)

EVENING = {"opponent_def_rating": pl.Float64, "days_rest": pl.Float64, "home_away": pl.Float64, "form": pl.Float64}

def toys(seed: int) -> tuple[pl.DataFrame, pl.DataFrame]: # slate rows, history
    "A few players with long and short, crowded and empty, partly unknown histories around some evenings."
    r = random.Random(seed)
    maybe = lambda x: None if r.random() < .08 else x
    evening = lambda: dict(opponent_def_rating=maybe(r.choice([105.0, 109.99, 110.0, 113.0, 114.99, 115.0, 120.0])), days_rest=maybe(float(r.choice([1, 1, 2, 2, 3, 4, 6, 10]))), home_away=maybe(float(r.randint(0, 1))), form=maybe(r.choice([-5.0, -3.0, -2.99, 0.0, 2.99, 3.0, 4.0])))
    day, people = date(2026, 2, 10), [f"p{i}" for i in range(4)]
    history = [dict(player_lookup=p, date_then=d, game_then=f"g{i}", points=r.randint(0, 45), **evening()) for p in people for i in range(r.choice([0, 6, 40, 120])) for d in [day - timedelta(days=r.choice([0, 1, 2, 3, 364, 365, 366, 367, r.randint(1, 380), -r.randint(0, 5)]))]]
    slate = [dict(player_lookup=p, game_date=d, cut=d - timedelta(days=r.choice([0, 0, 2])), **evening()) for p in people for d in (day, day - timedelta(days=1), day + timedelta(days=3))]
    then = pl.DataFrame(history, schema={"player_lookup": pl.String, "date_then": pl.Date, "game_then": pl.String, "points": pl.Int64} | EVENING)
    now = pl.DataFrame(slate, schema={"player_lookup": pl.String, "game_date": pl.Date, "cut": pl.Date} | EVENING)
    return now.with_columns(points_avg_season=pl.when(pl.col("form").is_not_null()).then(10.0), points_avg_last_5=10.0 + pl.col("form")), then

@pytest.mark.parametrize("seed", range(25))
def test_similar_games_equal_the_slow_way(seed):
    "Would catch a bucket, a bound of the year, a tie, the twenty, or one player's games given to another."
    now, then = toys(seed)
    now = now.with_columns(form=pl.col("points_avg_last_5") - pl.col("points_avg_season"))
    got, games = add_similar(now, then).select(SIMILAR).rows(), then.to_dicts()
    for mine, want in zip(got, (slow_similar(r, games) for r in now.iter_rows(named=True))): assert mine == (None,)*4 if want is None else mine == pytest.approx(want, abs=1e-12)

def test_ties_go_to_the_newest_and_order_does_not_matter():
    "Would catch a twenty that depends on how rows were read."
    d, same = date(2026, 2, 10), dict(opponent_def_rating=112.0, days_rest=2.0, home_away=1.0)
    now = pl.DataFrame([dict(player_lookup="ann", game_date=d, cut=d, points_avg_last_5=20.0, points_avg_season=19.0, **same)])
    then = pl.DataFrame([dict(player_lookup="ann", date_then=d - timedelta(days=i), game_then=f"g{i}", points=100 if i > 20 else i, form=0.0, **same) for i in range(1, 41)])
    got = add_similar(now, then).select(SIMILAR).row(0)
    assert got[:3] == (20.0, 10.5, 100.0) and got[3] == pytest.approx(math.sqrt(33.25))
    assert all(add_similar(now, then.sample(fraction=1, shuffle=True, seed=s)).select(SIMILAR).row(0) == got for s in range(5))
    assert add_similar(now, then.head(1)).select(SIMILAR).row(0) == (1.0, 1.0, 100.0, 0.0) and add_similar(now, then.head(0)).select(SIMILAR).row(0) == (None,)*4

def ready(n: float | None) -> pl.DataFrame: return rows(opponent_def_rating=112.0, fatigue_score=90.0).with_columns(similar_games=pl.lit(n, pl.Float64), similar_points=pl.lit(20.0), similar_score=pl.lit(90.0), similar_points_std=pl.lit(4.0))

def test_five_similar_games_are_needed():
    "Would catch a prediction out of four evenings."
    got = lambda n: gate(ready(n), marks(ready(n)), similarity(), run_mode("SAME_DAY")).select("reason", "why").row(0)
    assert got(5.0) == (None, None) and got(4.0) == got(None) == ("too_few_similar_games", "fewer than 5 similar games within a year")

# --- what is missing ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("system, name, feed", [("zone_matchup_v1", "opponent_def_rating", "team_box"), ("similarity_balanced_v1", "opponent_def_rating", "team_box")])
def test_a_silent_formula_names_its_feed(system, name, feed):
    "Would catch a formula that shrinks past what it requires, or a reason that leaves the reader guessing."
    s, without = BASELINES[system](), ready(9.0).with_columns(pl.lit(False).alias(f"has_{feed}"), pl.lit(None, pl.Float64).alias(name))
    got = gate(without, marks(without), s, run_mode("BACKFILL")).row(0, named=True)
    assert (got["reason"], got["why"]) == ("missing_required", f"{name} needs {feed}") and name in got["missing"]
    unknown = ready(9.0).with_columns(pl.lit(None, pl.Float64).alias(name))
    assert gate(unknown, marks(unknown), s, run_mode("BACKFILL"))["why"].to_list() == [f"{name} is not known"]
    assert lacks(marks(ready(9.0)), s.contract).to_list() == [None]

@pytest.mark.parametrize("system", ["moving_average", "zone_matchup_v1", "similarity_balanced_v1"])
def test_each_required_input_blocks_and_each_optional_one_does_not(system):
    "Would catch one required input that is not, or one optional input that blocks."
    s = BASELINES[system]()
    assert s.contract.required == {"moving_average": ["points_avg_last_5", "points_avg_last_10", "points_avg_season", "points_std_last_10"], "zone_matchup_v1": ["points_avg_season", "opponent_def_rating"],
                                   "similarity_balanced_v1": ["points_avg_last_5", "points_avg_season", "opponent_def_rating", "home_away"]}[system]
    for f in s.contract.features:
        lost = ready(9.0).with_columns(pl.lit(None, pl.Float64).alias(f.name))
        got = gate(lost, marks(lost), s, run_mode("SAME_DAY")).row(0, named=True)
        assert got["reason"] == ("missing_required" if f.required else None) and got["missing"] == [f.name], f.name

# --- ensembles ----------------------------------------------------------------------------------------------------------

def heard(**said) -> pl.DataFrame: # member -> (points, confidence) or None
    "One player and what the members said about him."
    frame = pl.DataFrame({"game_id": ["g"], "player_lookup": ["ann"]})
    for m, x in said.items():
        if x: frame = add_words(frame, m, pl.DataFrame([dict(game_id="g", player_lookup="ann", predicted_points=x[0], confidence_score=x[1], feature_quality_score=x[2] if len(x) > 2 else 90.0, matchup_quality_pct=100.0)]))
    return add_absent(frame, sorted({m for c in CLUBS.values() for m in c}))

MA, ZM, SM, V8 = "moving_average", "zone_matchup_v1", "similarity_balanced_v1", "catboost_v8"

def test_ensembles_by_hand():
    "Would catch a wrong weight, or weights that are not scaled up when somebody is absent."
    v1, v11 = ensemble("ensemble_v1"), ensemble("ensemble_v1_1")
    p = lambda s, **said: s.predict(heard(**said)).item()
    a, b, c, d = (20.0, .60), (23.0, .50), (21.0, .69), (26.0, .95)
    assert p(v1, **{MA: a, ZM: b, SM: c}) == pytest.approx((.6*20 + .5*23 + .69*21)/1.79) and p(v1, **{MA: a, ZM: b}) == pytest.approx((.6*20 + .5*23)/1.1)
    assert p(v1, **{MA: a, ZM: b, SM: c, V8: d}) == p(v1, **{MA: a, ZM: b, SM: c}) # not a member
    assert p(v11, **{MA: a, ZM: b, SM: c, V8: d}) == pytest.approx(.45*26 + .25*21 + .20*20 + .10*23)
    assert p(v11, **{MA: a, V8: d}) == pytest.approx((.45*26 + .20*20)/.65) and p(v11, **{MA: a, ZM: b, SM: c}) == pytest.approx((.25*21 + .20*20 + .10*23)/.55)
    assert p(v11) is None and p(v11, **{MA: (60.0, .5), ZM: (60.0, .5)}) == pytest.approx(60.0)

def test_ensemble_confidence_and_picks():
    "Would catch a step, the bonus of completeness, a clamp or the side of a pick."
    v1, v11 = ensemble("ensemble_v1"), ensemble("ensemble_v1_1")
    c = lambda s, **said: round(heard(**said).select(s.confidence(pl.lit(90.0))).item(), 6)
    pair = lambda gap: c(v1, **{MA: (20.0, .50), ZM: (20.0 + 2*gap, .50)}) # population std of two = half their distance
    assert [pair(g) for g in (0, 1.99, 2, 2.99, 3, 5.99, 6, 9)] == [.60, .60, .55, .55, .45, .45, .40, .40]
    assert c(v1, **{MA: (20.0, .6), ZM: (20.0, .5), SM: (20.0, .4)}) == .65 and c(v11, **{MA: (20.0, .6), ZM: (20.0, .5), SM: (20.0, .4)}) == .60
    assert c(v11, **{MA: (20.0, .6), ZM: (20.0, .5), SM: (20.0, .4), V8: (20.0, .9)}) == .75
    assert c(v1, **{MA: (20.0, .9), ZM: (20.0, .95), SM: (20.0, .95)}) == .95 and c(v1, **{MA: (0.0, .2), ZM: (30.0, .2)}) == .20
    assert [side(v1, e, k) for e, k in ((1.5, .65), (-1.5, .65), (1.4, .9), (9.0, .64), (None, .9))] == ["OVER", "UNDER", "PASS", "PASS", "NO_LINE"]

def test_two_members_are_needed_and_the_weakest_rates_the_row():
    "Would catch an ensemble of one, or a quality that nobody vouches for."
    def got(**said):
        one = rows().join(heard(**said).drop("game_id", "player_lookup"), how="cross")
        return gate(one, marks(one), ensemble("ensemble_v1"), run_mode("SAME_DAY")).row(0, named=True)
    r = got(**{MA: (20.0, .6, 96.0), ZM: (21.0, .5, 88.0)})
    assert (r["reason"], r["feature_quality_score"], r["default_feature_count"], r["is_quality_ready"]) == (None, 88.0, 0, True)
    assert got(**{MA: (20.0, .6)})["reason"] == got()["reason"] == "too_few_members" and got()["why"] == "fewer than 2 of moving_average, zone_matchup_v1, similarity_balanced_v1 predicted"
    assert got(**{MA: (20.0, .6), V8: (21.0, .9)})["reason"] == "too_few_members"
    assert not set(FEEDS) & set(ensemble("ensemble_v1_1").vector) and ensemble("ensemble_v1").attribution["contract_hash"] != ensemble("ensemble_v1_1").attribution["contract_hash"]

def test_who_listens_comes_after_who_is_heard():
    "Would catch an order in which an ensemble speaks before a member."
    order = list(BASELINES)
    assert all(order.index(m) < order.index(e) for e in CLUBS for m in CLUBS[e] if m in order) and abs(sum(CLUBS["ensemble_v1_1"].values()) - 1) < 1e-12

# --- catboost_v8 --------------------------------------------------------------------------------------------------------

def test_v8_passes_when_it_is_not_confident():
    "Would catch the rule of the oldest family applied to another, or not at all; and one that hides that there is no line."
    v8, v9 = (FileSystem("m", contract(s), dict(model_load_source="REGISTRY")) for s in ("v8", "v9"))
    assert contract("v8").names == contract("v9").names and contract("v8", "box+props").count == 22
    assert [side(v8, e, k) for e, k in ((3.0, .599), (3.0, .60), (-3.0, .60), (None, .5))] == ["PASS", "OVER", "UNDER", "NO_LINE"] and side(v9, 3.0, .5) == "OVER"

def test_sides_have_the_sign_of_the_edge():
    "Would catch a pick against its own edge, or one at no edge."
    got = pl.DataFrame({"e": [.5, -.5, 0.0, None]}, schema={"e": pl.Float64}).select(side_of(pl.col("e"), pl.lit(True)))
    assert got.to_series().to_list() == ["OVER", "UNDER", "PASS", "NO_LINE"]

# --- served -------------------------------------------------------------------------------------------------------------

EIGHT = {"moving_average", "zone_matchup_v1", "similarity_balanced_v1", "ensemble_v1", "ensemble_v1_1", "catboost_v8", "catboost_v9", "catboost_v9_2026_02"}

@pytest.fixture(scope="module")
def built(tmp_path_factory, light_home):
    "The light world with all eight systems, one slate predicted."
    from nbprops.data.artifacts import Store
    from nbprops.data.warehouse import Warehouse
    home = tmp_path_factory.mktemp("eight")/"home"
    os.environ["NBPROPS_HOME"] = str(home)
    copy_world(light_home, home)
    wh, store = Warehouse(home/"nbprops.duckdb"), Store(str(home/"models"))
    wh.sql("UPDATE nba_predictions.model_registry SET system_id = 'catboost_v9_2026_02' WHERE system_id = 'catboost_v9_shadow'")
    tiny_model(wh, store, date(2025, 12, 5), 2, family="v8_mae", system_id="catboost_v8")
    Worker.from_registry(wh, store, quiet=True).predict(DAY)
    return home

@pytest.fixture
def served(built, tmp_path): return copy_world(built, tmp_path/"home")

def stored(wh, where="TRUE"): return wh.sql(f"SELECT * FROM {PRED} WHERE {where} ORDER BY game_date, game_id, player_lookup, system_id, line_value")

def vector(row: dict) -> pl.DataFrame:
    said = json.loads(row["features_snapshot_json"])
    return pl.DataFrame([said], schema={k: pl.Float64 for k in said})

def test_all_eight_speak_under_their_names(served):
    "Would catch a system that is silent on complete feeds, or attributed to a file it does not have."
    wh, _, worker = served
    got = stored(wh)
    assert set(got["system_id"]) == EIGHT == {s.system_id for s in worker().systems()}
    code = got.filter(pl.col("system_id").is_in(list(BASELINES)))
    assert set(code["model_load_source"]) == {"CODE"} and set(code["model_family"]) == {"baseline"} and (code["model_id"] == code["system_id"]).all() and code["model_sha256"].null_count() == code.height
    assert code["contract_hash"].n_unique() == 5 and code["feature_hash"].null_count() == 0 and code["feed_profile"].null_count() == 0
    assert got["predicted_points"].is_between(0, 60).all() and (got["default_feature_count"] == 0).all()
    over, under, edge = got["recommendation"] == "OVER", got["recommendation"] == "UNDER", got["line_margin"]
    assert (edge.filter(over) > 0).all() and (edge.filter(under) < 0).all() and over.sum() + under.sum() > 20

def test_code_predicts_again_from_its_stored_vector(served):
    "Would catch a vector that lacks what the formula read: the similar games, the members' words."
    wh, _, worker = served
    for s in worker().systems():
        if s.from_file: continue
        mine = stored(wh, f"system_id = '{s.system_id}'")
        assert mine.height > 10
        for row in mine.iter_rows(named=True):
            x = vector(row)
            assert set(x.columns) == set(s.vector) and s.predict(x).item() == row["predicted_points"] and x.select(s.confidence(pl.lit(row["feature_quality_score"]))).item() == row["confidence_score"], (s.system_id, row["player_lookup"])

def test_ensembles_hold_what_their_members_wrote(served):
    "Would catch words of another player, of another run, or of nobody."
    wh, _, _ = served
    got = stored(wh)
    points = {(r["player_lookup"], r["system_id"]): (r["predicted_points"], r["confidence_score"]) for r in got.iter_rows(named=True)}
    absent = 0
    for row in got.filter(pl.col("system_id").is_in(list(CLUBS))).iter_rows(named=True):
        said, member = json.loads(row["features_snapshot_json"]), CLUBS[row["system_id"]]
        for m in member: assert (said[word(m, "points")], said[word(m, "confidence")]) == points.get((row["player_lookup"], m), (None, None))
        absent += sum(said[word(m, "points")] is None for m in member)
    few = got.filter(system_id=SM).height < got.filter(system_id=MA).height
    assert (absent > 0) == few

def similar(wh, as_of=None) -> dict:
    "The similarity vectors of the evening, by player."
    got = stored(wh, f"system_id = '{SM}' AND is_active")
    return {r["player_lookup"]: (r["predicted_points"], r["features_snapshot_json"]) for r in got.iter_rows(named=True)}

def test_games_of_the_evening_change_nothing_and_earlier_ones_do(served):
    "Would catch a look at results of the same day or later, and a history that is not read."
    wh, _, worker = served
    before = similar(wh)
    wh.sql("UPDATE nba_analytics.player_game_summary SET points = points + 31 WHERE game_date >= @d AND NOT is_dnp", d=DAY)
    wh.sql("UPDATE nba_predictions.ml_feature_store_v2 SET opponent_def_rating = 128 WHERE game_date > @d", d=DAY)
    worker().predict(DAY, force=True)
    assert similar(wh) == before
    wh.sql("UPDATE nba_analytics.player_game_summary SET points = points + 31 WHERE game_date BETWEEN @a AND @b AND NOT is_dnp", a=DAY - timedelta(days=10), b=DAY - timedelta(days=1))
    worker().predict(DAY, force=True)
    after = similar(wh)
    changed = [p for p in before if after[p] != before[p]]
    assert changed and all(after[p][0] > before[p][0] for p in changed if before[p][0] < 59)

def test_a_look_from_earlier_days_sees_only_their_games(served):
    "Would catch a replay at an instant that knows games which were not over."
    wh, _, worker = served
    early = utc(2025, 12, 17, 15)
    worker().predict(DAY, as_of=early.isoformat(), force=True)
    was = similar(wh)
    wh.sql("UPDATE nba_analytics.player_game_summary SET points = points + 31 WHERE game_date >= DATE '2025-12-17' AND NOT is_dnp")
    worker().predict(DAY, as_of=early.isoformat(), force=True)
    assert similar(wh) == was and was
    wh.sql("UPDATE nba_analytics.player_game_summary SET points = points + 31 WHERE game_date >= DATE '2025-12-14' AND NOT is_dnp")
    worker().predict(DAY, as_of=early.isoformat(), force=True)
    assert similar(wh) != was

def test_an_ensemble_alone_listens_without_writing_for_others(served):
    "Would catch a named system that touches others, or that is deaf because its members were not named."
    wh, _, worker = served
    before = stored(wh, "system_id <> 'ensemble_v1'")
    was = stored(wh, "system_id = 'ensemble_v1'")
    r = worker().predict(DAY, systems=["ensemble_v1"], force=True)
    assert r.written == was.height and stored(wh, "system_id <> 'ensemble_v1'").equals(before)
    assert stored(wh, "system_id = 'ensemble_v1'")["features_snapshot_json"].to_list() == was["features_snapshot_json"].to_list()
    assert set(r.systems["system_id"]) == {"ensemble_v1"}

def test_standing_words_count_when_a_member_has_nothing_to_do(served):
    "Would catch an ensemble that is silent because its members were done before, and one that hears what it may not know yet."
    wh, _, worker = served
    was = stored(wh, "system_id = 'ensemble_v1_1'")
    wh.sql(f"DELETE FROM {PRED} WHERE system_id = 'ensemble_v1_1'")
    r = worker().predict(DAY)
    again = stored(wh, "system_id = 'ensemble_v1_1'")
    assert r.written == was.height and again["features_snapshot_json"].to_list() == was["features_snapshot_json"].to_list()
    wh.sql(f"DELETE FROM {PRED} WHERE system_id = 'ensemble_v1_1'")
    r = worker().predict(DAY, as_of=utc(2025, 12, 18, 12).isoformat())
    assert {x for s, x in r.skipped.select("system_id", "reason").iter_rows() if s == "ensemble_v1_1"} == {"too_few_members"}

def test_a_refused_slate_is_not_heard(served, monkeypatch):
    "Would catch an ensemble made from rows that will not be published."
    wh, _, worker = served
    real = type(BASELINES[ZM]()).predict
    monkeypatch.setattr(type(BASELINES[ZM]()), "predict", lambda self, rows: pl.Series([60.0]*rows.height, dtype=pl.Float64) if self.system_id == ZM else real(self, rows))
    monkeypatch.setattr("nbprops.predict.publish._verdict", lambda: pl.when(pl.col("pvl") > 20).then(pl.lit("REFUSE")).otherwise(pl.lit("OK")))
    r = worker().predict(DAY, force=True)
    assert {x for s, x in r.skipped.select("system_id", "reason").iter_rows() if s == ZM} == {"slate_refused"}
    new = stored(wh, f"run_id = '{r.run_id}' AND system_id = 'ensemble_v1'")
    assert new.height and all(json.loads(t)[word(ZM, "points")] is None for t in new["features_snapshot_json"])

def test_history_is_read_only_when_somebody_reads_it(served, monkeypatch):
    "Would catch a year of games read for a run of models."
    wh, _, worker = served
    monkeypatch.setattr("nbprops.predict.worker.read_history", lambda *a: (_ for _ in ()).throw(AssertionError("read")))
    worker().predict(DAY, systems=["catboost_v9", MA, ZM], force=True)
    with pytest.raises(AssertionError): worker().predict(DAY, systems=["ensemble_v1"], force=True)

def test_without_team_totals_the_others_go_on(served):
    "Would catch a slate on which one missing feed silences more than the systems that need it; the log names the feed."
    wh, _, worker = served
    wh.sql(f"DELETE FROM {PRED}")
    wh.sql("UPDATE nba_predictions.ml_feature_store_v2 SET feed_profile = REPLACE(feed_profile, '+team_box', ''), opponent_def_rating = NULL, pace_score = NULL, opponent_pace = NULL, team_pace = NULL, team_off_rating = NULL, usage_spike_score = NULL WHERE game_date = @d", d=DAY)
    r = worker().predict(DAY)
    assert set(stored(wh)["system_id"]) == {MA} and "opponent_def_rating needs team_box" in str(r)
    said = dict(wh.sql("SELECT system_id, error_message FROM nba_predictions.prediction_execution_log WHERE rows_written = 0").iter_rows())
    assert said[ZM] == said[SM] == "opponent_def_rating needs team_box" and said["ensemble_v1"].startswith("fewer than 2 of") and "without team_box" in said["catboost_v8"]
    runs = wh.sql("SELECT missing_features, systems_failed FROM nba_predictions.prediction_worker_runs WHERE run_id = @r", r=r.run_id)
    assert all("opponent_def_rating" in x for x in runs["missing_features"]) and all(ZM in x for x in runs["systems_failed"])

def test_probabilities_rest_on_graded_rows(served, monkeypatch):
    "Would catch a code system without probabilities although its record is long enough."
    from nbprops.predict.grading import grade
    wh, _, worker = served
    grade(wh, DAY)
    monkeypatch.setattr("nbprops.predict.worker.MIN_RESIDUALS", 10)
    worker().predict(LAST)
    got = stored(wh, f"game_date = DATE '{LAST}' AND has_prop_line").group_by("system_id").agg(with_p=pl.col("p_over").is_not_null().mean())
    assert dict(got.iter_rows()) == {s: 1.0 for s in EIGHT}

@pytest.mark.parametrize("system", [ZM, SM, "ensemble_v1", "ensemble_v1_1", "catboost_v8"])
def test_each_system_is_made_again_from_its_facts(served, system):
    "Would catch a system whose row cannot be found again when file and facts are the same."
    from nbprops.predict.replay import replay
    wh, store, _ = served
    got = replay(stored(wh, f"system_id = '{system}' AND has_prop_line")["prediction_id"][0], wh, store)
    assert got.verdict == "MATCH", str(got)
