"Lines of record: one function against a slow oracle, and against a reference answer on real lines."
import random, statistics
from datetime import datetime, timedelta, timezone
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from nbprops.settings import real_data
from nbprops.data.lines import as_of_frame, best_lines, game_lines_of_record, line_of_record
from nbprops.data.reference import BOOKS, FEEDS

UTC = pl.Datetime("us", "UTC")
BASE = datetime(2026, 2, 2, 12, tzinfo=timezone.utc)
at = lambda minutes: None if minutes is None else BASE + timedelta(minutes=minutes)
SCHEMA = {"game_id": pl.String, "player_lookup": pl.String, "bookmaker": pl.String, "data_source": pl.String, "snapshot_timestamp": UTC, "points_line": pl.Float64, "over_price_american": pl.Int64,
          "under_price_american": pl.Int64, "snapshot_id": pl.String, "ladder_rungs": pl.Int64, "minutes_before_tipoff": pl.Int64}
RANK, PICKEM = dict(BOOKS.select("bookmaker", "preference_rank").iter_rows()), set(BOOKS.filter("is_pickem")["bookmaker"])
CERTIFIED, TIE = set(FEEDS.filter("certifies_pregame")["data_source"]), dict(FEEDS.select("data_source", "same_second_rank").iter_rows())

quotes = st.lists(st.fixed_dictionaries({
    "game_id": st.sampled_from(["g1", "g2"]), "player_lookup": st.sampled_from(["ann", "bob"]), "bookmaker": st.sampled_from(["draftkings", "fanduel", "betmgm", "prizepicks", "nobody"]),
    "data_source": st.sampled_from(["the_odds_api", "rotowire", "prizepicks"]), "minute": st.integers(0, 8), "half": st.integers(40, 50), "over_price_american": st.sampled_from([None, -110, 100, -125]),
    "under_price_american": st.sampled_from([None, -110, 105]), "minutes_before_tipoff": st.sampled_from([None, None, None, -3, 12])}), max_size=25,
    unique_by=lambda q: (q["game_id"], q["player_lookup"], q["bookmaker"], q["data_source"], q["minute"]))
instants = st.fixed_dictionaries({g: st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)) for g in ("g1", "g2")}) # as_of, tip


def frame(rows: list[dict]) -> pl.DataFrame:
    "Rows of the props table from drawn quotes."
    full = [{**q, "snapshot_timestamp": at(q["minute"]), "points_line": q["half"]/2, "ladder_rungs": 1, "snapshot_id": f"{q['bookmaker']}{q['data_source']}{q['minute']}"} for q in rows]
    return pl.DataFrame([{k: r[k] for k in SCHEMA} for r in full], schema=SCHEMA)


def asof_frame(when: dict) -> pl.DataFrame:
    "The instants as a frame."
    return pl.DataFrame([{"game_id": g, "as_of": at(a), "game_start_utc": at(t)} for g, (a, t) in when.items()], schema={"game_id": pl.String, "as_of": UTC, "game_start_utc": UTC})


def visible(q: dict, when: dict) -> bool:
    "The oracle's rule for one quote."
    as_of, tip = when[q["game_id"]]
    if q["bookmaker"] not in RANK or (q["minutes_before_tipoff"] is not None and q["minutes_before_tipoff"] <= 0): return False
    if as_of is not None and q["minute"] > as_of: return False
    return q["minute"] < tip if tip is not None else q["data_source"] in CERTIFIED


def oracle(rows: list[dict], when: dict) -> dict:
    "The line of record, worked out slowly in plain Python."
    out = {}
    for key in {(q["game_id"], q["player_lookup"]) for q in rows}:
        seen = [q for q in rows if (q["game_id"], q["player_lookup"]) == key and visible(q, when)]
        if not seen: continue
        newest = {b: min((q for q in seen if q["bookmaker"] == b), key=lambda q: (-q["minute"], TIE[q["data_source"]])) for b in {q["bookmaker"] for q in seen}}
        book = min(newest, key=lambda b: (RANK[b], b))
        first = min((q for q in seen if q["bookmaker"] == book), key=lambda q: (q["minute"], TIE[q["data_source"]]))
        lines = [q["half"]/2 for b, q in newest.items() if b not in PICKEM]
        tip = when[key[0]][1]
        out[key] = (newest[book]["half"]/2, first["half"]/2, book, newest[book]["data_source"], None if tip is None else tip - newest[book]["minute"], len(newest),
                    round(statistics.stdev(lines), 9) if len(lines) > 1 else None, book != "draftkings", tip is not None)
    return out


def answer(rows: list[dict], when: dict) -> dict:
    "The same from the function."
    r = line_of_record(frame(rows), asof_frame(when), BOOKS, FEEDS)
    assert r.select("game_id", "player_lookup").is_unique().all()
    cols = ["line", "opening_line", "bookmaker", "data_source", "minutes_before_tipoff", "books_count", "multi_book_line_std", "was_line_fallback", "tip_verified"]
    return {x[:2]: x[2:] for x in r.with_columns(pl.col("multi_book_line_std").round(9)).select("game_id", "player_lookup", *cols).iter_rows()}


