"The back-fill of features: what is done is known from facts, a killed job goes on, one table alone says what no longer fits."
import os, shutil, signal
from datetime import date, timedelta
import numpy as np
import polars as pl
import pytest
from nbprops.data.jobs import STATE, job_status
from nbprops.data.marks import marks, stretch_marks
from nbprops.data.tables import table
from nbprops.data.warehouse import Warehouse
from nbprops.features.facts import SOURCES
from nbprops.features.precompute import DEFENSE
from nbprops.features.store import BEFORE_THE_GAME, STORE, TABLES
from nbprops.ops import backfill
from nbprops.ops.backfill import PROCESSORS, backfill_features, input_marks
from nbprops.settings import Refusal
from tests.forks import script

FIRST, LAST = date(2025, 10, 21), date(2025, 12, 19)
BOX = SOURCES["box"]

@pytest.fixture(scope="module")
def bare(league, tmp_path_factory):
    "The light league before anything was computed."
    path = tmp_path_factory.mktemp("bare")/"w.duckdb"
    shutil.copy(league.path, path)
    wh = Warehouse(path)
    with wh.transaction() as tx:
        for name in TABLES: tx.sql(f"DELETE FROM {name} WHERE TRUE")
    return wh

@pytest.fixture(scope="module")
def whole(bare, tmp_path_factory):
    "The same, filled in one piece; never written by a test."
    path = tmp_path_factory.mktemp("whole")/"w.duckdb"
    shutil.copy(bare.path, path)
    fill(Warehouse(path))
    return Warehouse(path)

def copied(wh, folder) -> Warehouse:
    "A private copy."
    shutil.copy(wh.path, folder/"mine.duckdb")
    return Warehouse(folder/"mine.duckdb")

@pytest.fixture
def raw(bare, tmp_path): return copied(bare, tmp_path)

@pytest.fixture
def done(whole, tmp_path): return copied(whole, tmp_path)

def fill(wh, **k): return backfill_features(wh, k.pop("start", FIRST), k.pop("end", LAST), quiet=True, **k)

def stored(wh) -> dict[str, pl.DataFrame]:
    "What the nine tables say, without their times."
    return {n: wh.sql(f"SELECT {', '.join(table(n).content)} FROM {n} ORDER BY {', '.join(table(n).key)}") for n in TABLES}

def same(a: dict, b: dict) -> list[str]: return [n for n in a if not a[n].equals(b[n])]

def correct(wh, day: date) -> None:
    "One more point for somebody."
    assert wh.write(BOX, wh.read(BOX, day, day).filter(pl.col("points") > 9).head(1).with_columns(points=pl.col("points") + 1)).written == 1

@pytest.mark.parametrize("seed", range(4))
def test_marks_of_stretches_agree_with_a_slow_oracle(seed):
    "Would catch an off-by-one at either end of a stretch, or days without rows."
    r = np.random.default_rng(seed)
    days = [date(2026, 1, 1) + timedelta(int(i)) for i in sorted(r.choice(60, 25, replace=False))]
    rows = pl.DataFrame({"day": days*2, "mark": pl.Series(r.integers(1, 2**62, 50), dtype=pl.UInt64)})
    lo = [date(2025, 12, 20) + timedelta(int(i)) for i in r.integers(0, 80, 40)]
    hi = [d + timedelta(int(i)) for d, i in zip(lo, r.integers(0, 30, 40))]
    def slow(a, b):
        out = 0
        for d, m in rows.iter_rows():
            if a <= d <= b: out ^= m
        return out
    assert stretch_marks(rows, pl.Series(lo), pl.Series(hi)).to_list() == [slow(a, b) for a, b in zip(lo, hi)]
    assert stretch_marks(rows.clear(), pl.Series(lo), pl.Series(hi)).to_list() == [0]*40

@pytest.mark.parametrize("change", ["INSERT", "DELETE", "UPDATE"])
def test_any_change_of_a_day_moves_its_mark_and_no_other(raw, change):
    "Would catch a mark that sees only new rows, or only counts."
    look, day = lambda: marks(raw, [BOX], FIRST, LAST), date(2025, 11, 20)
    before, rows = look(), raw.read(BOX, day, day)
    if change == "DELETE": raw.sql(f"DELETE FROM {BOX} WHERE game_date = @d AND player_lookup = @p", d=day, p=rows["player_lookup"][0])
    else: raw.write(BOX, rows.head(1).with_columns(pl.lit("somebody_new").alias("player_lookup") if change == "INSERT" else pl.col("points").fill_null(0) + 1))
    assert before.filter(before["mark"] != look()["mark"])["day"].to_list() == [day]

