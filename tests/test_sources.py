"Landing feeds: every row has a fate, twice is once, and bad input is one sentence."
import gzip, itertools, json
from datetime import date, datetime, timedelta, timezone
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from nbprops.settings import Refusal, real_data
from nbprops.data import feeds_parquet, feeds_raw, sources
from nbprops.data.intake import assign_lookups, fold_games, game_facts, nothing_known
from nbprops.data.reference import ALIASES, BOOKS, SEASONS, build_reference, reference_schedule
from nbprops.data.sources import ingest, land
from nbprops.data.tables import TABLES, table
from nbprops.data.warehouse import Warehouse

DAY = date(2025, 11, 4)
utc = lambda h, m=0, d=4: datetime(2025, 11, d, h, m, tzinfo=timezone.utc)
BOX, TEAM, PROPS, SCHED = (f"nba_raw.{n}" for n in ("nbac_player_boxscores", "nbac_team_boxscore", "odds_api_player_points_props", "nbac_schedule"))


def feed(name: str, rows: list[dict]) -> pl.DataFrame:
    "A frame with exactly the columns of a feed; what a row leaves out is NULL."
    columns = sources._COLUMNS[name].split()
    typed = {"game_date": pl.Date, "date_et": pl.Date, "snapshot_ts": pl.Datetime("us", "UTC"), "commence_ts": pl.Datetime("us", "UTC"), "player_id": pl.Int64, "home": pl.Int8}
    return pl.DataFrame([{c: r.get(c) for c in columns} for r in rows], schema_overrides={c: t for c, t in typed.items() if c in columns}, infer_schema_length=None)


def box_row(pid, name, team, opp, home, pts=10, minutes=30.0, game="0022500900", day=DAY, **more):
    "A made-up player-game."
    return dict(season="2025-26", season_type="Regular Season", game_id=game, game_date=day, player_id=pid, player=name, team=team, opp=opp, home=home, min=minutes, pts=pts, fga=8, fg3m=0, fg3a=1, fta=2,
                reb=3, ast=2, team_inferred=False, fgm_ftm_rebuilt=False, source="nba_stats") | more


def line_row(pid, name, book, when, line, tip=utc(23), source="the_odds_api", **more):
    "A made-up points line."
    return dict(source=source, book=book, player_id=pid, player=name, game_date=DAY, snapshot_ts=when, commence_ts=tip, line=line, over_odds=-110, under_odds=-110, p_over_novig=.5, vig=.04, n_lines=1) | more


BOXES = [box_row(11, "Ann Alder", "NYK", "BOS", 1, 25), box_row(12, "Bob Birch", "BOS", "NYK", 0, 12), box_row(13, "Cid Cedar", None, None, None, game=None), box_row(14, "Dan Dogwood", "BOS", "NYK", 0, 0, 0.0),
         box_row(15, "Eve Elm", "SAS", "OKC", None, game="X202511040"), box_row(16, "Ann Alder", "OKC", "SAS", None, game="X202511040")]
TEAMS = [dict(season="2025-26", game_id="0022500900", game_date=DAY, team="NYK", opp="BOS", home=1, wl="W", min=265.0, pts=110, source="nba_stats"),
         dict(season="2025-26", game_id="0022500900", game_date=DAY, team="BOS", opp="NYK", home=0, wl="L", min=265.0, pts=101, source="nba_stats")]
LINES = [line_row(11, "Ann Alder", "draftkings", utc(15), 22.5), line_row(11, "Ann Alder", "draftkings", utc(20), 24.5, tip=utc(22, 30)), line_row(11, "Ann Alder", "sportsbook_median", utc(20), 24.5),
         line_row(99, "Zoe Nobody", "fanduel", utc(20), 5.5), line_row(12, "Bob Birch", "fanduel", utc(23, 30), 11.5), line_row(12, "Bob Birch", "fanduel", utc(20), 11.7),
         line_row(12, "Bob Birch", "fanduel", utc(19), 11.5), line_row(12, "Bob Birch", "fanduel", utc(19), 11.5), line_row(12, "Bob Birch", "betmgm", utc(19), 11.5), line_row(12, "Bob Birch", "betmgm", utc(19), 12.5),
         line_row(11, "Ann Alder", "betmgm", utc(14, d=6), 20.5, tip=utc(23, d=6)) | {"game_date": DAY + timedelta(days=2)}]
INJURIES = [dict(team="NYK", player="Ann Alder", status=s, source="public", snapshot_ts=utc(h), date_et=DAY) for h, s in ((9, "Expected to play"), (10, None), (11, "TBD"), (12, "Out"))]


def make_folder(f):
    "Made-up landed files in a new folder."
    f.mkdir()
    for name, rows in (("player_box", BOXES), ("team_games", TEAMS), ("prop_line_snapshots", LINES), ("injuries", INJURIES)): feed(name, rows).write_parquet(f/f"some_{name}.parquet")
    return f


@pytest.fixture
def folder(tmp_path):
    "A folder of made-up landed files."
    return make_folder(tmp_path/"feeds")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    "A warehouse with the made-up folder landed, and what is in it; for tests that must not change it."
    d = tmp_path_factory.mktemp("full"); w = Warehouse(d/"wh.duckdb")
    ingest(make_folder(d/"feeds"), w)
    return w, dump(w)


@pytest.fixture
def wh(tmp_path):
    "A warehouse that does not exist yet."
    return Warehouse(tmp_path/"wh.duckdb")


def dump(wh) -> dict:
    "Everything in the raw tables and the quarantine, without times of writing."
    names = [n for n in TABLES if n.startswith("nba_raw.")] + ["nba_orchestration.quarantine"]
    extra = ", source_file, source_hash"
    with wh.transaction() as tx:
        return {n: tx.sql(f"SELECT {', '.join(c for c in table(n).content if c != 'quarantined_at')}{extra if 'raw' in n else ''} FROM {n} ORDER BY {', '.join(table(n).key)}").rows() for n in names}


