"Serving, back-fill and training are one thing: the vector of the morning is found again, bit by bit, when everything later has landed."
import json, shutil
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
import numpy as np, polars as pl, pytest
from nbprops.data.artifacts import Store
from nbprops.data.league import simulate
from nbprops.data.reference import build_reference
from nbprops.data.sources import land
from nbprops.data.warehouse import Warehouse
from nbprops.features.facts import RUN_TIMES, SOURCES, read_facts
from nbprops.features.store import build, write_features
from nbprops.model.plans import market_at
from nbprops.model.predictor import load_bundle
from nbprops.model.registry import REGISTRY, paths
from nbprops.model.training import training_rows
from nbprops.predict.grading import grade
from nbprops.predict.publish import json_rows
from nbprops.predict.worker import Worker
from nbprops.settings import ET
from tests.predict_world import PRED, tiny_model

FIRST, TRAINED = date(2025, 11, 4), date(2025, 12, 5)
A, B = date(2025, 12, 14), date(2025, 12, 15)
PLANS = {0: [(A, "EARLY"), (A, "SAME_DAY"), (B, "OVERNIGHT")]} # seed -> runs served live
MORE = {s: [(date(2025, 12, 8) + timedelta(days=d), m) for d in (1, 4, 9) for m in (("EARLY", "SAME_DAY"), ("OVERNIGHT",), ("LAST_CALL",))[d % 3]] for s in (1, 2, 3)}
AFTER = datetime(2025, 12, 25, 17, tzinfo=timezone.utc)
SCHEDULE, PROPS, REPORTS, BOX = "nba_raw.nbac_schedule", "nba_raw.odds_api_player_points_props", "nba_raw.nbac_injury_report", "nba_raw.nbac_player_boxscores"
STAMPS = {PROPS: "snapshot_timestamp", "nba_raw.odds_api_game_lines": "snapshot_timestamp", REPORTS: "report_timestamp"}
KEYS = ["game_date", "game_id", "player_lookup", "system_id"]
COMPARED = ("predicted_points", "confidence_score", "p_over", "p_push", "line_value", "line_snapshot_id", "line_snapshot_at", "line_minutes_before_game", "sportsbook", "over_price_american", "under_price_american", "no_vig_over",
            "fair_price_american", "expected_value", "best_line", "best_price_american", "best_sportsbook", "recommendation", "is_actionable", "filter_reasons", "feature_quality_score", "injury_status_at_prediction",
            "feature_hash", "features_snapshot_json", "contract_hash", "model_sha256")
INJURY_FED = {"usage_spike_score", "injury_risk", "star_teammates_out", "teammate_usage_available"} # the features that an injury report moves

def hour_of(day: date, mode: str) -> datetime: return datetime.combine(day, RUN_TIMES[mode], ET).astimezone(timezone.utc)

def landed_by(frames: dict, t: datetime) -> dict:
    "What a warehouse can hold at an instant: finished games with their boxes, and whatever had been published."
    over = frames[SCHEDULE].filter(pl.col("game_start_utc") + timedelta(hours=3) <= t)["game_id"].implode()
    done, known = pl.col("game_id").is_in(over), lambda c: pl.when(pl.col("game_id").is_in(over)).then(c).alias(c)
    schedule = frames[SCHEDULE].with_columns(known("home_team_score"), known("away_team_score"), game_status=pl.when(done).then("game_status").otherwise(1).cast(frames[SCHEDULE].schema["game_status"]))
    return {k: schedule if k == SCHEDULE else f.filter(pl.col(STAMPS[k]) <= t if k in STAMPS else done) for k, f in frames.items() if k.startswith("nba_raw.")}

def featured(wh, asof: str, start: date, end: date) -> None:
    "Build and write the features of some dates at a moment."
    with wh.transaction() as tx: facts = read_facts(tx, start, end)
    write_features(wh, build(facts, start, end, asof), (start, end))

def receive(wh, frames: dict, t: datetime, asof: str, start: date, end: date) -> None:
    "Land what is known at an instant and build the features of some dates from it."
    land(landed_by(frames, t), wh); build_reference(wh); featured(wh, asof, start, end)

def written(wh, run_id: str) -> pl.DataFrame: return wh.sql(f"SELECT * FROM {PRED} WHERE run_id = @r", r=run_id)

