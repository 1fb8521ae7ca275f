"The worker: what it loads, whom it predicts, what it refuses."
import json
from datetime import date, datetime, timedelta, timezone
import numpy as np, polars as pl, pytest
from nbprops.features.facts import AsOf, Facts, parse_as_of
from nbprops.features.store import build, write_features
from nbprops.model.registry import Registry, paths
from nbprops.predict.worker import NothingPredicted, bounded
from nbprops.settings import Refusal
from nbprops.predict.ensembles import BASELINES
from tests.predict_world import DAY, LAST, PRED, copy_world, dump, utc
from tests.serving_invariants import invariants

@pytest.fixture
def served(light_home, tmp_path): return copy_world(light_home, tmp_path/"home")

def _rows(wh, where="TRUE"): return wh.sql(f"SELECT * FROM {PRED} WHERE {where} ORDER BY game_date, game_id, player_lookup, system_id, line_value")

def test_a_slate_is_complete_and_attributed(served):
    "Would catch a system, a hash or a log row that is missing."
    wh, store, worker = served
    r = worker().predict(DAY)
    rows = _rows(wh)
    players, few = rows["player_lookup"].n_unique(), rows.filter(system_id="similarity_balanced_v1").height
    assert r.written == rows.height == 6*players + few and 0 < few <= players and rows["is_active"].all()
    assert dict(r.skipped.select("system_id", "n").iter_rows()) == ({"similarity_balanced_v1": players - few} if few < players else {})
    files = rows.filter(pl.col("model_load_source") != "CODE")
    assert files.select(pl.col("model_file_name", "model_training_start_date", "model_training_end_date", "model_expected_mae", "model_expected_hit_rate", "model_trained_at", "model_sha256", "contract_hash", "feature_hash", "features_snapshot_json").null_count()).row(0) == (0,)*10
    assert set(files["model_load_source"]) == {"REGISTRY"} and files["model_sha256"].str.len_chars().eq(64).all()
    assert rows.filter(pl.col("has_prop_line") & (pl.col("model_load_source") != "CODE"))["p_over"].is_between(0, 1).all()
    log = wh.sql("SELECT * FROM nba_predictions.prediction_execution_log")
    assert log.height == 7 and set(log["status"]) == {"completed"} and log["rows_written"].sum() == r.written
    runs = wh.sql("SELECT * FROM nba_predictions.prediction_worker_runs")
    assert runs.height == rows["player_lookup"].n_unique() and runs["success"].all() and runs.select(pl.col("systems_failed", "missing_features", "line_values_requested").null_count()).row(0) == (0, 0, 0)
    assert set(runs["systems_failed"].explode().drop_nulls()) <= {"similarity_balanced_v1"}

def test_running_twice_changes_nothing(served):
    "Would catch a second run that rewrites, doubles or deactivates rows."
    wh, _, worker = served
    w = worker()
    w.predict(DAY)
    before = {k: v for k, v in dump(wh).items() if k != "prediction_worker_runs"}
    again = w.predict(DAY)
    assert again.written == 0 and set(again.skipped["reason"]) <= {"already_predicted", "too_few_similar_games"} and again.exit_code == 0
    assert {k: v for k, v in dump(wh).items() if k != "prediction_worker_runs"} == before

def test_force_keeps_the_old_rows_as_versions(served):
    "Would catch a regeneration that loses what was shown."
    wh, _, worker = served
    w = worker()
    w.predict(DAY)
    old = _rows(wh)
    w.predict(DAY, force=True, systems=["catboost_v9"])
    versions, new = wh.sql("SELECT * FROM nba_predictions.prediction_versions"), _rows(wh)
    mine = old.filter(system_id="catboost_v9")
    assert sorted(versions["prediction_id"]) == sorted(mine["prediction_id"]) and new.height == old.height
    kept = {json.loads(t)["prediction_id"]: json.loads(t) for t in versions["row_json"]}
    assert all(kept[r["prediction_id"]]["predicted_points"] == r["predicted_points"] for r in mine.iter_rows(named=True))
    others = lambda f: f.filter(pl.col("system_id") != "catboost_v9").rows()
    assert others(new) == others(old)