def broken_rules(wh) -> dict:
    "Quarantined rows per rule."
    return dict(wh.sql("SELECT rule_id, COUNT(*) AS n FROM nba_orchestration.quarantine GROUP BY 1 ORDER BY 1").iter_rows())


def by_table(receipts) -> dict:
    "Receipts by table (summed over files)."
    out = {}
    for _, name, c in receipts: out[name] = out[name] + c if name in out else c
    return out


def test_every_row_of_a_made_up_folder_has_a_fate(folder, wh):
    "Would catch a row that is lost, doubled, or refused under another rule's name."
    got = by_table(ingest(folder, wh))
    assert (got[BOX].read, got[BOX].written, got[BOX].quarantined) == (6, 4, 2)
    assert (got[PROPS].read, got[PROPS].written, got[PROPS].quarantined, got[PROPS].set_aside) == (11, 3, 7, {"same_row_twice": 1})
    assert (got["nba_raw.nbac_injury_report"].written, got["nba_raw.nbac_injury_report"].quarantined) == (2, 2)
    assert broken_rules(wh) == {"no_game": 2, "zero_minutes": 1, "unknown_book": 1, "unknown_player": 1, "in_game": 1, "impossible_line": 1, "duplicate_key": 2, "no_status": 1, "unknown_word": 1}
    assert all(c.read == c.accounted() for c in got.values())
    kept = json.loads(wh.sql("SELECT row_json FROM nba_orchestration.quarantine WHERE rule_id = 'unknown_book'")["row_json"].item())
    assert kept["book"] == "sportsbook_median" and kept["line"] == 24.5 and set(kept) == set(sources._COLUMNS["prop_line_snapshots"].split())


def test_twice_is_once(folder, wh):
    "Would catch a loader that duplicates, rewrites or re-quarantines on a second run."
    first = ingest(folder, wh); before = dump(wh)
    again = ingest(folder, wh)
    assert dump(wh) == before and all(c.written == 0 for _, _, c in again)
    assert [c.read for _, _, c in first] == [c.read for _, _, c in again]
    assert sum(c.present for _, _, c in again) == sum(c.written + c.present for _, _, c in first)


def test_what_landed_is_said_once_it_stands(folder, wh, tmp_path, monkeypatch):
    "Fails when a landing leaves no line in the log, the line says other numbers than the receipts, or a landing that was rolled back is said to have landed."
    from nbprops.data.reference import build_reference
    from nbprops.ops.logs import read_logs
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"said")); (tmp_path/"said").mkdir()
    lines = lambda s: [(l["event"], l["written"], l["read"]) for l in read_logs(service=s).lines]
    first, again = ingest(folder, wh), ingest(folder, wh)
    total = lambda r, k: sum(getattr(c, k) for *_, c in r)
    assert lines("nba-phase1-scrapers") == [("feeds_landed", total(first, "written"), total(first, "read")), ("feeds_landed", 0, total(again, "read"))] and total(first, "written") > 10
    made = build_reference(wh)
    assert lines("phase2-raw") == [("reference_built", sum(c.written for c in made.values()), sum(c.read for c in made.values()))]
    def broken(*a, **k): raise RuntimeError("pulled plug")
    monkeypatch.setattr("nbprops.data.sources._rederive_all", broken)
    with pytest.raises(RuntimeError): ingest(folder, wh)
    assert len(lines("nba-phase1-scrapers")) == 2

def test_the_schedule_does_not_depend_on_the_order_of_files(folder, tmp_path):
    "Would catch a later file that forgets a score or a tip-off."
    seen = set()
    for n, order in enumerate(list(itertools.permutations(["some_player_box", "some_team_games", "some_prop_line_snapshots"]))[::2]):
        w = Warehouse(tmp_path/f"o{n}.duckdb")
        for name in (*order, "some_prop_line_snapshots"): ingest(folder/f"{name}.parquet", w) # lines once more: they lean on the games
        rows = w.sql("SELECT game_id, nba_game_id, game_start_utc, first_game_start_utc, tip_known_at, home_team_score, away_team_score, game_status, is_regular_season, neutral_site FROM nba_raw.nbac_schedule ORDER BY 1")
        seen.add(str(rows.rows()))
    assert len(seen) == 1


def test_games_are_named_scored_and_timed(folder, wh):
    "Would catch home and away exchanged, a neutral game under two names, or the largest tip-off taken for the latest."
    ingest(folder, wh)
    games = {r["game_id"]: r for r in wh.read(SCHED).iter_rows(named=True)}
    assert set(games) == {"20251104_BOS_NYK", "20251104_OKC_SAS"}
    g, x = games["20251104_BOS_NYK"], games["20251104_OKC_SAS"]
    assert (g["home_team_score"], g["away_team_score"], g["game_status"], g["neutral_site"]) == (110, 101, 3, False)
    assert (g["game_start_utc"], g["first_game_start_utc"]) == (utc(22, 30), utc(23)) and x["game_start_utc"] is None
    assert x["neutral_site"] and x["home_team_score"] is None and x["nba_game_id"] == "X202511040"
    assert wh.sql("SELECT DISTINCT overtime_periods FROM nba_raw.nbac_team_boxscore")["overtime_periods"].to_list() == [1]


def test_lines_are_timed_by_the_latest_tip_and_hashed(folder, wh):
    "Would catch minutes taken from the row's own belief, or ids that do not tell two lines apart."
    ingest(folder, wh)
    rows = wh.read(PROPS)
    assert dict(rows.filter(bookmaker="draftkings").select("points_line", "minutes_before_tipoff").iter_rows()) == {22.5: 450, 24.5: 150}
    assert rows["snapshot_id"].n_unique() == rows.height and rows["snapshot_id"].str.contains(r"^[0-9a-f]{64}$").all()


