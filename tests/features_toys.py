"Frames for the feature tests: a light simulated league, and a golden game history that fits on a sheet of paper."
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
import polars as pl
from nbprops.data.league import simulate
from nbprops.data.reference import reference_players, reference_schedule
from nbprops.features.facts import Facts

SCHEDULE, REGISTRY, BOX = "nba_reference.nba_schedule", "nba_reference.nba_players_registry", "nba_raw.nbac_player_boxscores"
UTC = timezone.utc

@lru_cache(1)
def light_frames() -> dict[str, pl.DataFrame]:
    "The light league with its reference tables fixed, so that a changed box row cannot change a name."
    frames = {k: v for k, v in simulate(light=True).items() if k != "truth"}
    return frames | {SCHEDULE: reference_schedule(frames["nba_raw.nbac_schedule"]), REGISTRY: reference_players(frames[BOX])}

@lru_cache(1)
def light() -> Facts:
    return Facts.of(light_frames())

# --- the golden history: Boston plays Miami six times while New York plays Chicago, then Boston visits New York ---
NIGHTS = [date(2025, 10, 22), date(2025, 10, 24), date(2025, 10, 26), date(2025, 10, 29), date(2025, 10, 31), date(2025, 11, 2)]
D = date(2025, 11, 4)
TIP = datetime(2025, 11, 4, 23, 30, tzinfo=UTC)
POINTS = [10, 14, 9, 20, 18, 22]
MINUTES = ["30:00", "31:30", "28:00", "33:00", "30:00", "29:30"]

def game_id(day, away, home): return f"{day:%Y%m%d}_{away}_{home}"

def box(day, away, home, player, team, points, minutes="30:00", status="active", **stats):
    return {"game_id": game_id(day, away, home), "game_date": day, "player_lookup": player, "player_full_name": player.title(), "team_abbr": team, "player_status": status,
            "minutes": minutes, "points": points} | stats

def team(day, away, home, abbr, points, fga, fta, tov, oreb):
    return {"game_id": game_id(day, away, home), "game_date": day, "team_abbr": abbr, "is_home": abbr == home, "points": points, "fg_attempts": fga, "ft_attempts": fta,
            "turnovers": tov, "offensive_rebounds": oreb, "overtime_periods": 0}

def zones(day, away, home, player, paint, mid, three):
    names = ("paint_attempts", "paint_makes", "mid_range_attempts", "mid_range_makes", "three_pt_attempts", "three_pt_makes")
    return {"game_id": game_id(day, away, home), "game_date": day, "player_lookup": player} | dict(zip(names, (*paint, *mid, *three)))

def schedule(day, away, home, status=3, scores=(None, None), tip=None):
    return {"game_id": game_id(day, away, home), "season": "2025-26", "game_date": day, "away_team_tricode": away, "home_team_tricode": home, "game_status": status,
            "away_team_score": scores[0], "home_team_score": scores[1], "is_playoffs": False, "neutral_site": False,
            "game_start_utc": tip or datetime(day.year, day.month, day.day, 23, 30, tzinfo=UTC)}

def line(day, away, home, player, book, points, at, over=-110, under=-110):
    return {"game_id": game_id(day, away, home), "game_date": day, "player_lookup": player, "bookmaker": book, "data_source": "the_odds_api", "snapshot_id": f"{player}{book}{at}",
            "snapshot_timestamp": at, "points_line": points, "tip_verified": True, "over_price_american": over, "under_price_american": under}

