"A warehouse with a million predictions that can be graded, made by set-based SQL: ten systems, a thousand days, five games a day, ten players a side."
from datetime import date, timedelta
from pathlib import Path

START = date(2020, 1, 1)
PRED, VERSIONS = "nba_predictions.player_prop_predictions", "nba_predictions.prediction_versions"
STAMP = "TIMESTAMPTZ '2020-01-01 00:00:00+00'"
before = lambda hours: f"CAST(t - INTERVAL ({hours}) HOUR AS TIMESTAMP) AT TIME ZONE 'UTC'"
lined = lambda what: f"CASE WHEN lined THEN {what} END"

PEOPLE = """CREATE TEMP TABLE people AS
WITH days AS (SELECT $start + CAST(d AS INT) AS game_date FROM range($days) r(d)), games AS (
  SELECT game_date, game_date + INTERVAL 23 HOUR AS t, 'T' || (10 + 2*j) AS home, 'T' || (11 + 2*j) AS away, strftime(game_date, '%Y%m%d') || '_T' || (11 + 2*j) || '_T' || (10 + 2*j) AS game_id FROM days, range(5) g(j))
SELECT g.*, side.team, side.opp, lower(side.team) || 'player' || i AS player_lookup, i = 9 AND hash(game_id, side.team) % 4 = 0 AS is_dnp, CAST(hash(game_id, side.team, i) % 30 AS BIGINT) AS points
FROM games g, LATERAL (SELECT home AS team, away AS opp UNION ALL SELECT away, home) side, range(10) p(i)"""

FACTS = {
    "nba_analytics.player_game_summary": ("people", dict(game_id="game_id", player_lookup="player_lookup", player_full_name="player_lookup", team_abbr="team", opponent_team_abbr="opp", season="'s'", player_status="'active'", game_date="game_date", is_dnp="is_dnp",
        has_complete_shot_zones="FALSE", minutes_played="CASE WHEN NOT is_dnp THEN 20 + hash(player_lookup, game_date) % 15 END", points="CASE WHEN NOT is_dnp THEN points END")),
    "nba_reference.nba_schedule": ("(SELECT game_id, home, away, game_date, t, sum(points) FILTER (team = home AND NOT is_dnp) AS h, sum(points) FILTER (team = away AND NOT is_dnp) AS a FROM people GROUP BY ALL)", dict(game_id="game_id", season="'s'",
        home_team_tricode="home", away_team_tricode="away", game_date="game_date", game_start_utc=before(0), game_status="3", home_team_score="h", away_team_score="a", is_playoffs="FALSE", neutral_site="FALSE")),
    "nba_predictions.ml_feature_store_v2": ("people", dict(player_lookup="player_lookup", game_id="game_id", team_abbr="team", opponent_team_abbr="opp", feature_version="'v'", contract_hash="'h'", quality_tier="'gold'", quality_alert_level="'green'", origin="'backfill'",
        feed_profile="'box'", game_date="game_date", as_of=STAMP, feature_quality_score="99", points_avg_season="4 + hash(player_lookup, game_date) % 240/10.0", default_feature_count="0", missing_feature_names="[]", is_quality_ready="TRUE", is_training_ready="TRUE")),
    "nba_raw.nbac_injury_report": ("people WHERE hash(player_lookup, game_date, 2) % 5 = 0", dict(player_lookup="player_lookup", team_abbr="team", report_date="game_date", report_timestamp=before(5),
        injury_status="['out', 'questionable', 'probable', 'available'][1 + CAST(hash(player_lookup, game_date, 1) % 4 AS INT)]")),
    "nba_raw.odds_api_player_points_props": ("people, (VALUES ('draftkings'), ('fanduel')) b(book), (VALUES (2), (5), (9)) s(h)", dict(game_id="game_id", game_date="game_date", player_lookup="player_lookup", bookmaker="book", data_source="'the_odds_api'",
        snapshot_id="game_id || player_lookup || book || h", snapshot_timestamp=before("h"), commence_timestamp=before(0), minutes_before_tipoff="60*h", over_price_american="-110", under_price_american="-105 - 5*(h % 3)",
        points_line="5.5 + hash(player_lookup, game_date) % 20 + h % 2", tip_verified="TRUE"))}