def test_the_stored_vector_reproduces_the_prediction(served):
    "Would catch a vector that is not the one the model saw."
    wh, store, worker = served
    w = worker()
    w.predict(DAY)
    bundle = {m.system.system_id: m.system.bundle for m in w.fleet.models}
    for system, rows in _rows(wh, "model_load_source <> 'CODE'").partition_by("system_id", as_dict=True).items():
        x = pl.DataFrame([json.loads(t) for t in rows["features_snapshot_json"]], schema_overrides={n: pl.Float64 for n in bundle[system[0]].transformer.features})
        assert np.array_equal(bundle[system[0]].predict(x), rows["predicted_points"].to_numpy())

def test_a_range_equals_its_days(light_home, tmp_path):
    "Would catch a range whose features or lines depend on its other days."
    a, b = copy_world(light_home, tmp_path/"a"), copy_world(light_home, tmp_path/"b")
    days = [DAY - timedelta(days=i) for i in range(3)]
    a[2]().predict_range(days[-1], days[0])
    for d in reversed(days): b[2]().predict(d)
    drop = ["prediction_id", "run_id", "predicted_at", "created_at", "updated_at"]
    assert _rows(a[0]).drop(drop).rows() == _rows(b[0]).drop(drop).rows()

def test_a_live_run_knows_nothing_later(served, monkeypatch):
    "Would catch a replay that sees the evening's lines or injury reports."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    live = worker().predict(LAST, mode="SAME_DAY")
    rows = _rows(wh)
    assert live.rebuilt and rows["prediction_made_before_game"].all() and rows["line_snapshot_at"].max() <= utc(2025, 12, 19, 16, 30)
    assert set(rows["replay_now"]) == {utc(2025, 12, 19, 16, 30)}
    for t, change, c in (("odds_api_player_points_props", "points_line = points_line + 7", "snapshot_timestamp"), ("odds_api_game_lines", "line_point = line_point + 9", "snapshot_timestamp"),
                         ("nbac_injury_report", "injury_status = CASE injury_status WHEN 'out' THEN 'available' ELSE 'out' END", "report_timestamp")):
        wh.sql(f"UPDATE nba_raw.{t} SET {change} WHERE {c} > TIMESTAMP '2025-12-19 16:30:00+00'")
    assert worker().predict(LAST, mode="SAME_DAY", force=True).written == rows.height
    keep = ["player_lookup", "system_id", "line_value", "predicted_points", "feature_hash"]
    assert _rows(wh).select(keep).rows() == rows.select(keep).rows()

def test_live_equals_backfill_of_the_same_moment(light_home, tmp_path, monkeypatch):
    "Would catch training features that differ from serving features."
    a, b = copy_world(light_home, tmp_path/"a"), copy_world(light_home, tmp_path/"b")
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    a[2]().predict(LAST, mode="SAME_DAY")
    monkeypatch.delenv("NBPROPS_NOW")
    b[2]().predict(LAST, as_of=AsOf.at(utc(2025, 12, 19, 16, 30)))
    keep = ["player_lookup", "system_id", "line_value", "line_snapshot_id", "predicted_points", "p_over", "features_snapshot_json", "recommendation"]
    assert _rows(a[0]).select(keep).rows() == _rows(b[0]).select(keep).rows()
    assert not _rows(b[0])["prediction_made_before_game"].any()

def test_after_the_tip_a_live_run_writes_nothing(served, monkeypatch):
    "Would catch predictions that are dressed up as pre-game."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-20T08:00:00Z")
    with pytest.raises(Refusal, match="has begun"): worker().predict(LAST, mode="SAME_DAY")
    assert _rows(wh).height == 0
    assert set(wh.sql("SELECT status FROM nba_predictions.prediction_execution_log")["status"]) == {"refused"}