def test_a_second_bearer_of_a_name_gets_his_id(folder, wh):
    "Would catch two people in one lookup."
    ingest(folder, wh)
    assert wh.sql(f"SELECT player_lookup, nba_player_id FROM {BOX} WHERE player_full_name = 'Ann Alder' ORDER BY 2").rows() == [("annalder", 11), ("annalder_16", 16)]


def test_a_player_keeps_his_lookup_when_the_spelling_changes(folder, wh, tmp_path):
    "Would catch a registry that follows spellings instead of ids."
    ingest(folder, wh)
    later = feed("player_box", [box_row(11, "Annie Alder", "BOS", "NYK", 0, day=DAY + timedelta(days=2), game="0022500950")]); later.write_parquet(tmp_path/"later.parquet")
    ingest(tmp_path/"later.parquet", wh)
    assert wh.sql(f"SELECT DISTINCT player_lookup FROM {BOX} WHERE nba_player_id = 11")["player_lookup"].to_list() == ["annalder"]


def test_a_tip_that_becomes_known_or_moves_retimes_stored_lines(wh, tmp_path):
    "Would catch stored lines that keep the minutes of an old tip-off."
    feed("player_box", BOXES[:2]).write_parquet(tmp_path/"a.parquet")
    feed("prop_line_snapshots", [line_row(11, "Ann Alder", "betmgm", utc(20), 22.5, tip=None, source="rotowire")]).write_parquet(tmp_path/"b.parquet")
    ingest(tmp_path/"a.parquet", wh); ingest(tmp_path/"b.parquet", wh)
    state = lambda: wh.sql(f"SELECT minutes_before_tipoff, tip_verified, source_file FROM {PROPS}").row(0)
    assert state() == (None, False, "b.parquet")
    event = lambda tip, seen: {"timestamp": seen, "data": [{"id": "e1", "commence_time": tip, "home_team": "New York Knicks", "away_team": "Boston Celtics"}]}
    (tmp_path/"c.json").write_text(json.dumps(event("2025-11-04T23:00:00Z", "2025-11-04T12:00:00Z")))
    (tmp_path/"d.json").write_text(json.dumps(event("2025-11-04T19:00:00Z", "2025-11-04T13:00:00Z")))
    moved = ingest(tmp_path/"c.json", wh)
    assert state() == (180, True, "b.parquet") and moved[-1][0] == "(tip-offs moved)" and moved[-1][2].written == 1
    ingest(tmp_path/"d.json", wh)
    assert state() == (-60, True, "b.parquet")
    ingest(tmp_path/"c.json", wh)
    assert state() == (-60, True, "b.parquet") and all(c.written == 0 for _, _, c in ingest(tmp_path, wh))


facts = st.fixed_dictionaries({"nba_game_id": st.sampled_from([None, "odds_a", "0022500900"]), "game_status": st.sampled_from([None, 1, 3]), "home_team_score": st.sampled_from([None, 110]),
                               "tip": st.integers(0, 3), "known": st.integers(0, 6), "neutral_site": st.sampled_from([None, False, True])})


@settings(max_examples=120, deadline=None)
@given(st.lists(facts, min_size=1, max_size=5, unique_by=lambda f: f["known"]), st.randoms(use_true_random=False))
def test_facts_fold_in_any_order_and_any_number_of_times(drawn, rnd):
    "Would catch a schedule that depends on which feed came last."
    ids = dict(enumerate(f["nba_game_id"] for f in drawn if f["nba_game_id"] and f["nba_game_id"].startswith("odds")))
    frames = [game_facts(pl.DataFrame([{"game_id": "g", "game_start_utc": utc(18 + f["tip"]), "tip_known_at": utc(6 + f["known"]), **{k: f[k] for k in ("nba_game_id", "game_status", "home_team_score", "neutral_site")}}],
              schema_overrides={"nba_game_id": pl.String, "game_status": pl.Int64, "home_team_score": pl.Int64, "neutral_site": pl.Boolean})) for f in drawn]
    def fold(order):
        held = nothing_known().games
        for f in order: held = fold_games(held, f)
        return held
    mixed = frames[:]; rnd.shuffle(mixed)
    once = fold(frames)
    assert once.equals(fold(mixed)) and once.equals(fold(frames + mixed)) and len(ids) <= len(drawn)
    last, first = max(drawn, key=lambda f: f["known"]), min(drawn, key=lambda f: f["known"])
    assert once["game_start_utc"].item() == utc(18 + last["tip"]) and once["first_game_start_utc"].item() == (utc(18 + first["tip"]) if first["tip"] != last["tip"] else None)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_final_score_stands_whatever_is_read_later(order):
    "Would catch an older payload of the running game that overwrites the final score, or a correction that is lost."
    seen = [(None, None, None, 1), (2, 50, 48, 2), (3, 110, 100, 3), (3, 110, 101, 4)] # status, home, away, hour
    fact = lambda status, home, away, hour: game_facts(pl.DataFrame({"game_id": ["g"], "game_status": [status], "home_team_score": [home], "away_team_score": [away], "game_start_utc": [utc(18)], "tip_known_at": [utc(hour)]}))
    held = nothing_known().games
    for i in order: held = fold_games(held, fact(*seen[i]))
    assert held.select("game_status", "home_team_score", "away_team_score").row(0) == (3, 110, 101)