def test_chunks_and_workers_change_nothing(raw, whole, monkeypatch):
    "Would catch a row that depends on where a chunk begins, or two threads that write into each other."
    monkeypatch.setattr(backfill, "CHUNK_DAYS", 20)
    m = fill(raw, workers=3)
    assert m.counts.written > 10_000 and len(m.dates) == 60 and not same(stored(raw), stored(whole))
    assert job_status(raw, "phase4").equals(job_status(whole, "phase4"))

def test_a_correction_does_what_it_can_have_touched(done):
    "Would catch a job that is done for ever, and one that does everything again; a full computation is the oracle."
    assert fill(done).skipped == 60 and not fill(done).rows
    correct(done, day := date(2025, 12, 5))
    m = fill(done)
    assert set(m.dates) == {day + timedelta(i) for i in range((LAST - day).days + 1)} and 0 < m.counts.written < 100
    assert fill(done, resume=False).counts.written == 0

@pytest.mark.parametrize("what", ["props", "injuries", "schedule", "shots", "game_lines", "team_box"])
def test_every_feed_is_watched(done, what):
    "Would catch a feed that the marks forgot."
    name, day = SOURCES[what], date(2025, 12, 10)
    done.sql(f"DELETE FROM {name} WHERE {table(name).partition} = @d", d=day)
    assert min(fill(done, dry_run=True).dates) == day

def test_rows_that_went_missing_come_back(done, whole):
    "Would catch a command that a refusal recommends and that then finds nothing to do."
    done.sql(f"DELETE FROM {STORE} WHERE game_date = @d", d=(day := date(2025, 12, 5)))
    assert list(fill(done).dates) == [day] and not same(stored(whole), stored(done))

def test_one_table_says_what_no_longer_fits(done, whole):
    "Would catch a named processor that writes more, or keeps silent about the others; the counts are compared with what the whole command then writes."
    correct(done, date(2025, 12, 9))
    m = fill(done, processor="player_daily_cache")
    assert same(stored(whole), stored(done)) == [PROCESSORS["player_daily_cache"]] and any("ml_feature_store_v2" in n for n in m.notes)
    stale = {n.split(" of ")[1].split(";")[0]: int(n.split()[2].replace(",", "")) for n in m.notes if n.startswith("stale now")}
    wrote = {n.split(":")[0]: int(n.split()[-2].replace(",", "")) for n in fill(done).notes}
    assert stale == {k: v for k, v in wrote.items() if v and k in {t.split(".")[1] for t in PROCESSORS.values()}}
    with pytest.raises(Refusal, match="processor"): fill(done, processor="cache")

def test_a_month_without_boxes_is_not_done(raw):
    "Would catch a missing month that looks like a quiet one: the few teams that are left would be taken for the slate."
    raw.sql(f"DELETE FROM {BOX} WHERE game_date BETWEEN '2025-10-25' AND '2025-11-30'")
    m = fill(raw, start=date(2025, 11, 2), end=date(2025, 11, 12))
    by = {d: (s, {r["failure_class"] for r in m.rows if r["game_date"] == d}) for d, s in m.dates.items()}
    assert by[date(2025, 11, 3)] == ("EMPTY_OK", {"INSUFFICIENT_DATA"}) and by[date(2025, 11, 10)] == ("FAILED", {"MISSING_UPSTREAM"}) and m.exit_code == 1
    assert "games of the 30 days before have no box score" in str(m)

def test_an_evening_waits_for_the_one_before(done, monkeypatch):
    "Would catch a slate that counts as done although last night's box scores are not there."
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-10T15:00:00Z")
    yesterday, tonight = date(2025, 12, 9), date(2025, 12, 10)
    kept = done.read(BOX, yesterday, yesterday)
    done.sql(f"DELETE FROM {BOX} WHERE game_date = @d", d=yesterday)
    m = fill(done, start=tonight, end=tonight)
    assert m.dates == {tonight: "PENDING"} and {r["failure_class"] for r in m.rows} == {"EXPECTED_INCOMPLETE"} and m.exit_code == 0 and m.total("rows_written") > 0
    done.write(BOX, kept)
    assert fill(done, start=tonight, end=tonight).dates == {tonight: "OK"}