def test_a_started_game_is_left_out(served, monkeypatch):
    "Would catch a late run that predicts the early game."
    wh, _, worker = served
    games = wh.sql("SELECT game_id, game_start_utc FROM nba_reference.nba_schedule WHERE game_date = @d ORDER BY game_start_utc", d=DAY)
    wh.sql("UPDATE nba_reference.nba_schedule SET game_start_utc = TIMESTAMP '2025-12-18 18:00:00+00' WHERE game_id = @g", g=games["game_id"][0])
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-18T18:00:00Z")
    r = worker().predict(DAY, mode="SAME_DAY")
    assert set(_rows(wh)["game_id"]) == {games["game_id"][1]} and "after_tip_off" in set(r.skipped["reason"])

def test_zero_tolerance(served):
    "Would catch a prediction made with a required feature missing, in any mode."
    wh, _, worker = served
    who = wh.sql("SELECT player_lookup FROM nba_predictions.ml_feature_store_v2 JOIN nba_analytics.upcoming_player_game_context USING (player_lookup, game_date) WHERE game_date = @d AND is_quality_ready AND is_eligible ORDER BY 1 LIMIT 1", d=DAY).item()
    wh.sql("UPDATE nba_predictions.ml_feature_store_v2 SET team_pace = NULL WHERE game_date = @d AND player_lookup = @p", d=DAY, p=who)
    worker().predict(DAY)
    assert {"moving_average", "zone_matchup_v1"} <= set(_rows(wh, f"player_lookup = '{who}'")["system_id"]) <= set(BASELINES)
    run = wh.sql("SELECT * FROM nba_predictions.prediction_worker_runs WHERE player_lookup = @p", p=who)
    assert run["missing_features"].to_list() == [["team_pace"]] and run["systems_failed"].to_list()[0][:2] == ["catboost_v9", "catboost_v9_shadow"]

def test_a_missing_feed_blocks_a_model_that_had_it(served):
    "Would catch a model that is fed NaN where a feed has stopped."
    wh, _, worker = served
    wh.sql("UPDATE nba_predictions.ml_feature_store_v2 SET feed_profile = 'box+props' WHERE game_date = @d", d=DAY)
    r = worker().predict(DAY)
    assert set(_rows(wh)["system_id"]) == {"moving_average"} and r.exit_code == 1
    said = {s: (reason, why) for s, reason, _, why in r.skipped.iter_rows()}
    assert said["catboost_v9"] == ("feed_missing", "without rosters, team_box, shots, game_lines, injuries")
    assert said["zone_matchup_v1"] == said["similarity_balanced_v1"] == ("missing_required", "opponent_def_rating needs team_box") and said["ensemble_v1"][0] == said["ensemble_v1_1"][0] == "too_few_members"

def test_no_row_although_there_are_games_is_a_failure(served):
    "Would catch a green run with zero rows."
    wh, _, worker = served
    wh.sql("DELETE FROM nba_predictions.ml_feature_store_v2 WHERE game_date = @d", d=DAY)
    with pytest.raises(NothingPredicted, match="no_feature_row"): worker().predict(DAY)
    log = wh.sql("SELECT DISTINCT status FROM nba_predictions.prediction_execution_log")
    assert log["status"].to_list() == ["failed"] and NothingPredicted("").exit_code == 1

def test_no_slate_is_refused_and_no_games_is_fine(served):
    "Would catch a silent run over dates without phase 3."
    wh, _, worker = served
    wh.sql("DELETE FROM nba_analytics.upcoming_player_game_context WHERE game_date = @d", d=DAY)
    with pytest.raises(Refusal, match="No expected slate"): worker().predict(DAY)
    r = worker().predict(date(2026, 7, 1))
    assert not r.ids and "no games" in str(r)