def world_of(home):
    wh = Warehouse(home/"nbprops.duckdb")
    return wh, Worker.from_registry(wh, Store(str(home/"models")), quiet=True)

def backfilled(home, day: date, asof) -> tuple[pl.DataFrame, bool]: # rows, whether the features were rebuilt
    "A slate as the back-fill makes it, with nothing standing in its way."
    wh, worker = world_of(home)
    wh.sql(f"DELETE FROM {PRED} WHERE game_date >= @d", d=day)
    r = worker.predict_range(day, day, as_of=asof, force=True)
    return written(wh, r.run_id), r.rebuilt

def differences(a: pl.DataFrame, b: pl.DataFrame) -> set[tuple[str, str, str]]: # player, system, what
    "Every column of every row in which two runs disagree; text, floats and nulls to the bit."
    both = a.join(b, on=KEYS, how="full", coalesce=True, suffix="_b")
    alone = {(p, s, "row") for p, s in both.filter(pl.col("run_id").is_null() | pl.col("run_id_b").is_null()).select("player_lookup", "system_id").iter_rows()}
    pairs = a.join(b, on=KEYS, suffix="_b")
    return alone | {(p, s, c) for c in COMPARED for p, s in pairs.filter(pl.col(c).ne_missing(pl.col(f"{c}_b"))).select("player_lookup", "system_id").iter_rows()}

@dataclass
class Season:
    "A home after its mornings, another where everything later has landed, and what each run wrote."
    morning: object
    later: object
    live: dict       # (date, mode) -> rows
    untouched: tuple # the last run made again before any feature was rebuilt: rows, rebuilt
    def copy(self, folder):
        shutil.copytree(self.later, folder)
        return folder

def grown(wh, store, frames: dict, begin: datetime, end: date) -> Worker:
    "Weeks of history: features, two models, graded rows of the baselines."
    receive(wh, frames, begin, "tip", FIRST, end)
    tiny_model(wh, store, TRAINED, 0, system_id="catboost_v9"); tiny_model(wh, store, TRAINED, 1, family="v12_mae", system_id="v12_shadow")
    worker = Worker.from_registry(wh, store, quiet=True)
    worker.predict_range(end - timedelta(days=10), end, systems=list(worker.baselines))
    return worker

def mornings(home, seed: int, plan: list, clock) -> tuple[dict, dict]: # feeds, live rows
    "Serve a plan live: before each run only what had been published lands, and the features are built from that."
    frames, wh = simulate(light=True, seed=seed), Warehouse(home/"nbprops.duckdb")
    was, begin = plan[0][0] - timedelta(days=1), datetime.combine(plan[0][0], time(6), timezone.utc)
    clock(begin)
    worker, live = grown(wh, Store(str(home/"models")), frames, begin, was), {}
    for day, mode in plan:
        clock(hour_of(day, mode))
        receive(wh, frames, hour_of(day, mode), f"run:{mode}", was, day)
        if was < day: grade(wh, FIRST, day - timedelta(days=1))
        live[day, mode], was = written(wh, worker.predict(day, mode=mode, force=True).run_id), day
    return frames, live

def season(base, seed: int, plan: list) -> Season:
    "Mornings, and the day on which all of it has landed and been built anew at the tip-offs."
    home, later = base/"home", base/"later"
    home.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as mp:
        mp.setenv("NBPROPS_HOME", str(home))
        clock = lambda t: mp.setenv("NBPROPS_NOW", t.isoformat())
        frames, live = mornings(home, seed, plan, clock)
        shutil.copytree(home, later)
        clock(AFTER)
        wh, (day, mode) = Warehouse(later/"nbprops.duckdb"), plan[-1]
        land(landed_by(frames, AFTER), wh); build_reference(wh)
        untouched = backfilled(later, day, f"run:{mode}")
        featured(wh, "tip", plan[0][0], day + timedelta(days=1)); grade(wh, FIRST, day)
    return Season(home, later, live, untouched)

@pytest.fixture(scope="module")
def seasons(tmp_path_factory): return {seed: season(tmp_path_factory.mktemp("parity")/str(seed), seed, plan) for seed, plan in PLANS.items()}

def found_again(s: Season, folder) -> None:
    home = s.copy(folder)
    for (day, mode), live in s.live.items():
        back, rebuilt = backfilled(home, day, f"run:{mode}")
        asked = back.filter("has_prop_line") if mode == "EARLY" else back
        assert rebuilt and live.height > 20 and differences(live, asked) == set(), (day, mode)
        assert live["prediction_made_before_game"].all() and not back["prediction_made_before_game"].any() and live["p_over"].drop_nulls().len() > 10