def test_a_running_score_never_stands_for_a_final_one():
    "Would catch 50:48 with the status of a finished game, when the box score says only that it is over."
    fact = lambda status, home, away: game_facts(pl.DataFrame({"game_id": ["g"], "game_status": [status], "home_team_score": [home], "away_team_score": [away]}, schema_overrides={"home_team_score": pl.Int64, "away_team_score": pl.Int64}))
    for order in ((0, 1), (1, 0)):
        held = nothing_known().games
        for i in order: held = fold_games(held, [fact(2, 50, 48), fact(3, None, None)][i])
        assert held.select("game_status", "home_team_score", "away_team_score").row(0) == (3, None, None)


odd = st.fixed_dictionaries({"player_id": st.sampled_from([11, 12, 99]), "book": st.sampled_from(["draftkings", "fanduel", "median"]), "snapshot_ts": st.sampled_from([utc(15), utc(20), utc(23, 30)]), "line": st.sampled_from([9.5, 10.5, 10.3, 99.5]),
                             "commence_ts": st.sampled_from([None, utc(23)]), "over_odds": st.sampled_from([None, -110, 7]), "game_date": st.sampled_from([DAY, DAY + timedelta(days=3)])})


@settings(max_examples=80, deadline=None)
@given(st.lists(odd, min_size=1, max_size=20))
def test_whatever_a_feed_sends_every_row_has_a_fate(drawn):
    "Would catch a filter or a join between the feed and the table that loses or doubles rows."
    box = feeds_parquet.player_box(feed("player_box", BOXES[:2]), nothing_known())
    known = sources._learn(sources._learn(nothing_known(), box[0])[0], box[1])[0]
    lines, tips = feeds_parquet.prop_snapshots(feed("prop_line_snapshots", [line_row(None, "x", None, None, None) | d for d in drawn]), known)
    assert lines.read == len(drawn) == lines.rows.height + lines.bad.height + sum(lines.aside.values())
    assert lines.rows.select(table(PROPS).key).is_unique().all() and tips.rows.height <= 1


# Raw payloads, made up in their real shapes

SCHEDULE = {"meta": {"time": "2025-10-01T12:00:00.5Z"}, "leagueSchedule": {"seasonYear": "2025-26", "gameDates": [{"games": [
    {"gameId": i, "gameStatus": s, "gameStatusText": t, "gameDateEst": f"{d}T00:00:00Z", "gameDateTimeUTC": u, "isNeutral": False, "gameLabel": "",
     "homeTeam": {"teamTricode": h, "score": hs}, "awayTeam": {"teamTricode": a, "score": s_}} for i, s, t, d, u, h, hs, a, s_ in (
        ("0022500900", 1, "6:30 pm ET", "2025-11-04", "2025-11-04T23:30:00Z", "NYK", 0, "BOS", 0), ("0022500901", 3, "Final", "2025-11-03", "2025-11-04T01:00:00Z", "LAL", 120, "DEN", 118),
        ("0012500001", 3, "Final", "2025-10-05", "2025-10-05T16:00:00Z", "NYK", 99, "PHI", 98), ("0032500001", 1, "TBD", "2026-02-15", "2026-02-16T01:00:00Z", "SHQ", 0, "CAN", 0),
        ("0042500101", 1, "TBD", "2026-04-18", "2026-04-18T17:00:00Z", "", 0, "", 0))]}]}}
EVENTS = {"timestamp": "2025-11-04T15:00:00Z", "data": [{"id": "e1", "commence_time": "2025-11-04T23:10:00Z", "home_team": "New York Knicks", "away_team": "Boston Celtics"},
          {"id": "e2", "commence_time": "2025-11-05T01:10:00Z", "home_team": "Los Angeles Clippers", "away_team": "Utah Jazz"}, {"id": "e3", "commence_time": "2025-11-05T01:10:00Z", "home_team": "Real Madrid", "away_team": "Utah Jazz"}]}
LOG_HEAD = "SEASON_ID PLAYER_ID PLAYER_NAME TEAM_ID TEAM_ABBREVIATION TEAM_NAME GAME_ID GAME_DATE MATCHUP WL MIN FGM FGA FG_PCT FG3M FG3A FG3_PCT FTM FTA FT_PCT OREB DREB REB AST STL BLK TOV PF PTS PLUS_MINUS".split()
LOG = {"resource": "leaguegamelog", "resultSets": [{"name": "LeagueGameLog", "headers": LOG_HEAD, "rowSet": [
    ["22025", 11, "Ann Alder", 1, "NYK", "K", "0022500900", "2025-11-04", "NYK vs. BOS", "W", 35, 8, 20, .4, 4, 13, .3, 8, 9, .9, 0, 7, 7, 5, 0, 1, 3, 2, 28, -5],
    ["22025", 12, "Bob Birch", 2, "BOS", "C", "0022500900", "2025-11-04", "BOS @ NYK", "L", 20, 3, 7, .4, 1, 4, .3, 9, 9, 1., 1, 5, 6, 4, 0, 0, 0, 0, 16, 13]]}]}
PLAYER_HEAD = "GAME_ID TEAM_ID TEAM_ABBREVIATION TEAM_CITY PLAYER_ID PLAYER_NAME NICKNAME START_POSITION COMMENT MIN FGM FGA FG_PCT FG3M FG3A FG3_PCT FTM FTA FT_PCT OREB DREB REB AST STL BLK TO PF PTS PLUS_MINUS".split()
TEAM_HEAD = "GAME_ID TEAM_ID TEAM_NAME TEAM_ABBREVIATION TEAM_CITY MIN FGM FGA FG_PCT FG3M FG3A FG3_PCT FTM FTA FT_PCT OREB DREB REB AST STL BLK TO PF PTS PLUS_MINUS".split()
TEAM_BOX = {"resource": "boxscore", "resultSets": [
    {"name": "PlayerStats", "headers": PLAYER_HEAD, "rowSet": [["0022500900", 1, "NYK", "N", 11, "Ann Alder", "A", "F", "", "49:25", 4, 9, .4, 0, 3, 0., 2, 3, .7, 5, 12, 17, 12, 4, 0, 3, 3, 10, 10],
        ["0022500900", 1, "NYK", "N", 17, "Fay Fir", "F", "", "DNP - Coach's Decision", *[None]*20]]},
    {"name": "TeamStats", "headers": TEAM_HEAD, "rowSet": [["0022500900", 1, "Knicks", "NYK", "N", "265:00", 46, 92, .5, 13, 35, .4, 14, 14, 1., 11, 24, 35, 27, 8, 2, 12, 19, 119, -6]]},
    {"name": "TeamStarterBenchStats", "headers": ["GAME_ID"], "rowSet": [["0022500900"], ["0022500900"]]}]}