def test_another_file_under_the_same_name_is_refused(served):
    "Would catch a swapped artefact: production stops the start, a shadow is listed."
    wh, store, worker = served
    reg = Registry(wh, store)
    shadow, production = (reg.rows(f"system_id = '{s}'").row(0, named=True) for s in ("catboost_v9_shadow", "catboost_v9"))
    for row in (shadow, production):
        path = store.path(paths(row)[0])
        data = open(path, "rb").read()
        open(path, "wb").write(data[:-1] + bytes([data[-1] ^ 1]))
        if row is shadow:
            w = worker()
            assert [u["system_id"] for u in w.fleet.unavailable] == ["catboost_v9_shadow"] and w.predict(DAY).exit_code == 0
        else:
            with pytest.raises(Refusal, match="production model of catboost_v9 cannot be served"): worker()

def test_without_production_there_is_no_run(served):
    "Would catch a worker that quietly serves shadows only."
    wh, _, worker = served
    wh.sql("UPDATE nba_predictions.model_registry SET state = 'retired', status = 'deprecated', enabled = FALSE, is_production = FALSE WHERE is_production")
    with pytest.raises(Refusal, match="No production model"): worker()

def test_the_snapshot_serves_when_the_registry_cannot_be_read(served):
    "Would catch a worker that stops, or that hides where its models come from."
    wh, _, worker = served
    worker()
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    w = worker()
    assert {m.source for m in w.fleet.models} == {"SNAPSHOT"} and "registry cannot be read" in w.fleet.warnings[0]
    w.predict(DAY)
    assert set(_rows(wh, "model_load_source <> 'CODE'")["model_load_source"]) == {"SNAPSHOT"}

def test_an_explicit_path_never_falls_through(served, monkeypatch, tmp_path):
    "Would catch a typo in the path that lets another model serve."
    wh, store, worker = served
    shadow = Registry(wh, store).rows("system_id = 'catboost_v9_shadow'").row(0, named=True)
    monkeypatch.setenv("CATBOOST_V9_MODEL_PATH", store.path(paths(shadow)[0]))
    w = worker()
    assert [(m.system.system_id, m.source) for m in w.fleet.models if m.system.is_production] == [("catboost_v9", "ENV_PATH")]
    w.predict(DAY)
    assert set(_rows(wh, "system_id = 'catboost_v9'")["model_sha256"]) == {shadow["sha256"]}
    monkeypatch.setenv("CATBOOST_V9_MODEL_PATH", str(tmp_path/"typo.cbm"))
    with pytest.raises(Refusal, match="never falls through"): worker()

def test_a_refresh_that_fails_keeps_the_models(served):
    "Would catch a running worker that loses its models with the registry."
    wh, _, worker = served
    w = worker()
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    w.predict(DAY)
    assert {m.source for m in w.fleet.models} == {"REGISTRY"} and "were kept" in w.fleet.warnings[0]

def test_a_broken_shadow_does_not_hurt_production(served, monkeypatch):
    "Would catch an error of one system that stops the others."
    wh, _, worker = served
    w = worker()
    shadow = next(m.system for m in w.fleet.models if not m.system.is_production)
    real = type(shadow).predict
    monkeypatch.setattr(type(shadow), "predict", lambda self, rows: (_ for _ in ()).throw(ValueError("boom")) if self.system_id == "catboost_v9_shadow" else real(self, rows))
    r = w.predict(DAY)
    assert set(_rows(wh)["system_id"]) == {"catboost_v9", *BASELINES} and r.exit_code == 0
    assert "boom" in wh.sql("SELECT error_message FROM nba_predictions.prediction_execution_log WHERE system_id = 'catboost_v9_shadow'").item()