def test_the_backfill_of_a_past_moment_finds_what_was_served(seasons, tmp_path):
    "Would catch one bit of one feature, price or probability that a later fact changes; features were built at the tips since."
    for seed, s in seasons.items(): found_again(s, tmp_path/str(seed))

@pytest.mark.full
@pytest.mark.parametrize("seed", MORE)
def test_more_seasons_find_what_was_served(seed, tmp_path):
    "The same over more dates, seeds and the afternoon's run."
    found_again(season(tmp_path, seed, MORE[seed]), tmp_path/"again")

def test_what_changes_between_the_runs_is_worth_the_test(seasons):
    "Would catch a league in which nothing happens between the mornings, where parity is cheap."
    runs = seasons[0].live
    early, late = runs[A, "EARLY"], runs[A, "SAME_DAY"]
    both = early.join(late, on=KEYS, suffix="_b")
    changed = lambda c: both.filter(pl.col(c).ne_missing(pl.col(f"{c}_b"))).height
    assert changed("line_snapshot_id") and changed("features_snapshot_json") and changed("predicted_points")
    vectors = lambda f: pl.DataFrame([json.loads(t) for t in f.filter(system_id="v12_shadow").sort("player_lookup")["features_snapshot_json"]], infer_schema_length=None)
    assert len(vectors(late).columns) == 54 and vectors(late)["injury_risk"].n_unique() > 1 and set(late["system_id"]) >= {"catboost_v9", "v12_shadow", "moving_average"}

def test_features_of_the_morning_serve_again_as_they_are(seasons):
    "Would catch a second way of making features: with nothing rebuilt since, the stored rows must do."
    for seed, s in seasons.items():
        rows, rebuilt = s.untouched
        assert not rebuilt and differences(s.live[PLANS[seed][-1]], rows) == set()

def test_a_bundle_from_the_store_repeats_every_prediction(seasons):
    "Would catch a stored vector that is not the one the model saw, or a transformer of training that is not the one of serving."
    for s in seasons.values():
        wh, store, n = Warehouse(s.morning/"nbprops.duckdb"), Store(str(s.morning/"models")), 0
        for row in wh.sql(f"SELECT * FROM {REGISTRY}").iter_rows(named=True):
            b = load_bundle(store.path(paths(row)[0]))
            mine = pl.concat([r.filter(pl.col("model_sha256") == row["sha256"]) for r in s.live.values()])
            x = pl.DataFrame([json.loads(t) for t in mine["features_snapshot_json"]], schema_overrides={f: pl.Float64 for f in b.transformer.features})
            n += mine.height
            assert mine.height > 30 and np.array_equal(b.predict(x), mine["predicted_points"].to_numpy())
            assert json_rows(x.select(b.transformer.features)).to_list() == mine["features_snapshot_json"].to_list()
        assert n == sum(r["model_sha256"].drop_nulls().len() for r in s.live.values())

def served_and_trained(wh, live: pl.DataFrame, day: date, mode: str, system: str) -> pl.DataFrame: # per player: vector as served, <feature>_t as trained on
    "The players of a day who were served and became training rows."
    trained = market_at(wh, training_rows(wh, day, day), f"run:{mode}")
    mine = live.filter(system_id=system)
    x = pl.DataFrame([json.loads(t) for t in mine["features_snapshot_json"]], infer_schema_length=None)
    both = pl.concat([mine.select("game_id", "player_lookup"), x], how="horizontal").join(trained, on=["game_id", "player_lookup"], suffix="_t")
    assert set(x.columns) <= set(trained.columns) and both.height > 20
    return both

def unequal(wh, live: pl.DataFrame, day: date, mode: str) -> set[str]: # features
    "What differs between the served and the trained vectors of the two models."
    every = [served_and_trained(wh, live, day, mode, s) for s in ("catboost_v9", "v12_shadow")]
    f64 = lambda c: pl.col(c).cast(pl.Float64)
    return {c[:-2] for both in every for c in both.columns if c.endswith("_t") and both.filter(f64(c).ne_missing(f64(c[:-2]))).height}