PBP = {"meta": {}, "game": {"gameId": "0022500900", "actions": [{"actionNumber": 2, "actionType": "period", "isFieldGoal": 0, "personId": 0},
    {"actionNumber": 7, "actionType": "2pt", "isFieldGoal": 1, "personId": 11, "teamTricode": "NYK", "shotDistance": 5.57, "shotResult": "Missed"},
    {"actionNumber": 9, "actionType": "3pt", "isFieldGoal": 1, "personId": 12, "teamTricode": "BOS", "shotDistance": 24.1, "shotResult": "Made", "assistPersonId": 11},
    {"actionNumber": 11, "actionType": "2pt", "isFieldGoal": 1, "personId": 12, "teamTricode": "BOS", "shotDistance": 1, "shotResult": "Made"},
    {"actionNumber": 12, "actionType": "2pt", "isFieldGoal": 1, "personId": 404, "teamTricode": "BOS", "shotDistance": 1, "shotResult": "Made"}]}}
market = lambda key, name, point: {"key": key, "outcomes": [{"name": name, "price": 1.9, "point": point}, {"name": "Other", "price": 1.9, "point": -point}]}
GAME_LINES = lambda seen: {"timestamp": seen, "data": {"id": "e1", "commence_time": "2025-11-04T23:30:00Z", "home_team": "New York Knicks", "away_team": "Boston Celtics", "bookmakers": [
    {"key": "draftkings", "markets": [market("spreads", "New York Knicks", -3.5), market("totals", "Over", 228.5), market("h2h", "New York Knicks", 0)]}, {"key": "median", "markets": [market("totals", "Over", 228.5)]}]}}


def save(path, payload):
    "A payload on disk, compressed when the name says so."
    data = json.dumps(payload).encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


@pytest.fixture
def season(wh, tmp_path):
    "A warehouse with the made-up schedule and game log."
    ingest(save(tmp_path/"whatever.json.gz", SCHEDULE), wh); ingest(save(tmp_path/"log.json", LOG), wh)
    return wh


def test_season_schedule(wh, tmp_path):
    "Would catch preseason games in the schedule, an unplayed 0:0 as a score, or a placeholder tip-off."
    c = ingest(save(tmp_path/"s.json", SCHEDULE), wh)[0][2]
    assert (c.read, c.written, c.set_aside) == (5, 3, {"preseason": 1, "teams_not_known_yet": 1})
    rows = {r["game_id"]: r for r in wh.read(SCHED).iter_rows(named=True)}
    assert rows["20251104_BOS_NYK"]["home_team_score"] is None and rows["20251103_DEN_LAL"]["home_team_score"] == 120
    assert rows["20251103_DEN_LAL"]["game_start_utc"] == utc(1) and rows["20260215_CAN_SHQ"]["is_all_star"] and rows["20260215_CAN_SHQ"]["game_start_utc"] is None
    build_reference(wh)
    assert wh.sql("SELECT COUNT(*) AS n FROM nba_reference.nba_schedule")["n"].item() == 2


def test_odds_events(season, tmp_path):
    "Would catch a second game beside the scheduled one, or a makeshift id that outlives the league's."
    c = ingest(save(tmp_path/"e.json", EVENTS), season)[0][2]
    assert (c.read, c.quarantined) == (3, 1)
    rows = {r["game_id"]: r for r in season.read(SCHED).iter_rows(named=True)}
    assert rows["20251104_BOS_NYK"]["nba_game_id"] == "0022500900" and rows["20251104_BOS_NYK"]["game_start_utc"] == utc(23, 10) and rows["20251104_BOS_NYK"]["first_game_start_utc"] == utc(23, 30)
    assert rows["20251104_UTA_LAC"]["nba_game_id"] == "odds_e2" and rows["20251104_UTA_LAC"]["is_regular_season"]


def test_league_game_log(season):
    "Would catch home and away read from the wrong side of the match-up."
    rows = season.read(BOX)
    assert rows.select("player_lookup", "team_abbr", "game_id", "points", "minutes", "turnovers").sort("player_lookup").rows() == [
        ("annalder", "NYK", "20251104_BOS_NYK", 28, "35", 3), ("bobbirch", "BOS", "20251104_BOS_NYK", 16, "20", 0)]


def test_team_box_score_names_those_who_did_not_play(season, tmp_path):
    "Would catch a DNP stored with zeros, or as an active player."
    got = by_table(ingest(save(tmp_path/"b.json", TEAM_BOX), season))
    assert got[TEAM].set_aside == {"starters_and_bench": 2} and (got[BOX].written, got[TEAM].written) == (2, 1)
    rows = {r["player_lookup"]: r for r in season.read(BOX).iter_rows(named=True)}
    assert (rows["fayfir"]["player_status"], rows["fayfir"]["dnp_reason"], rows["fayfir"]["points"], rows["fayfir"]["starter"]) == ("dnp", "DNP - Coach's Decision", None, False)
    assert (rows["annalder"]["starter"], rows["annalder"]["position"], rows["annalder"]["minutes"]) == (True, "F", "49:25")
    t = season.read(TEAM).row(0, named=True)
    assert (t["is_home"], t["overtime_periods"], t["points"], t["turnovers"]) == (True, 1, 119, 12)