def test_a_moved_line_supersedes_and_a_withdrawn_one_does_not(served, monkeypatch):
    "Would catch a stale active row, and a market value overwritten by nothing."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-18T16:30:00Z")
    w = worker()
    w.predict(DAY, mode="SAME_DAY")
    lined = _rows(wh, "has_prop_line AND system_id = 'catboost_v9'")
    a, b = lined["player_lookup"][0], lined["player_lookup"][1]
    wh.sql("UPDATE nba_raw.odds_api_player_points_props SET points_line = points_line + 1 WHERE game_date = @d AND player_lookup = @p", d=DAY, p=a)
    wh.sql("DELETE FROM nba_raw.odds_api_player_points_props WHERE game_date = @d AND player_lookup = @p", d=DAY, p=b)
    r = w.predict(DAY, mode="SAME_DAY")
    moved = _rows(wh, f"player_lookup = '{a}' AND system_id = 'catboost_v9'")
    assert moved.height == 2 and moved["is_active"].to_list() == [False, True] and moved["superseded_by"][0] == moved["prediction_id"][1]
    gone = _rows(wh, f"player_lookup = '{b}' AND system_id = 'catboost_v9'")
    assert gone.height == 1 and gone["is_active"].all() and "line_withdrawn" in set(r.skipped["reason"])

@pytest.mark.parametrize("mode", ["LAST_CALL", "BACKFILL"])
def test_a_run_for_missed_players_replaces_nothing(served, monkeypatch, mode):
    "Would catch a backfill or a late retry that replaces what was served because a line moved."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    w = worker()
    w.predict(LAST, mode="SAME_DAY")
    before = _rows(wh)
    lost, off = before["player_lookup"].unique().sort()[:2]
    wh.sql(f"DELETE FROM {PRED} WHERE player_lookup = @p", p=lost)
    wh.sql(f"UPDATE {PRED} SET is_active = FALSE, invalidation_reason = 'model blocked', invalidated_at = predicted_at WHERE player_lookup = @p", p=off)
    wh.sql("UPDATE nba_raw.odds_api_player_points_props SET points_line = points_line + 1 WHERE game_date = @d", d=LAST)
    r = w.predict(LAST, mode=mode)
    new = _rows(wh, f"run_id = '{r.run_id}'")
    assert set(new["player_lookup"]) == {lost, off} and new["is_active"].all()
    if mode == "BACKFILL": assert w.predict(LAST, mode=mode, force=True).written == before.height

@pytest.mark.parametrize("asked, got", [("run:LAST_CALL", "2025-12-19T16:30:00Z"), ("run:EARLY", "run:EARLY"), ("2025-12-19T20:00:00Z", "2025-12-19T16:30:00Z")])
def test_no_run_knows_what_comes_after_it(asked, got):
    "Would catch a knowledge time that lies in the future of the run."
    assert str(bounded(parse_as_of(asked), utc(2025, 12, 19, 16, 30), LAST, LAST)) == got
    with pytest.raises(Refusal, match="not yet"): bounded(AsOf.run("EARLY"), utc(2025, 12, 19, 6), DAY, LAST)

def test_a_moved_tip_restates_the_row(served, monkeypatch):
    "Would catch minutes before the game that stay wrong after a move."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    w = worker()
    w.predict(LAST, mode="SAME_DAY")
    old = _rows(wh, "has_prop_line AND system_id = 'catboost_v9'")
    wh.sql("UPDATE nba_reference.nba_schedule SET first_game_start_utc = game_start_utc, tip_known_at = TIMESTAMP '2025-12-19 17:00:00+00', game_start_utc = TIMESTAMP_ADD(game_start_utc, INTERVAL 2 HOUR) WHERE game_date = @d", d=LAST)
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T18:00:00Z")
    w.predict(LAST, mode="RETRY")
    new = _rows(wh, "has_prop_line AND system_id = 'catboost_v9' AND is_active")
    same = old.join(new, on=["game_id", "player_lookup", "line_snapshot_id"], suffix="_new")
    assert same.height and set(same["restatement_reason_new"]) == {"tip_moved"} and (same["line_minutes_before_game_new"] - same["line_minutes_before_game"]).unique().to_list() == [120]

def test_a_late_scratch_is_no_pick_any_more(served, monkeypatch):
    "Would catch an actionable row of a player who was ruled out by a report that the stored features do not know."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    w = worker()
    w.predict(LAST, mode="SAME_DAY")
    who = _rows(wh)["player_lookup"][0]
    _report(wh, who, "out", "2025-12-19T17:00:00+00:00")
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T18:00:00Z")
    w.predict(LAST, mode="RETRY")
    rows = _rows(wh, f"player_lookup = '{who}'")
    assert set(rows["invalidation_reason"]) == {"late_scratch"} and not rows["is_actionable"].any()
    assert wh.sql("SELECT COUNT(*) FROM nba_predictions.slate_publications").item() == 2