@settings(max_examples=150, deadline=None)
@given(quotes, instants)
def test_equals_the_oracle(rows, when):
    "Would catch any departure from the rule: order of books, latest, tip, same second, unknown tip, in-game marks."
    assert answer(rows, when) == oracle(rows, when)


@settings(max_examples=60, deadline=None)
@given(quotes, instants, st.randoms(use_true_random=False))
def test_order_of_rows_is_irrelevant(rows, when, rnd):
    "Would catch an answer that depends on how rows lie in the table."
    mixed = rows[:]; rnd.shuffle(mixed)
    full = lambda r: line_of_record(frame(r), asof_frame(when), BOOKS, FEEDS)
    assert full(rows).equals(full(mixed))


@settings(max_examples=100, deadline=None)
@given(quotes, instants, quotes)
def test_nothing_later_and_nothing_in_game_is_seen(rows, when, more):
    "Would catch a leak: a snapshot after as_of, or at and after the tip, that changes the line."
    limit = {g: min(x for x in (a, t, 99) if x is not None) for g, (a, t) in when.items()}
    late = [{**q, "minute": q["minute"] + limit[q["game_id"]] + 1} for q in more]
    when = {g: (a, t if t is not None else 99) for g, (a, t) in when.items()}
    known = [q for q in rows if q["minute"] <= 8]
    fresh = [q for q in late if not visible(q, when)]
    full = lambda r: line_of_record(frame(r), asof_frame(when), BOOKS, FEEDS)
    assert full(known).equals(full(known + fresh))


@settings(max_examples=60, deadline=None)
@given(quotes, st.integers(1, 8))
def test_the_mirror_a_visible_line_of_the_first_book_always_counts(rows, minute):
    "Would catch a function that ignores its input: a new first-choice line just before as_of must become the line."
    when = {"g1": (minute, 20), "g2": (minute, 20)}
    others = [q for q in rows if not (q["bookmaker"] == "draftkings" and q["minute"] >= minute)]
    new = {"game_id": "g1", "player_lookup": "ann", "bookmaker": "draftkings", "data_source": "the_odds_api", "minute": minute, "half": 99, "over_price_american": -110, "under_price_american": -110, "minutes_before_tipoff": None}
    assert answer(others + [new], when)[("g1", "ann")][0] == 49.5


def quote(book, minute, half, feed="the_odds_api", over=-110, under=-110, **more):
    "One quote of the example player."
    return {"game_id": "g1", "player_lookup": "ann", "bookmaker": book, "data_source": feed, "minute": minute, "half": half, "over_price_american": over, "under_price_american": under, "minutes_before_tipoff": None, **more}


def record(rows, as_of=None, tip=600):
    "The example's line of record as a dict."
    r = line_of_record(frame(rows), asof_frame({"g1": (as_of, tip)}), BOOKS, FEEDS)
    return r.row(0, named=True) if r.height else None


def test_at_the_tip_is_in_game_and_at_as_of_is_known():
    "Would catch < and <= exchanged at either bound."
    rows = [quote("draftkings", 0, 40), quote("draftkings", 600, 50)]
    assert record(rows)["line"] == 20 and record(rows, as_of=600, tip=601)["line"] == 25


def test_a_line_older_than_a_day_is_used_and_flagged():
    "Would catch a stale line that is dropped, or used in silence."
    r = record([quote("draftkings", 0, 40)], tip=24*60 + 1)
    assert r["line"] == 20 and r["stale_line"] and not record([quote("draftkings", 0, 40)], tip=24*60)["stale_line"]
    assert not record([quote("draftkings", 0, 40)], as_of=60, tip=24*60 + 1)["stale_line"]


def test_unknown_tip_needs_a_certified_feed():
    "Would catch an in-game line of an odds feed where the tip-off is unknown."
    assert record([quote("draftkings", 0, 40)], tip=None) is None
    r = record([quote("draftkings", 0, 40), quote("betmgm", 0, 42, "rotowire")], tip=None)
    assert (r["line"], r["tip_verified"], r["minutes_before_tipoff"]) == (21, False, None)


def test_pickem_stands_last_and_outside_the_consensus():
    "Would catch a pick'em line that beats a sportsbook's, or enters the books' spread."
    r = record([quote("prizepicks", 9, 44, "prizepicks", None, None), quote("mybookieag", 1, 40), quote("bovada", 1, 41)])
    assert (r["bookmaker"], r["line"], r["books_count"]) == ("bovada", 20.5, 3) and r["multi_book_line_std"] == pytest.approx(statistics.stdev([20, 20.5]))