def test_training_at_the_hour_of_the_run_sees_the_served_vectors(seasons, tmp_path):
    "Would catch training vectors that serving never produces; on a store of the tip-offs only what injury reports moved may differ, for training renews the market alone."
    for seed in PLANS:
        (day, mode), live = PLANS[seed][-1], seasons[seed].live[PLANS[seed][-1]]
        wh = Warehouse(seasons[seed].copy(tmp_path/str(seed))/"nbprops.duckdb")
        assert unequal(wh, live, day, mode) <= INJURY_FED
        featured(wh, f"run:{mode}", day, day)
        assert unequal(wh, live, day, mode) == set()

# --- the mirror: each of these must be found ---

def mutated(s: Season, folder, change: str, day=B, mode="OVERNIGHT", **params) -> set:
    home = s.copy(folder)
    Warehouse(home/"nbprops.duckdb").sql(change, **params)
    return differences(s.live[day, mode], backfilled(home, day, f"run:{mode}")[0])

def test_the_mirror_finds_a_later_line_that_was_dated_back(seasons, tmp_path):
    "Would catch a comparison that cannot see a leaked line."
    s = seasons[0]
    row = Warehouse(s.later/"nbprops.duckdb").sql(f"SELECT * FROM {PROPS} WHERE game_date = @d AND bookmaker = 'draftkings' AND snapshot_timestamp > @t ORDER BY snapshot_timestamp, player_lookup", d=B, t=hour_of(B, "OVERNIGHT")).row(0, named=True)
    got = mutated(s, tmp_path/"x", f"UPDATE {PROPS} SET snapshot_timestamp = @t, points_line = points_line + 2 WHERE snapshot_id = @i", t=hour_of(B, "OVERNIGHT"), i=row["snapshot_id"])
    assert {p for p, _, _ in got} == {row["player_lookup"]} and {(c, m) for _, m, c in got} >= {("line_value", "catboost_v9"), ("features_snapshot_json", "v12_shadow"), ("line_snapshot_id", "moving_average")}

def test_the_mirror_finds_a_changed_box_score_before_the_day(seasons, tmp_path):
    "Would catch a comparison that cannot see seven points of an old game."
    who = seasons[0].live[B, "OVERNIGHT"]["player_lookup"].sort()[0]
    got = mutated(seasons[0], tmp_path/"x", f"UPDATE {BOX} SET points = points + 7 WHERE player_lookup = @p AND game_id = (SELECT MAX(game_id) FROM {BOX} WHERE player_lookup = @p AND game_date < @d AND points > 0)", p=who, d=B)
    assert {p for p, _, _ in got} == {who} and {(m, c) for _, m, c in got} >= {("catboost_v9", "features_snapshot_json"), ("moving_average", "predicted_points")}

def test_the_mirror_finds_features_of_the_evening(seasons, tmp_path, monkeypatch):
    "Would catch a comparison that passes when a replay uses what was built at the tip-off."
    monkeypatch.setattr("nbprops.predict.slate.knows_otherwise", lambda *a: False)
    got = differences(seasons[0].live[A, "EARLY"], backfilled(seasons[0].copy(tmp_path/"x"), A, "run:EARLY")[0].filter("has_prop_line"))
    assert {c for _, _, c in got} >= {"features_snapshot_json", "feature_hash", "predicted_points"}

def test_a_report_that_grew_old_before_the_tip_still_counts_in_the_morning(seasons, tmp_path, monkeypatch):
    "Would catch a replay that takes rows from which the evening had lost the only report: a day old at the tip, fresh at noon."
    home = seasons[0].copy(tmp_path/"x")
    wh = Warehouse(home/"nbprops.duckdb")
    wh.sql(f"DELETE FROM {REPORTS} WHERE report_timestamp > @t", t=datetime.combine(B, time(), timezone.utc))
    featured(wh, "tip", B, B)
    got, rebuilt = backfilled(home, B, "run:SAME_DAY")
    monkeypatch.setattr("nbprops.predict.slate.knows_otherwise", lambda *a: True)
    assert rebuilt and set(got["system_id"]) >= {"catboost_v9", "v12_shadow"} and differences(got, backfilled(home, B, "run:SAME_DAY")[0]) == set()

# --- the baselines' chances ---

def chances_of(wh, worker, a: date, b: date, asof) -> dict: # player -> p_over of the baseline on the last day
    wh.sql(f"DELETE FROM {PRED} WHERE game_date >= @d", d=a)
    r = worker.predict_range(a, b, as_of=asof, force=True, systems=["moving_average"])
    return dict(written(wh, r.ids[b]).select("player_lookup", "p_over").iter_rows())