def _report(wh, who: str, status: str, at: str) -> None:
    "A report of the day of the second slate, which no feature knows yet."
    wh.write("nba_raw.nbac_injury_report", pl.DataFrame([dict(report_timestamp=datetime.fromisoformat(at), report_date=LAST, player_lookup=who, team_abbr="BKN", injury_status=status)]))

def _featured(wh, at: datetime | str, origin: str = "backfill") -> None: write_features(wh, build(Facts.read(wh, LAST, LAST), LAST, LAST, at, origin), (LAST, LAST))

def _built_at_night(wh, *told: tuple[str, str]) -> None: # player, status at ten past seven
    "The slate as the night's build left it, and no report after it."
    wh.sql("DELETE FROM nba_raw.nbac_injury_report WHERE report_timestamp > TIMESTAMP '2025-12-19 07:00:00+00'")
    for who, status in told: _report(wh, who, status, "2025-12-19T07:10:00+00:00")
    _featured(wh, "run:EARLY", "live")

def _served_at(wh, worker, monkeypatch, t: str) -> tuple[bool, dict]: # whether it was rebuilt; player -> hash of the vector
    "A forced run of production at a moment."
    monkeypatch.setenv("NBPROPS_NOW", t)
    r = worker.predict(LAST, mode="SAME_DAY", force=True, systems=["catboost_v9"])
    return r.rebuilt, dict(_rows(wh, f"run_id = '{r.run_id}'").select("player_lookup", "feature_hash").iter_rows())

def test_a_report_that_the_stored_row_did_not_know_counts(served, monkeypatch):
    "Would catch a player served from a row of noon though a report of one o'clock rules him out, teammates served as if he played, and a rebuild for a report that repeats the one before."
    wh, _, worker = served
    _featured(wh, utc(2025, 12, 19, 16, 30))
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T17:00:00Z")
    w, star = worker(), wh.sql("SELECT player_lookup, injury_status FROM nba_analytics.upcoming_player_game_context WHERE game_date = @d AND is_eligible AND COALESCE(injury_status, 'x') NOT IN ('out', 'doubtful') ORDER BY current_points_line DESC, 1", d=LAST)
    who = star["player_lookup"][0]
    for player, status in star.drop_nulls().iter_rows(): _report(wh, player, status, "2025-12-19T17:00:00+00:00")
    quiet, before = _served_at(wh, w, monkeypatch, "2025-12-19T17:05:00Z")
    _report(wh, who, "out", "2025-12-19T17:10:00+00:00")
    rebuilt, after = _served_at(wh, w, monkeypatch, "2025-12-19T17:20:00Z")
    assert not quiet and rebuilt and who in before and who not in after and sum(after[p] != before[p] for p in after) >= 3
    _featured(wh, utc(2025, 12, 19, 17, 20))
    assert _served_at(wh, w, monkeypatch, "2025-12-19T17:20:00Z") == (False, after)

