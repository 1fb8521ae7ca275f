"A million graded rows beside one `CREATE TABLE AS` of the same join with the same columns."
import time
from datetime import date

START, END = date(2022, 1, 1), date(2025, 12, 31)
SYSTEMS, PLAYERS, GAMES = 4, 25, 10_000

def _insert(con, name: str, source: str, given: dict[str, str]) -> None:
    "Rows of a table from a query; whatever is not given and must not be NULL gets a plain value of its type."
    from nbprops.data.tables import table
    plain = {"VARCHAR": "'x'", "BIGINT": "1", "DOUBLE": "1.0", "BOOLEAN": "FALSE", "DATE": "DATE '2024-01-01'"}
    def value(c):
        if c.name in given: return f"CAST({given[c.name]} AS {c.duck})"
        if not c.required: return f"CAST(NULL AS {c.duck})"
        return f"CAST({plain.get(c.duck, '[]' if c.duck.endswith('[]') else chr(39) + '2024-01-01' + chr(39))} AS {c.duck})"
    cols = [c for c in table(name).columns]
    con.execute(f"INSERT INTO {name} ({', '.join(c.name for c in cols)}) SELECT {', '.join(value(c) for c in cols)} FROM {source}").fetchall()

def world(path):
    "A warehouse with ten thousand finished games, 25 players each, four systems."
    from nbprops.data.reference import build_reference
    from nbprops.data.warehouse import Warehouse
    wh = Warehouse(path); wh.migrate()
    build_reference(wh)
    with wh.transaction() as tx:
        con = tx.con
        days = (END - START).days
        con.execute(f"""CREATE TEMP TABLE games AS SELECT 'g' || lpad(i::VARCHAR, 6, '0') AS game_id, DATE '{START}' + (i % {days})::INTEGER AS game_date, i FROM range({GAMES}) t(i)""").fetchall()
        con.execute(f"""CREATE TEMP TABLE pg AS SELECT g.*, j, 'p' || lpad(((i*7 + j*13) % 500*50 + j)::VARCHAR, 6, '0') AS player_lookup, 4 + (i*31 + j*17) % 27 AS points, 8 + (i*5 + j*11) % 20 + .5 AS line,
            CASE WHEN j % 2 = 0 THEN 'HOM' ELSE 'AWY' END AS team FROM games g, range({PLAYERS}) r(j)""").fetchall()
        con.execute("CREATE TEMP TABLE score AS SELECT game_id, SUM(points) FILTER (WHERE team = 'HOM') AS h, SUM(points) FILTER (WHERE team = 'AWY') AS a FROM pg GROUP BY 1").fetchall()
        tip = "game_date::TIMESTAMP + INTERVAL 24 HOUR"
        _insert(con, "nba_reference.nba_schedule", "games JOIN score USING (game_id)", dict(game_id="game_id", game_date="game_date", home_team_tricode="'HOM'", away_team_tricode="'AWY'", game_start_utc=tip, game_status="3", home_team_score="h", away_team_score="a"))
        _insert(con, "nba_analytics.player_game_summary", "pg", dict(game_id="game_id", game_date="game_date", player_lookup="player_lookup", team_abbr="team", is_dnp="FALSE", minutes_played="20", points="points"))
        _insert(con, "nba_predictions.ml_feature_store_v2", "pg", dict(game_id="game_id", game_date="game_date", player_lookup="player_lookup", points_avg_season="12.0"))
        _insert(con, "nba_raw.odds_api_player_points_props", "pg", dict(game_id="game_id", game_date="game_date", player_lookup="player_lookup", bookmaker="'draftkings'", data_source="'the_odds_api'", snapshot_id="game_id || player_lookup", snapshot_timestamp=f"{tip} - INTERVAL 3 HOUR",
            commence_timestamp=tip, minutes_before_tipoff="180", over_price_american="-110", under_price_american="-110", points_line="line + (i % 3)/2", tip_verified="TRUE"))
        made = f"{tip} - INTERVAL 5 HOUR"
        _insert(con, "nba_predictions.player_prop_predictions", f"pg, range({SYSTEMS}) s(k)", dict(prediction_id="game_id || player_lookup || k", system_id="'system_' || k", player_lookup="player_lookup", game_id="game_id", game_date="game_date",
            recommendation="CASE (i + j + k) % 3 WHEN 0 THEN 'OVER' WHEN 1 THEN 'UNDER' ELSE 'PASS' END", has_prop_line="TRUE", is_active="TRUE", prediction_made_before_game="TRUE", line_value="line", predicted_points="line + k", predicted_at=made, created_at=made,
            line_snapshot_at=f"{made} - INTERVAL 1 HOUR", over_price_american="-110", under_price_american="-110", no_vig_over=".5", model_sha256="repeat('a', 64)", model_file_name="'m.cbm'"))
    return wh

def grade_million(row) -> None:
    "Grade everything, again, and beside it the bare join into a table."
    import tempfile
    from pathlib import Path
    from nbprops.data.warehouse import to_duckdb
    from nbprops.predict import grading as g
    wh = world(Path(tempfile.mkdtemp(prefix="nbprops-bench-"))/"m.duckdb")
    t = time.perf_counter(); report = g.grade(wh, START, END); first = time.perf_counter() - t
    t = time.perf_counter(); again = g.grade(wh, START, END); second = time.perf_counter() - t
    with wh.transaction() as tx:
        games = g.game_states(tx, START, END)
        g.record_rows(tx, games, START, END)
        g.stage(tx, "grading_closing", g.closing_lines(tx, games, START, END))
        t = time.perf_counter()
        tx.con.execute("CREATE TABLE bench_copy AS " + to_duckdb(g.grade_statement()), {"start": START, "end": END}).fetchall()
        bare = time.perf_counter() - t
        n = tx.sql("SELECT COUNT(*) AS n FROM bench_copy").item()
        tx.con.execute("DROP TABLE bench_copy").fetchall()
    row(f"{report.counts.written:,} rows graded / CREATE TABLE AS of {n:,}", f"{first:.1f} s = {first/bare:.2f}x", f"{bare:.1f} s bare; again {second:.1f} s, {again.counts.written} written", "2x")