def test_a_range_gives_the_baseline_the_chances_of_its_days(seasons, tmp_path):
    "Would catch a probability that depends on which other days were back-filled in one go."
    wh, worker = world_of(seasons[0].copy(tmp_path/"x"))
    assert chances_of(wh, worker, A, B, "run:OVERNIGHT") == chances_of(wh, worker, B, B, "run:OVERNIGHT")

def test_a_replay_of_the_evening_before_knows_no_grade_of_that_night(seasons, tmp_path):
    "Would catch chances that were counted with results of games which had not been played."
    wh, worker = world_of(seasons[0].copy(tmp_path/"x"))
    evening = datetime.combine(A, time(3, 30), timezone.utc) # 22:30 Eastern on the day before
    known = chances_of(wh, worker, A, A, evening)
    wh.sql("DELETE FROM nba_predictions.prediction_accuracy WHERE game_date = @d", d=A - timedelta(days=1))
    assert len(set(known.values())) > 5 and chances_of(wh, worker, A, A, evening) == known

# --- real feeds ---

REAL_FIRST = date(2025, 10, 21)

def real_frames(end: date) -> dict:
    "Raw facts of the season until a day, as tables."
    from tests.features_toys import real_facts
    facts, within = real_facts(), lambda f: f.filter(pl.col("game_date").is_between(REAL_FIRST, end)) if "game_date" in f.columns else f
    return {name: within(getattr(facts, k)) for k, name in SOURCES.items()}

def real_known(frames: dict, day: date, t: datetime) -> dict:
    "The part of it that had been published: games before the day, lines until the instant."
    past, s = pl.col("game_date") < day, SOURCES["schedule"]
    gone = frames[s].filter(past.not_())["game_id"].implode()
    hide = lambda c: pl.when(pl.col("game_id").is_in(gone).not_()).then(c).alias(c)
    schedule = frames[s].with_columns(hide("home_team_score"), hide("away_team_score"), game_status=pl.when(past).then("game_status").otherwise(1).cast(pl.Int64))
    seen = {SOURCES[k]: c for k, c in (("props", "snapshot_timestamp"), ("game_lines", "snapshot_timestamp"), ("injuries", "report_timestamp"))}
    post = {SOURCES[k] for k in ("box", "team_box", "shots", "shot_counts")}
    return {n: schedule if n == s else f.filter(pl.col(seen[n]) <= t) if n in seen else f.filter(past) if n in post else f for n, f in frames.items()}

@pytest.mark.real
@pytest.mark.full
@pytest.mark.parametrize("day", [date(2025, 11, 21), date(2026, 2, 11)], ids=["sportsbooks", "pick'em"])
def test_a_real_morning_is_found_again(day, tmp_path, monkeypatch):
    "Would catch a real feed, with its gaps and nominal times, whose later rows change what was served."
    t, start = hour_of(day, "SAME_DAY"), day - timedelta(days=16)
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path))
    monkeypatch.setenv("NBPROPS_NOW", t.isoformat())
    frames, wh, store = real_frames(day + timedelta(days=1)), Warehouse(tmp_path/"nbprops.duckdb"), Store(str(tmp_path/"models"))
    wh.migrate()
    put = lambda part, asof, a, b: [[wh.write(n, f) for n, f in part.items() if f.height], featured(wh, asof, a, b)]
    put(real_known(frames, day, t), "tip", start, day - timedelta(days=1)); featured(wh, "run:SAME_DAY", day, day)
    tiny_model(wh, store, day - timedelta(days=4), 0, system_id="catboost_v9", profile="box+shots+props"); tiny_model(wh, store, day - timedelta(days=4), 1, family="v12_mae", system_id="v12_shadow", profile="box+shots+props")
    worker = Worker.from_registry(wh, store, quiet=True)
    live = written(wh, worker.predict(day, mode="SAME_DAY").run_id)
    monkeypatch.setenv("NBPROPS_NOW", (t + timedelta(days=9)).isoformat())
    put(frames, "tip", day, day)
    back, _ = backfilled(tmp_path, day, "run:SAME_DAY")
    assert set(live["system_id"]) >= {"catboost_v9", "v12_shadow"} and live["line_value"].count() > 100 and differences(live, back) == set()