def test_refused_rows_are_no_success(done, monkeypatch):
    "Would catch a job that is green although rows were refused."
    real = backfill.stored_counts
    lost = pl.when(pl.col("game_date") == date(2025, 12, 5)).then(pl.lit(30)).when(pl.col("game_date") == date(2025, 12, 6)).then(pl.lit(3)).otherwise(0)*(pl.col("processor") == "player_daily_cache")
    monkeypatch.setattr(backfill, "stored_counts", lambda *a: real(*a).with_columns(rows_written=pl.col("rows_written") - lost))
    m = fill(done, start=date(2025, 12, 4), resume=False)
    assert {d.day: s for d, s in m.dates.items() if s not in ("OK", "EMPTY_OK")} == {5: "FAILED", 6: "PARTIAL"} and {r["failure_class"] for r in m.rows if r["status"] not in ("OK", "EMPTY_OK")} == {"PROCESSING_ERROR"} and m.exit_code == 1
    monkeypatch.undo()
    assert {d.day for d in fill(done, dry_run=True).dates} == {5, 6}

def test_no_rows_expected_is_no_refusal(done, monkeypatch):
    "Would catch a share of nothing that counts as too much: a table that has no rows on a slate would fail its date for ever."
    real = backfill.build
    monkeypatch.setattr(backfill, "build", lambda *a: (b := real(*a)) | {DEFENSE: b[DEFENSE].head(0)})
    m = fill(done, start=LAST, resume=False)
    said = {r["processor"]: (r["status"], r["rows_expected"], r["rows_written"]) for r in m.rows}
    assert said["team_defense_zone_analysis"] == ("OK", 0, 0) and {s for s, *_ in said.values()} == {"OK"} and m.exit_code == 0

CHILD = """
import os, signal, sys
from datetime import date
from nbprops.data.warehouse import Warehouse
from nbprops.ops import backfill
backfill.CHUNK_DAYS, real, calls = 20, backfill.write_features, []
def dying(*a, **k):
    calls.append(1)
    out = real(*a, **k)
    if len(calls) == 2: {death}
    return out
backfill.write_features = dying
backfill.backfill_features(Warehouse(sys.argv[1]), date(2025, 10, 21), date(2025, 12, 19), quiet=True)
"""

@pytest.mark.parametrize("death, left", [("os.kill(os.getpid(), signal.SIGKILL)", "STARTED"), ("raise KeyboardInterrupt", "INTERRUPTED")])
def test_a_killed_job_goes_on(raw, whole, death, left):
    "Killed after the rows of the second stretch and before their state: would catch a state that is believed too early, and a job that begins again from the first date."
    out = script(CHILD.format(death=death), raw.path).end()
    assert out.returncode != 0 and (out.returncode == -signal.SIGKILL) == (left == "STARTED")
    assert raw.sql("SELECT status, exit_code FROM nba_orchestration.run_ledger WHERE command = 'backfill phase4'").rows() == [(left, None if left == "STARTED" else 130)]
    known = raw.sql(f"SELECT COUNT(DISTINCT game_date) AS n FROM {STATE}").item()
    m = fill(raw)
    assert known == m.skipped == 20 and len(m.dates) == 40 and m.counts.present > 0 and not same(stored(raw), stored(whole))

def test_inputs_that_change_while_it_works_are_done_again(done, monkeypatch):
    "Would catch a mark that is taken after the work, so that a feed landing in between is never read."
    real = backfill.write_features
    def landing(wh, *a, **k):
        out = real(wh, *a, **k); correct(wh, date(2025, 12, 5)); return out
    monkeypatch.setattr(backfill, "write_features", landing)
    fill(done, start=date(2025, 12, 4), resume=False); monkeypatch.undo()
    assert min(fill(done, dry_run=True).dates) == date(2025, 12, 5)

def test_later_days_do_not_reach_back(raw):
    "Would catch a mark that depends on what came after its date."
    before = input_marks(raw, FIRST, LAST)
    correct(raw, LAST)
    moved = before.filter(before["mark"] != input_marks(raw, FIRST, LAST)["mark"])["game_date"].to_list()
    assert moved == [LAST] and {t for t in TABLES if t in BEFORE_THE_GAME} >= set(PROCESSORS.values())

@pytest.mark.real
def test_real_season_twice(tmp_path):
    "The real feeds: everything is accounted for, and a second run does nothing."
    from pathlib import Path
    from nbprops.story import load_feeds
    wh = Warehouse(tmp_path/"real.duckdb"); wh.migrate()
    load_feeds(Path(os.environ["NBPROPS_DATA"]), wh)
    span = dict(start=date(2025, 12, 1), end=date(2026, 1, 15))
    m = fill(wh, **span)
    c = m.counts
    assert m.exit_code == 0 and m.n("OK") >= 40 and c.read == c.written + c.quarantined + c.present and not fill(wh, **span).rows