def golden_frames() -> dict[str, pl.DataFrame]:
    "Ann (BOS) and Bob (BOS) against Moe (MIA); Nat (NYK) against Zed (CHI); six nights, then BOS at NYK."
    ten = dict(fg_attempts=10, fg_makes=5, three_pt_attempts=3, three_pt_makes=1, ft_attempts=4, ft_makes=2, turnovers=2)
    rows, totals, shots, games, lines = [], [], [], [], []
    for i, day in enumerate(NIGHTS):
        games += [schedule(day, "BOS", "MIA", scores=(110, 100)), schedule(day, "CHI", "NYK", scores=(108, 105))]
        rows += [box(day, "BOS", "MIA", "ann", "BOS", POINTS[i], MINUTES[i], **ten), box(day, "BOS", "MIA", "moe", "MIA", 20, **ten), box(day, "CHI", "NYK", "nat", "NYK", 20, **ten), box(day, "CHI", "NYK", "zed", "CHI", 20, **ten),
                 box(day, "BOS", "MIA", "bob", "BOS", None, None, "inactive") if i % 2 else box(day, "BOS", "MIA", "bob", "BOS", 8, "20:00", **ten)]
        totals += [team(day, "BOS", "MIA", "BOS", 110, 85, 20, 15, 10), team(day, "BOS", "MIA", "MIA", 100, 90, 25, 12, 8), team(day, "CHI", "NYK", "NYK", 105, 80, 30, 14, 12), team(day, "CHI", "NYK", "CHI", 108, 88, 20, 10, 8)]
        shots += [zones(day, "BOS", "MIA", "ann", (5, 3), (2, 1), (3, 1)), zones(day, "BOS", "MIA", "moe", (4, 2), (3, 1), (3, 1)), zones(day, "CHI", "NYK", "nat", (4, 2), (3, 1), (3, 1)), zones(day, "CHI", "NYK", "zed", (4, 3), (3, 1), (3, 1))]
        lines += [line(day, "BOS", "MIA", "ann", "draftkings", 15.5, datetime(day.year, day.month, day.day, 20, tzinfo=UTC))]
    games += [schedule(D, "BOS", "NYK", 1, tip=TIP)]
    at = lambda hour, minute=0: datetime(2025, 11, 4, hour, minute, tzinfo=UTC)
    lines += [line(D, "BOS", "NYK", "ann", "draftkings", 16.5, at(14)), line(D, "BOS", "NYK", "ann", "draftkings", 17.5, at(22), -120, 100), line(D, "BOS", "NYK", "ann", "fanduel", 18.5, at(21)), line(D, "BOS", "NYK", "ann", "draftkings", 25.5, at(23, 45))]
    market = [{"game_id": game_id(D, "BOS", "NYK"), "game_date": D, "bookmaker": b, "market_key": m, "line_point": p, "snapshot_timestamp": at(20), "tip_verified": True} for b, m, p in (("draftkings", "totals", 230.), ("fanduel", "totals", 232.), ("draftkings", "spreads", -4.), ("fanduel", "spreads", -6.))]
    report = [{"player_lookup": "bob", "team_abbr": "BOS", "injury_status": "out", "report_date": D, "report_timestamp": at(18)}, {"player_lookup": "ann", "team_abbr": "BOS", "injury_status": "probable", "report_date": D, "report_timestamp": at(19)}]
    frame = lambda rows: pl.DataFrame(rows, infer_schema_length=None)
    return {SCHEDULE: frame(games), BOX: frame(rows), "nba_raw.nbac_team_boxscore": frame(totals), "nba_raw.player_shot_counts": frame(shots),
            "nba_raw.odds_api_player_points_props": frame(lines), "nba_raw.odds_api_game_lines": frame(market), "nba_raw.nbac_injury_report": frame(report)}

@lru_cache(1)
def real_facts() -> Facts:
    "Everything the real feeds hold, landed once per test run."
    import tempfile
    from pathlib import Path
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import ingest
    from nbprops.data.warehouse import Warehouse
    from nbprops.settings import real_data
    with tempfile.TemporaryDirectory() as folder:
        wh = Warehouse(Path(folder)/"real.duckdb")
        ingest(real_data(), wh); build_reference(wh)
        return Facts.read(wh, date(2020, 12, 22), date(2026, 2, 28))