def test_play_by_play_keeps_shots_only(season, tmp_path):
    "Would catch other events as shots, an assisted miss, or a player guessed by his surname."
    c = ingest(save(tmp_path/"p.json.gz", PBP), season)[0][2]
    assert (c.read, c.written, c.quarantined, c.set_aside) == (5, 3, 1, {"not_a_shot": 1})
    assert season.read("nba_raw.nbac_play_by_play").select("event_number", "player_lookup", "shot_value", "shot_made", "assisted").rows() == [
        (7, "annalder", 2, False, None), (9, "bobbirch", 3, True, True), (11, "bobbirch", 2, True, False)]


def test_without_a_schedule_a_game_payload_waits_in_quarantine(wh, tmp_path):
    "Would catch a game invented from a payload that knows neither its date nor its home side."
    got = by_table(ingest(save(tmp_path/"b.json", TEAM_BOX), wh))
    assert got[BOX].quarantined == 2 and got[BOX].written == 0 and broken_rules(wh) == {"no_game": 3}
    ingest(save(tmp_path/"s.json", SCHEDULE), wh)
    assert by_table(ingest(tmp_path/"b.json", wh))[BOX].written == 2


CSV = """event_id,player,market,line,bookmaker,game,game_time,over_odds,under_odds
e1,Ann Alder,player_points,14.5,draftkings,Boston Celtics @ New York Knicks,2025-11-04T23:30:00Z,-500.0,330.0
e1,Ann Alder,player_points,24.5,draftkings,Boston Celtics @ New York Knicks,2025-11-04T23:30:00Z,-118.0,-110.0
e1,Ann Alder,player_points,29.5,draftkings,Boston Celtics @ New York Knicks,2025-11-04T23:30:00Z,320.0,-480.0
e1,Ann Alder,player_assists,4.5,draftkings,Boston Celtics @ New York Knicks,2025-11-04T23:30:00Z,-118.0,-110.0
e1,Ann Alder,player_double_double,,draftkings,Boston Celtics @ New York Knicks,2025-11-04T23:30:00Z,,
e1,Bob Birch,player_points,11.5,mybank,Boston Celtics @ New York Knicks,2025-11-04T23:30:00Z,-118.0,-110.0
e1,Gus Ginkgo,player_points,11.5,fanduel,Boston Celtics @ New York Knicks,2025-11-04T23:30:00Z,-118.0,-110.0
"""


def test_a_csv_without_a_time_is_no_line(season, tmp_path):
    "Would catch a snapshot time made up by the loader."
    (tmp_path/"day.csv").write_text(CSV)
    c = ingest(tmp_path/"day.csv", season)[0][2]
    assert (c.read, c.quarantined, c.written) == (7, 7, 0) and broken_rules(season) == {"no_snapshot_time": 7}
    for wrong, word in (("2025-11-04 17:00", "no zone"), ("yesterday", "no ISO time")):
        with pytest.raises(Refusal, match=word): ingest(tmp_path/"day.csv", season, snapshot_at=wrong)