@pytest.mark.parametrize("change", ["day", "box"])
def test_a_box_score_that_the_stored_row_did_not_know_counts(served, monkeypatch, change):
    "Would catch features of the evening before served on the day, and features served that were written before a box score of the night arrived."
    wh, _, worker = served
    noon, box = utc(2025, 12, 19, 16, 30), "nba_raw.nbac_player_boxscores"
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T12:00:00Z")
    who = wh.sql(f"SELECT b.player_lookup, b.game_date FROM {box} AS b JOIN nba_analytics.upcoming_player_game_context AS c ON c.player_lookup = b.player_lookup AND c.game_date = @d WHERE b.game_date < @d AND b.points > 0 AND c.current_points_line IS NOT NULL ORDER BY 2 DESC, 1", d=LAST)
    _featured(wh, noon if change == "box" else utc(2025, 12, 18, 16, 30))
    wh.sql(f"UPDATE {box} SET ingested_at = @t WHERE game_date < @d", t=utc(2025, 12, 19, 11), d=LAST)
    w = worker()
    if change == "box":
        assert not _served_at(wh, w, monkeypatch, noon.isoformat())[0]
        wh.sql(f"UPDATE {box} SET points = points + 7, ingested_at = @t WHERE player_lookup = @p AND game_date = @d", t=utc(2025, 12, 19, 13), p=who["player_lookup"][0], d=who["game_date"][0])
    rebuilt, got = _served_at(wh, w, monkeypatch, noon.isoformat())
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T14:00:00Z"); _featured(wh, noon)
    assert rebuilt and _served_at(wh, w, monkeypatch, noon.isoformat()) == (False, got)

@pytest.mark.parametrize("mode", ["SAME_DAY", "RETRY"])
def test_who_is_available_again_is_a_pick_again(served, monkeypatch, mode):
    "Would catch a scratched row that stays done when a later report lets the player play, or is called a pick while he is still out."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    w = worker()
    w.predict(LAST, mode="SAME_DAY")
    before = _rows(wh, "is_actionable")
    who, mine = before["player_lookup"][0], lambda: _rows(wh, f"player_lookup = '{before['player_lookup'][0]}' AND is_active")
    n = mine().height
    for hour, status in (("17:00", "out"), ("17:40", "out")):
        _report(wh, who, status, f"2025-12-19T{hour}:00+00:00"); monkeypatch.setenv("NBPROPS_NOW", f"2025-12-19T{hour}:30Z")
        w.predict(LAST, mode=mode)
        assert set(mine()["invalidation_reason"]) == {"late_scratch"} and not mine()["is_actionable"].any() and (mine()["invalidated_at"] == datetime(2025, 12, 19, 17, 0, 30, tzinfo=timezone.utc)).all()
    _report(wh, who, "available", "2025-12-19T18:20:00+00:00"); monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T18:30:00Z")
    w.predict(LAST, mode=mode, as_of="2025-12-19T16:45:00Z")
    assert set(mine()["invalidation_reason"]) == {"late_scratch"}
    w.predict(LAST, mode=mode)
    after = mine()
    assert after.height == n and after["is_actionable"].any() and set(after["invalidation_reason"]) == set(after["invalidated_at"]) == {None} and set(after["restatement_reason"]) == {"available_again"}
    kept = wh.sql("SELECT row_json FROM nba_predictions.prediction_versions WHERE player_lookup = @p", p=who)["row_json"]
    assert sum('"invalidation_reason":"late_scratch"' in t for t in kept) == n and invariants(wh) == {}
    assert w.predict(LAST, mode=mode).written == 0

def test_a_newer_report_than_the_stored_slate_is_believed(served, monkeypatch):
    "Would catch a worker that trusts the night's slate although the morning's report rules a player out, and one that never lets him come back."
    wh, _, worker = served
    _built_at_night(wh)
    state = lambda p: _rows(wh, f"player_lookup = '{p}' AND system_id = 'catboost_v9' AND is_active AND game_date = DATE '{LAST}'")
    def run(at, mode):
        monkeypatch.setenv("NBPROPS_NOW", at)
        return worker().predict(LAST, mode=mode)
    assert not run("2025-12-19T16:30:00Z", "SAME_DAY").rebuilt
    who, mate = _rows(wh, "system_id = 'catboost_v9' AND has_prop_line")["player_lookup"].sort()[:2]
    _report(wh, who, "out", "2025-12-19T16:45:00+00:00"); _report(wh, mate, "probable", "2025-12-19T16:45:00+00:00")
    assert run("2025-12-19T17:00:00Z", "RETRY").rebuilt
    gone = state(who)
    assert gone.height == 1 and gone["invalidation_reason"][0] == "late_scratch" and not gone["is_actionable"][0] and state(mate)["invalidation_reason"][0] is None
    _report(wh, who, "available", "2025-12-19T17:15:00+00:00")
    assert run("2025-12-19T17:30:00Z", "RETRY").rebuilt
    back = state(who)
    assert back.height == 1 and back["invalidation_reason"][0] is None and back["restatement_reason"][0] == "available_again" and back["prediction_id"][0] != gone["prediction_id"][0]
    assert "player_out" not in back["filter_reasons"][0] and wh.sql("SELECT COUNT(*) FROM nba_predictions.prediction_versions WHERE prediction_id = @p", p=gone["prediction_id"][0]).item() == 1