ROWS = dict(prediction_id="'p' || row_number() OVER ()", system_id="'system_' || k", player_lookup="player_lookup", game_id="game_id", game_date="game_date", team_abbr="team", opponent_team_abbr="opp", predicted_points="said", line_value=lined("line"),
    recommendation="CASE WHEN NOT lined THEN 'NO_LINE' WHEN said - line >= 1 THEN 'OVER' WHEN said - line <= -1 THEN 'UNDER' ELSE 'PASS' END", line_source="CASE WHEN lined THEN 'ACTUAL_PROP' ELSE 'NO_PROP_LINE' END", has_prop_line="lined", line_margin=lined("said - line"),
    confidence_score=".8", prediction_run_mode="'SAME_DAY'", run_id="'run-' || game_date", model_id="'model_' || k", model_version="'version_' || k", model_family="'v9_mae'", model_load_source="'REGISTRY'", attribution_source="'recorded'", feed_profile="'box+props'",
    deployment_revision="'local'", is_active="TRUE", is_actionable="k % 2 = 0", prediction_made_before_game="TRUE", predicted_at=before(7), created_at=before(7), updated_at=before(7), filter_reasons="[]", line_snapshot_at=lined(before(9)),
    line_snapshot_id=lined("game_id || player_lookup || 'draftkings9'"), sportsbook=lined("'draftkings'"), line_source_api=lined("'the_odds_api'"), p_over=".5", p_push="0", no_vig_over=lined(".51"), expected_value=".01", feature_quality_score="99", model_expected_mae="4.8",
    model_expected_hit_rate="53", over_price_american=lined("-110"), under_price_american=lined("-105"), model_file_name="'model_' || k || '.cbm'", model_sha256="repeat('ab', 32)", model_training_start_date="DATE '2019-01-01'", model_training_end_date="DATE '2019-12-01'",
    model_trained_at=STAMP, contract_hash="repeat('c', 64)", feature_hash="sha256(game_id || player_lookup)", best_sportsbook=lined("'fanduel'"), best_line=lined("line"), best_price_american=lined("-105"), fair_price_american=lined("-101"), as_of=before(7), default_feature_count="0")
PREDICTED = "(SELECT *, 6.5 + hash(player_lookup, game_date) % 20 AS line, 2 + hash(player_lookup, game_date, k) % 280/10.0 AS said, hash(player_lookup, game_date, 7) % 10 > 1 AS lined FROM people, range(10) r(k))"

def audited(name: str, source: str, cols: dict) -> str:
    "INSERT with the audit columns that the table requires."
    audit = dict(source_file="'b'", source_hash="'b'", ingested_at=STAMP) if name.startswith("nba_raw.") else dict(build_commit_sha="repeat('0', 40)", created_at=STAMP)
    cols = audit | cols
    return f"INSERT INTO {name} ({', '.join(cols)}) SELECT {', '.join(cols.values())} FROM {source}"

def million(path: Path, days: int = 1000):
    "The warehouse: days x 1,000 gradable predictions; 2 % of them replaced another row, 3 % superseded one of another line."
    from nbprops.data.reference import shipped
    from nbprops.data.warehouse import Warehouse
    wh = Warehouse(path)
    wh.migrate()
    for name, f in shipped().items(): wh.write(name, f)
    with wh.transaction() as tx:
        run = lambda sql, p=None: tx.con.execute(sql, p).fetchall()
        run(PEOPLE, dict(start=START, days=days))
        for name, (source, cols) in FACTS.items(): run(audited(name, source, cols))
        run(audited(PRED, PREDICTED, ROWS))
        run(audited(VERSIONS, f"{PRED} p WHERE hash(prediction_id) % 50 = 0", dict(prediction_id="'v' || prediction_id", system_id="system_id", player_lookup="player_lookup", game_id="game_id", replaced_by="prediction_id", row_json="to_json(p)", game_date="game_date", predicted_at="predicted_at - INTERVAL 3 HOUR", replaced_at="predicted_at")))
        run(f"INSERT INTO {PRED} SELECT * REPLACE ('old' || prediction_id AS prediction_id, line_value - 1 AS line_value, predicted_at - INTERVAL 2 HOUR AS predicted_at, FALSE AS is_active, prediction_id AS superseded_by) FROM {PRED} WHERE has_prop_line AND hash(prediction_id) % 30 = 1")
    return wh, START, START + timedelta(days=days - 1)
