"What must hold in every warehouse that was served from, whatever was done to the processes that served."
import json
from datetime import date
import polars as pl
from nbprops.data.tables import table
from nbprops.predict.publish import broken_links
from tests.predict_world import PRED

ATTRIBUTED = ("model_file_name", "model_training_start_date", "model_training_end_date", "model_expected_mae", "model_expected_hit_rate", "model_trained_at", "model_sha256", "contract_hash", "feature_hash", "features_snapshot_json")
WITHDRAWN = "(invalidated_at IS NOT NULL AND invalidation_reason IS DISTINCT FROM 'late_scratch')"
DOUBLED = f"SELECT game_id, player_lookup, system_id, line_value, COUNT(*) AS n FROM {PRED} GROUP BY 1, 2, 3, 4 HAVING COUNT(*) > 1" # GROUP BY puts NULL with NULL
NOT_ONE = f"SELECT game_id, player_lookup, system_id, COUNTIF(is_active) AS active FROM {PRED} GROUP BY 1, 2, 3 HAVING COUNTIF(is_active) > 1 OR (COUNTIF(is_active) = 0 AND COUNTIF({WITHDRAWN}) = 0)"
NOT_NEWEST = f"""SELECT a.prediction_id FROM {PRED} AS a JOIN {PRED} AS b ON a.game_id = b.game_id AND a.player_lookup = b.player_lookup AND a.system_id = b.system_id
    WHERE a.is_active AND b.predicted_at > a.predicted_at AND NOT (b.invalidated_at IS NOT NULL)"""
LOST = f"""SELECT p.prediction_id FROM {PRED} AS p LEFT JOIN {PRED} AS q ON q.prediction_id = p.superseded_by LEFT JOIN nba_predictions.prediction_versions AS v ON v.prediction_id = p.superseded_by
    WHERE p.superseded_by IS NOT NULL AND q.prediction_id IS NULL AND v.prediction_id IS NULL"""
TWICE = f"SELECT v.prediction_id FROM nba_predictions.prediction_versions AS v JOIN {PRED} AS p ON p.prediction_id = v.prediction_id"
BARE = f"SELECT prediction_id FROM {PRED} WHERE model_load_source <> 'CODE' AND ({' OR '.join(f'{c} IS NULL' for c in ATTRIBUTED)})"
UNCALLED = f"SELECT p.prediction_id FROM {PRED} AS p LEFT JOIN nba_predictions.prediction_worker_runs AS r ON r.run_id = p.run_id AND r.player_lookup = p.player_lookup AND r.game_id = p.game_id WHERE r.request_id IS NULL"
UNLOGGED = f"SELECT p.prediction_id FROM {PRED} AS p LEFT JOIN nba_predictions.prediction_execution_log AS l ON l.execution_id = p.run_id AND l.system_id = p.system_id WHERE l.status IS NULL OR l.status NOT IN ('completed', 'partial', 'failed')"
UNANSWERED = """SELECT l.execution_id, l.players_requested FROM nba_predictions.prediction_execution_log AS l LEFT JOIN (SELECT run_id, COUNT(*) AS n FROM nba_predictions.prediction_worker_runs GROUP BY run_id) AS r ON r.run_id = l.execution_id
    WHERE l.status IN ('completed', 'partial') AND l.players_requested <> COALESCE(r.n, 0)"""
REGRADED = f"""SELECT a.prediction_id FROM nba_predictions.prediction_accuracy AS a LEFT JOIN {PRED} AS p ON p.prediction_id = a.prediction_id LEFT JOIN nba_predictions.prediction_versions AS v ON v.prediction_id = a.prediction_id
    WHERE COALESCE(p.predicted_points, CAST(JSON_VALUE(v.row_json, '$.predicted_points') AS FLOAT64)) IS DISTINCT FROM a.predicted_points"""
RULES = dict(doubled=DOUBLED, not_one_active=NOT_ONE, active_is_not_the_newest=NOT_NEWEST, superseded_by_nothing=LOST, version_still_stands=TWICE, unattributed=BARE, graded_otherwise=REGRADED,
             player_without_a_worker_run=UNCALLED, row_without_a_final_log=UNLOGGED, request_without_an_answer=UNANSWERED)

def version_faults(tx) -> list[str]:
    "A replaced row is kept whole: it has every column, its own id, and a replacement that is there or was itself replaced."
    v = tx.sql("SELECT prediction_id, replaced_by, row_json FROM nba_predictions.prediction_versions")
    here = set(tx.sql(f"SELECT prediction_id FROM {PRED}")["prediction_id"]) | set(v["prediction_id"])
    content = set(table(PRED).content)
    whole = [json.loads(t) for t in v["row_json"]]
    return ([f"{i} lacks columns" for i, r in zip(v["prediction_id"], whole) if not content <= set(r) or r["prediction_id"] != i]
            + [f"{i} was replaced by nothing" for i, by in v.select("prediction_id", "replaced_by").iter_rows() if by not in here])

def invariants(wh, dead: bool = False, # runs were killed, whose last word may be missing
               logged: bool = True, # the rows were written by a worker
              ) -> dict[str, list]:
    "Every rule that is broken, with examples; {} when all hold."
    skip = () if logged else ("player_without_a_worker_run", "row_without_a_final_log")
    with wh.transaction() as tx:
        found = {k: tx.sql(q).rows()[:5] for k, q in RULES.items() if k not in skip}
        found |= {"chain": broken_links(tx, date(1, 1, 1), date(9999, 12, 31)), "versions": version_faults(tx)}
        if not dead: found["unfinished"] = tx.sql("SELECT execution_id, system_id FROM nba_predictions.prediction_execution_log WHERE status = 'started'").rows()
    return {k: v for k, v in found.items() if v}

def everything(wh) -> dict[str, list]:
    "All rows of every table that serving writes, without the log: what must be as before or as after."
    names = ("player_prop_predictions", "prediction_versions", "slate_publications", "prediction_worker_runs")
    with wh.transaction() as tx: return {n: tx.sql(f"SELECT * FROM nba_predictions.{n}").sort(pl.first()).rows() for n in names}

OWN = {"prediction_id", "run_id", "predicted_at", "created_at", "updated_at", "as_of", "replay_now", "superseded_by"} # ids and times of a run

def served_rows(wh) -> pl.DataFrame:
    "The active rows, apart from ids and times."
    rows = wh.sql(f"SELECT * FROM {PRED} WHERE is_active")
    return rows.drop(OWN & set(rows.columns)).sort("game_date", "game_id", "player_lookup", "system_id")