def test_a_csv_with_a_time_gives_one_rung_per_book(season, tmp_path):
    "Would catch a rung far from even money, another market, an unknown book or a guessed player as a line."
    (tmp_path/"day.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    c = by_table(ingest(tmp_path/"day.csv.gz", season, snapshot_at="2025-11-04T12:00:00-05:00"))[PROPS]
    assert (c.read, c.written, c.quarantined, c.set_aside) == (7, 1, 2, {"other_market": 2, "ladder_rung": 2})
    r = season.read(PROPS).row(0, named=True)
    assert (r["points_line"], r["ladder_rungs"], r["snapshot_timestamp"], r["minutes_before_tipoff"], r["data_source"], r["nba_player_id"]) == (24.5, 3, utc(17), 390, "the_odds_api", 11)


def test_a_csv_seen_after_the_tip_is_refused_as_lines(season, tmp_path):
    "Would catch in-game prices with a person's time stamp."
    (tmp_path/"day.csv").write_text(CSV)
    c = by_table(ingest(tmp_path/"day.csv", season, snapshot_at="2025-11-05T00:30:00Z"))[PROPS]
    assert c.written == 0 and broken_rules(season)["in_game"] == 4


def test_game_lines_of_a_running_game_are_refused(season, tmp_path):
    "Would catch the prices of a running game as a pre-game total."
    c = by_table(ingest(save(tmp_path/"late.json", GAME_LINES("2025-11-05T00:10:00Z")), season))["nba_raw.odds_api_game_lines"]
    assert (c.read, c.written, c.quarantined, c.set_aside) == (4, 0, 3, {"other_market": 1}) and broken_rules(season) == {"in_game": 2, "unknown_book": 1}
    ingest(save(tmp_path/"early.json", GAME_LINES("2025-11-04T20:10:00Z")), season)
    rows = season.read("nba_raw.odds_api_game_lines").select("market_key", "line_point", "minutes_before_tipoff").rows()
    assert rows == [("spreads", -3.5, 200), ("totals", 228.5, 200)]


def test_injuries_under_another_teams_heading(wh, tmp_path):
    "Would catch the opponent's list taken for the team's, or a right report thrown away with the wrong one."
    feed("player_box", BOXES[:2]).write_parquet(tmp_path/"a.parquet")
    both = [dict(team=t, player=p, status="Out", source="public", snapshot_ts=utc(9, d=5), date_et=DAY + timedelta(days=1)) for t, p in (("NYK", "Ann Alder"), ("BOS", "Ann Alder"), ("Boston Celtics", "Bob Birch"))]
    feed("injuries", both).write_parquet(tmp_path/"b.parquet")
    ingest(tmp_path, wh)
    assert wh.read("nba_raw.nbac_injury_report").select("player_lookup", "team_abbr").rows() == [("annalder", "NYK"), ("bobbirch", "BOS")] and broken_rules(wh) == {"other_team": 1}


def test_the_same_line_in_two_files_is_written_once_and_rests(folder, wh):
    "Would catch two files that overwrite each other at every loading."
    feed("prop_line_snapshots", [LINES[0] | {"over_odds": -120}]).write_parquet(folder/"z_again.parquet")
    first = ingest(folder, wh)
    assert next(c for f, t, c in first if f == "some_prop_line_snapshots.parquet" and t == PROPS).set_aside["given_again"] == 1
    assert all(c.written == 0 for _, _, c in ingest(folder, wh))


def test_answers_and_other_files_are_never_loaded(folder, wh):
    "Would catch results that become input."
    pl.DataFrame({"player_id": [11], "line": [24.5], "actual_points": [25.0], "result": ["OVER"]}).write_parquet(folder/"innocent_name.parquet")
    (folder/"notes.md").write_text("hello")
    got = {f: c for f, t, c in ingest(folder, wh) if t == ""}
    assert got["innocent_name.parquet"].set_aside == {"carries_results": 1} and got["notes.md"].set_aside == {"not_a_feed": 1}


def test_land_writes_prepared_frames(wh):
    "Would catch a league whose truth is landed with its feeds."
    box = pl.DataFrame({"game_id": ["g"], "player_lookup": ["a"], "player_full_name": ["A"], "team_abbr": ["NYK"], "player_status": ["active"], "game_date": [DAY]})
    out = land({BOX: box, "truth": box}, wh)
    assert [(s, t, c.written) for s, t, c in out] == [("simulated", BOX, 1)] and land({BOX: box}, wh)[0][2].present == 1


WRONG = {"missing.parquet": None, "cut.parquet": b"PAR1 cut off", "cut.json": b'{"resource": ', "cut.csv.gz": b"\x1f\x8b not gzip", "other.json": b'{"hello": 1}', "list.json": b"[1, 2]", "empty.json": b"", "empty.csv": b"",
         "notes.txt": b"hello", "shape.json": json.dumps({"resource": "boxscore", "resultSets": []}).encode(), "shape2.json": b'{"game": {}, "meta": {}}', "shape3.json": b'{"leagueSchedule": {"seasonYear": "x"}, "meta": {"time": "2025-10-01T12:00:00Z"}}',
         "time.json": b'{"timestamp": "yesterday", "data": [{"id": "e", "commence_time": "soon", "home_team": "a", "away_team": "b"}]}'}


@pytest.mark.parametrize("name", WRONG)
def test_bad_files_are_one_sentence_and_change_nothing(name, full, tmp_path):
    "Would catch a traceback, or a warehouse changed by a refused load."
    wh, before = full
    if WRONG[name] is not None: (tmp_path/name).write_bytes(WRONG[name])
    with pytest.raises(Refusal) as e: ingest(tmp_path/name, wh)
    assert e.value.exit_code == 2 and name in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 400
    assert dump(wh) == before


def test_a_bad_file_refuses_the_whole_folder(folder, wh):
    "Would catch half a folder loaded."
    (folder/"zz.json").write_text("{")
    with pytest.raises(Refusal): ingest(folder, wh)
    assert not wh.exists()


@pytest.mark.parametrize("change, word", [(lambda f: f.with_columns(mood=pl.lit("good")), "unknown column 'mood'"), (lambda f: f.drop("pts"), "lacks the column 'pts'"), (lambda f: f.with_columns(source=pl.lit("my_scraper")), "not registered"),
                                          (lambda f: f.with_columns(pts=pl.lit("many")), "does not fit its type")])
def test_a_feed_with_other_columns_is_refused_by_name(change, word, wh, tmp_path):
    "Would catch a changed feed that is read as if nothing had happened."
    change(feed("player_box", BOXES)).write_parquet(tmp_path/"box.parquet")
    with pytest.raises(Refusal, match=word): ingest(tmp_path/"box.parquet", wh)


@pytest.mark.parametrize("name, rows", [("player_box", BOXES), ("team_games", TEAMS), ("prop_line_snapshots", LINES), ("injuries", INJURIES)])
def test_an_empty_feed_lands_nothing(name, rows, wh, tmp_path):
    "Would catch a day without games that raises."
    feed(name, rows).head(0).write_parquet(tmp_path/"none.parquet")
    assert all(c.read == c.written == 0 for _, _, c in ingest(tmp_path/"none.parquet", wh))


def test_a_date_outside_every_season_is_quarantined(wh, tmp_path):
    "Would catch a game of no season."
    feed("player_box", BOXES[:1] + [box_row(12, "Bob Birch", "BOS", "NYK", 0, day=date(2025, 8, 1), game="0022500999")]).write_parquet(tmp_path/"box.parquet")
    ingest(tmp_path/"box.parquet", wh)
    assert broken_rules(wh) == {"outside_season": 1}


def test_shipped_reference_is_sound():
    "Would catch overlapping seasons, a doubled rank, or an alias that leads to an alias."
    assert (SEASONS["season_start_date"].shift(-1) > SEASONS["season_end_date"]).drop_nulls().all() and SEASONS["season"].to_list() == [f"20{y}-{y + 1}" for y in range(20, 27)]
    assert BOOKS["preference_rank"].is_unique().all() and BOOKS.head(3)["bookmaker"].to_list() == ["draftkings", "fanduel", "betmgm"]
    assert not set(ALIASES["player_lookup"]) & set(ALIASES["alias_lookup"]) and ALIASES["alias_lookup"].is_unique().all()


def test_reference_tables_are_built_once(season):
    "Would catch a reference build that rewrites what did not change."
    first, again = build_reference(season), build_reference(season)
    assert first["nba_reference.nba_players_registry"].written == 2 and all(c.written == 0 for c in again.values())
    row = season.sql("SELECT universal_player_id, season, first_game_date FROM nba_reference.nba_players_registry WHERE player_lookup = 'annalder'").row(0)
    assert row == ("nba_11", "2025-26", DAY)


def announced(seen: str, *games) -> dict:
    "A season schedule of games not begun: (id, date, home, away)."
    return {"meta": {"time": seen}, "leagueSchedule": {"seasonYear": "2025-26", "gameDates": [{"games": [
        {"gameId": i, "gameStatus": 1, "gameStatusText": "7:00 pm ET", "gameDateEst": f"{d}T00:00:00Z", "gameDateTimeUTC": f"{d}T23:59:00Z", "isNeutral": False, "gameLabel": "",
         "homeTeam": {"teamTricode": h, "score": 0}, "awayTeam": {"teamTricode": a, "score": 0}} for i, d, h, a in games]}]}}


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_postponed_game_leaves_its_old_date(newest_first, wh, tmp_path):
    "Would catch a game that waits for ever at a date it was moved from; grading could never void its predictions."
    other = ("0022500556", "2026-01-10", "LAL", "DEN")
    old, new = announced("2026-01-02T12:00:00Z", ("0022500555", "2026-01-10", "NYK", "BOS"), other), announced("2026-01-11T12:00:00Z", ("0022500555", "2026-02-20", "NYK", "BOS"), other)
    games = lambda name: wh.sql(f"SELECT game_id FROM {name} ORDER BY 1")["game_id"].to_list()
    for n, payload in enumerate([new, old] if newest_first else [old, new]):
        ingest(save(tmp_path/f"{n}.json", payload), wh); build_reference(wh)
    assert games("nba_reference.nba_schedule") == ["20260110_DEN_LAL", "20260220_BOS_NYK"]
    assert games(SCHED) == ["20260110_BOS_NYK", "20260110_DEN_LAL", "20260220_BOS_NYK"] and all(c.written == 0 for c in build_reference(wh).values())
    # a line for the old date still finds its raw game and stays out of the reference
    feed("prop_line_snapshots", [line_row(11, "Ann Alder", "betmgm", datetime(2026, 1, 9, 20, tzinfo=timezone.utc), 22.5, tip=None, source="rotowire") | {"game_date": date(2026, 1, 10)}]).write_parquet(tmp_path/"l.parquet")
    ingest(tmp_path/"l.parquet", wh); build_reference(wh)
    assert games("nba_reference.nba_schedule") == ["20260110_DEN_LAL", "20260220_BOS_NYK"]


def test_only_a_real_league_id_moves_a_game():
    "Would catch games dropped because they share a placeholder, have no id, were played, or come from one announcement."
    at = lambda d: datetime(2026, 1, d, 12, tzinfo=timezone.utc)
    def kept(ids, status=(1, 1), seen=(at(2), at(11)), homes=("NYK", "NYK")):
        rows = [{"game_id": g, "nba_game_id": i, "game_date": date(2026, 1, d), "home_team_tricode": h, "away_team_tricode": "BOS", "game_status": s, "tip_known_at": t, "is_all_star": False} for g, i, d, h, s, t in zip("ab", ids, (10, 20), homes, status, seen)]
        raw = pl.DataFrame(rows, schema_overrides={"nba_game_id": pl.String, "tip_known_at": pl.Datetime("us", "UTC")})
        return "".join(reference_schedule(raw.with_columns(pl.lit(None).alias(c) for c in table(SCHED).schema() if c not in raw.columns))["game_id"])
    same = ("0022500555",)*2
    assert kept(same) == "b" and kept(same, seen=(at(11), at(2))) == "a" and kept(same, status=(1, 3), seen=(at(11), None)) == "b" and kept(same, seen=(None, at(2))) == "b"
    for whole in (kept((None, None)), kept(("odds_e1",)*2), kept(("TBD",)*2), kept(same, homes=("NYK", "LAL")), kept(same, status=(3, 3)), kept(same, seen=(at(2), at(2))), kept(same, seen=(None, None))): assert whole == "ab"


needs_data = pytest.mark.skipif(real_data() is None, reason="set NBPROPS_DATA to the folder of real feeds")


@needs_data
def test_the_real_folder_lands_whole_and_rests(tmp_path):
    "Would catch any row of the real feeds without a fate, and any change by a second loading."
    w = Warehouse(tmp_path/"real.duckdb")
    first = ingest(real_data(), w); again = ingest(real_data(), w)
    assert all(c.read == c.accounted() for _, _, c in first) and all(c.written == 0 for _, _, c in again)
    got = {(f, t): c for f, t, c in first}
    assert got[("prop_line_snapshots.parquet", PROPS)].quarantined == 131 and got[("player_box.parquet", BOX)].quarantined == 73
    assert not any(c.written for (f, t), c in got.items() if f.startswith(("prop_lines", "prop_consensus", "odds_api_game_lines")))
    assert next(c for (f, t), c in got.items() if f.startswith("the_odds_api")).quarantined == 4320


@needs_data
def test_the_csv_rung_is_the_landed_line():
    "Would catch another choice of rung than the one that the landed file made from the same prices."
    files = [sources.open_file(p) for p in sources.find_files(real_data())[0]]
    batches, _ = sources.adapt_all(files, nothing_known(), utc(17))
    landed, csv = [b.rows for f, b in batches if b.table == PROPS]
    both = csv.join(landed, on=list(table(PROPS).key), suffix="_landed")
    assert both.height == csv.height and (both["snapshot_id"] == both["snapshot_id_landed"]).all()