def test_best_line_then_price_and_pickem_only_alone():
    "Would catch a best line that is best for the other side, or a pick'em line offered beside a sportsbook's."
    rows = [quote("draftkings", 0, 41, over=-120, under=-105), quote("fanduel", 0, 41, over=-110, under=-110), quote("betmgm", 0, 43, over=100, under=-130), quote("prizepicks", 0, 30, "prizepicks", None, None)]
    best = {r["side"]: r for r in best_lines(frame(rows), asof_frame({"g1": (None, 600)}), BOOKS, FEEDS).iter_rows(named=True)}
    assert (best["OVER"]["best_line"], best["OVER"]["best_sportsbook"]) == (20.5, "fanduel") and (best["UNDER"]["best_line"], best["UNDER"]["best_sportsbook"]) == (21.5, "betmgm")
    alone = best_lines(frame(rows[-1:]), asof_frame({"g1": (None, 600)}), BOOKS, FEEDS)
    assert alone["best_line"].to_list() == [15, 15] and alone["best_price_american"].null_count() == 2


def test_game_lines_are_medians_of_each_books_latest():
    "Would catch a total of the running game, or a book counted twice."
    rows = [("draftkings", "totals", 1, 220.5), ("draftkings", "totals", 5, 222.5), ("fanduel", "totals", 2, 224.5), ("fanduel", "spreads", 2, -4.5), ("draftkings", "totals", 700, 250.5)]
    f = pl.DataFrame([{"game_id": "g1", "bookmaker": b, "market_key": m, "snapshot_timestamp": at(t), "line_point": x, "minutes_before_tipoff": None} for b, m, t, x in rows], schema_overrides={"snapshot_timestamp": UTC, "minutes_before_tipoff": pl.Int64})
    assert game_lines_of_record(f, asof_frame({"g1": (None, 600)})).row(0) == ("g1", 223.5, -4.5, 2, 1)
    assert game_lines_of_record(f, asof_frame({"g1": (3, 600)})).row(0) == ("g1", 222.5, -4.5, 2, 1)
    assert game_lines_of_record(f, asof_frame({"g1": (None, None)})).height == 0


def test_the_tip_is_taken_as_it_was_known():
    "Would catch a replay that knows of a moved tip-off before it was announced."
    s = pl.DataFrame({"game_id": ["g1"], "game_start_utc": [at(300)], "first_game_start_utc": [at(600)], "tip_known_at": [at(100)]})
    tips = [as_of_frame(s, t)["game_start_utc"].item() for t in (at(50), at(150), None)]
    assert tips == [at(600), at(300), at(300)]


def test_empty_frames_give_empty_answers():
    "Would catch a slate without lines that raises."
    assert line_of_record(frame([]), asof_frame({"g1": (None, 600)}), BOOKS, FEEDS).height == 0
    assert best_lines(frame([]), asof_frame({"g1": (None, 600)}), BOOKS, FEEDS).height == 0


needs_data = pytest.mark.skipif(real_data() is None, reason="set NBPROPS_DATA to the folder of real feeds")


@pytest.fixture(scope="module")
def landed():
    "Schedule and lines of the real feeds, adapted in memory."
    from nbprops.data import feeds_parquet, sources
    from nbprops.data.intake import derive_minutes, nothing_known
    files = [sources.open_file(real_data()/f"{n}.parquet") for n in ("team_games", "player_box", "prop_line_snapshots")]
    batches, known = sources.adapt_all(files, nothing_known())
    props = next(b.rows for _, b in batches if b.table == feeds_parquet.PROPS)
    return known.games, derive_minutes(props, known.games)


@needs_data
def test_agrees_with_the_reference_on_real_lines(landed):
    "Would catch a rule that is coherent and still not the field's: 99.9 % of each season's player-dates that have a game, medians apart."
    games, props = landed
    r = line_of_record(props, as_of_frame(games), BOOKS, FEEDS)
    ids = props.select("game_id", "player_lookup", "game_date", player_id="nba_player_id").unique()
    answers = pl.read_parquet(real_data()/"prop_consensus.parquet", columns=["player_id", "game_date", "season", "line", "line_book"]).filter(pl.col("line_book") != "sportsbook_median")
    both = answers.join(r.join(ids, on=["game_id", "player_lookup"]).select("player_id", "game_date", ours="line"), on=["player_id", "game_date"], how="left")
    seasons = both.group_by("season").agg(n=pl.col("ours").len(), without=pl.col("ours").null_count(), equal=(pl.col("ours") == pl.col("line")).sum()).to_dicts()
    assert len(seasons) == 2 and sum(s["without"] for s in seasons) == 122
    assert all(s["equal"] >= .999*(s["n"] - s["without"]) for s in seasons)


@needs_data
def test_shuffled_real_lines_give_the_same_record(landed):
    "Would catch a tie in real data that the order does not break."
    games, props = landed
    some = props.filter(pl.col("game_date").dt.year() == 2024)
    a, b = (line_of_record(x, as_of_frame(games), BOOKS, FEEDS) for x in (some, some.sample(fraction=1, shuffle=True, seed=3)))
    assert a.equals(b)