def test_a_report_that_says_the_same_changes_nothing(served, monkeypatch):
    "Would catch a slate that is built again every hour because reports repeat themselves."
    wh, _, worker = served
    who = wh.sql("SELECT player_lookup AS p FROM nba_analytics.upcoming_player_game_context WHERE game_date = @d ORDER BY p LIMIT 1", d=LAST).item()
    _built_at_night(wh, (who, "questionable"))
    _report(wh, who, "questionable", "2025-12-19T15:00:00+00:00")
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    assert not worker().predict(LAST, mode="SAME_DAY").rebuilt

def test_a_formula_without_its_feed_is_silent_and_breaks_nothing(served, monkeypatch):
    "Would catch a run that never reads as complete because of a feed that nobody delivers."
    from nbprops.ops.phases import reconcile, status
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    wh.sql("UPDATE nba_predictions.ml_feature_store_v2 SET feed_profile = 'box+props', opponent_def_rating = NULL WHERE game_date = @d", d=LAST)
    monkeypatch.setattr("nbprops.predict.slate.knows_otherwise", lambda *a: False)
    worker().predict(LAST, mode="SAME_DAY")
    log = dict(wh.sql("SELECT system_id, status FROM nba_predictions.prediction_execution_log WHERE game_date = @d", d=LAST).iter_rows())
    why = wh.sql("SELECT error_message FROM nba_predictions.prediction_execution_log WHERE system_id = 'zone_matchup_v1' AND game_date = @d", d=LAST).item()
    assert log["zone_matchup_v1"] == log["similarity_balanced_v1"] == "silent" and "team_box" in why and log["moving_average"] == "completed"
    wh.sql("DELETE FROM nba_predictions.prediction_execution_log WHERE status NOT IN ('silent', 'completed')")
    reconcile(wh, LAST)
    assert status(wh, 5, [LAST])["status"].to_list() == ["COMPLETE"]
    wh.sql("UPDATE nba_predictions.prediction_execution_log SET status = 'silent' WHERE TRUE"); reconcile(wh, LAST)
    assert status(wh, 5, [LAST])["status"].to_list() == ["PENDING"]

def test_early_takes_only_players_with_a_line(served, monkeypatch):
    "Would catch an early run that predicts without lines."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    worker().predict(LAST, mode="EARLY")
    assert _rows(wh)["has_prop_line"].all()

def test_unknown_modes_and_systems_are_refused(served):
    "Would catch a typo that runs something else."
    _, _, worker = served
    with pytest.raises(Refusal, match="run mode"): worker().predict(DAY, mode="NOON")
    with pytest.raises(Refusal, match="catboost_v7"): worker().predict(DAY, systems=["catboost_v7"])
    with pytest.raises(Refusal, match="no range"): worker().predict_range(LAST, DAY)

def test_a_crash_while_computing_leaves_only_a_failed_log(served, monkeypatch):
    "Would catch rows of a run that died, or a run that died without a trace."
    wh, _, worker = served
    w = worker()
    before = dump(wh)
    monkeypatch.setattr("nbprops.predict.worker.forecast", lambda *a: (_ for _ in ()).throw(MemoryError("full")))
    with pytest.raises(MemoryError): w.predict(DAY)
    assert dump(wh) == before and set(wh.sql("SELECT status FROM nba_predictions.prediction_execution_log")["status"]) == {"failed"}
