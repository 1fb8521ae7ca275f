"Serving under attack: races, kills, full disks, warehouses that go away, and thousands of bad rows; nothing is lost, doubled or half-written, and whatever is refused is counted and named."
import json, os, resource, shutil, subprocess
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
import numpy as np, polars as pl, pytest
from hypothesis import given, settings, strategies as st
import nbprops.data.warehouse as warehouse
from nbprops.data.rules import RULES, check
from nbprops.data.tables import table
from nbprops.data.warehouse import Warehouse
from nbprops.model.registry import REGISTRY
from nbprops.predict.publish import FATES, LOG, Receipt, publish, settled
from nbprops.settings import Broken, Refusal
from tests.predict_world import LAST, PRED, copy_world, utc
from tests.serving_child import code, start
from tests.serving_invariants import everything, invariants, served_rows

NOON, ONE, LATER = "2025-12-19T16:30:00Z", "2025-12-19T17:00:00Z", "2025-12-19T17:20:00Z"
SLATE = dict(days=(LAST, LAST))

@pytest.fixture(scope="module")
def noon(light_home, tmp_path_factory):
    "The world after its first run, with a published copy and some lines that have moved since."
    home = tmp_path_factory.mktemp("noon")/"home"
    wh, _, worker = copy_world(light_home, home)
    with pytest.MonkeyPatch.context() as m:
        m.setenv("NBPROPS_HOME", str(home)); m.setenv("NBPROPS_NOW", NOON)
        worker().predict(LAST, mode="SAME_DAY")
    who = wh.sql(f"SELECT DISTINCT player_lookup FROM {PRED} WHERE has_prop_line ORDER BY 1")["player_lookup"].to_list()
    wh.sql("UPDATE nba_raw.odds_api_player_points_props SET points_line = points_line + 1 WHERE game_date = @d AND player_lookup <= @p", d=LAST, p=who[len(who)//2])
    wh.publish()
    return home

@pytest.fixture
def served(noon, tmp_path): return copy_world(noon, tmp_path/"home")

def said(home, name="said"): return (home/name).read_text()

# --- races

@pytest.mark.parametrize("round", [0, *(pytest.param(i, marks=pytest.mark.full) for i in range(1, 6))])
def test_two_workers_a_backfill_and_an_analyst(served, tmp_path, round):
    "Would catch a doubled or a lost row, a torn chain, or an open notebook that blocks a writer."
    wh, home = served[0], tmp_path/"home"
    analyst = start(home, "watch", said="analyst", pause=.01)
    jobs = [("predict", dict(now=ONE, mode="SAME_DAY", force=True)), ("predict", dict(now="2025-12-19T16:55:00Z", mode="RETRY", force=round % 2 == 0)), ("predict", dict(mode="BACKFILL", force=True)), ("publish", {})]
    order = jobs[round % 4:] + jobs[:round % 4]
    running = [start(home, job, said=f"job{i}", **(how | (SLATE if job == "predict" else {}))) for i, (job, how) in enumerate(order)]
    assert [code(p) for p in running] == [0]*4, [said(home, f"job{i}") for i in range(4)]
    (home/"enough").touch()
    assert code(analyst) == 0 and int(said(home, "asked")) > 2, said(home, "analyst")
    assert invariants(wh) == {}
    runs = wh.sql(f"SELECT prediction_run_mode, COUNT(*) AS n FROM {PRED} WHERE is_active GROUP BY 1")
    assert runs["prediction_run_mode"].to_list() == ["BACKFILL"] # the only clock that is not a replayed one
    assert wh.sql(f"SELECT COUNT(*) AS n, COUNT(DISTINCT CONCAT(game_id, player_lookup, system_id)) AS k FROM {PRED} WHERE is_active").row(0) == (runs["n"][0],)*2

def test_the_run_that_looked_first_and_writes_last_replaces_nothing(served, monkeypatch):
    "Would catch a slow run that puts its older knowledge over a newer row of equal key."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", LATER)
    worker().predict(LAST, mode="RETRY", force=True)
    before = served_rows(wh)
    monkeypatch.setenv("NBPROPS_NOW", ONE)
    r = worker().predict(LAST, mode="SAME_DAY", force=True)
    n = r.receipt.counts
    assert n.set_aside == {"older than the row that stands": before.height} and n.written == 0 and n.read == before.height
    assert served_rows(wh).equals(before) and invariants(wh) == {}
    assert wh.sql("SELECT COUNT(*) FROM nba_predictions.prediction_versions WHERE replaced_by IS NOT NULL AND predicted_at = @t", t=datetime.fromisoformat(ONE)).item() == before.height

# --- kills

def killed_at(home, n: int):
    "A forced run at one o'clock that dies before its n-th statement."
    return code(start(home, "predict", stop=n, now=ONE, mode="SAME_DAY", force=True, **SLATE))

@pytest.fixture(scope="module")
def undisturbed(noon, tmp_path_factory):
    "The same run without a kill: its statements, the tables after it, and the rows of a run that follows."
    home = tmp_path_factory.mktemp("whole")/"home"
    wh = copy_world(noon, home)[0]
    before = everything(wh)
    assert killed_at(home, 0) == 0, said(home)
    statements = said(home, "said.log").splitlines()
    assert invariants(wh) == {}
    assert code(start(home, "predict", now=LATER, mode="RETRY", force=True, **SLATE)) == 0
    return statements, before, served_rows(wh)

def attacked(noon, home, n: int, undisturbed, follow: bool) -> str:
    "Kill a run at a statement and look at everything; returns which side of the commit it fell on."
    statements, before, after = undisturbed
    wh = copy_world(noon, home)[0]
    assert killed_at(home, n) == -9, f"statement {n} was not reached: {said(home)}"
    now_ = everything(wh)
    committed = n > len(statements) - 1 - statements[::-1].index("COMMIT") + 1
    shape = lambda d: {k: len(v) for k, v in d.items()}
    assert (now_ == before) != committed and (not committed or shape(now_)["slate_publications"] == shape(before)["slate_publications"] + 1)
    assert invariants(wh, dead=True) == {}
    if follow:
        assert code(start(home, "predict", now=LATER, mode="RETRY", force=True, **SLATE)) == 0, said(home)
        assert invariants(wh) == {} and served_rows(wh).equals(after)
        marks = wh.sql(f"SELECT DISTINCT status, error_message FROM {LOG} WHERE execution_start_timestamp = @t", t=datetime.fromisoformat(ONE)).rows()
        assert {s for s, _ in marks} == {"completed"} if committed else set(marks) <= {("failed", "the process ended")}, marks
    return "after" if committed else "before"

def test_killed_between_statements(noon, tmp_path, undisturbed):
    "Would catch a half-written slate, a warehouse that does not open, a mark that is never closed, or a next run that differs."
    statements = undisturbed[0]
    begins = [i for i, s in enumerate(statements) if s.endswith("BEGIN")][-1]
    write = range(begins + 3, len(statements) + 1)
    commit = len(statements) - statements[::-1].index("COMMIT")
    points = sorted({begins, *(write[int(f*(len(write) - 1))] for f in (.3, .65)), commit, commit + 1})
    sides = [attacked(noon, tmp_path/str(n), n, undisturbed, follow=n in (points[2], points[-1])) for n in points]
    assert sides == ["before"]*(len(points) - 1) + ["after"] and len(statements) > 60

@pytest.mark.full
def test_killed_between_any_two_statements(noon, tmp_path, undisturbed):
    "Would catch the one statement after which a kill leaves something behind."
    for n in range(1, len(undisturbed[0]) + 1):
        attacked(noon, tmp_path/str(n), n, undisturbed, follow=n % 4 == 0)
        shutil.rmtree(tmp_path/str(n))

def test_a_killed_publisher_leaves_the_old_copy(noon, served, tmp_path):
    "Would catch a torn copy, or unfinished copies that pile up."
    wh, home = served[0], tmp_path/"home"
    copy_world(noon, tmp_path/"whole")
    assert code(start(tmp_path/"whole", "publish")) == 0
    steps = said(tmp_path/"whole", "said.log").splitlines()
    copy = home/"nbprops.snapshot.duckdb"
    before = copy.read_bytes()
    for what in ("CHECKPOINT", "close"): assert code(start(home, "publish", stop=steps.index(what) + 1)) == -9
    assert copy.read_bytes() == before
    dead = home/"nbprops.snapshot.duckdb.0123abcd"
    dead.write_bytes(b"half"); os.utime(dead, (0, 0))
    assert wh.publish() == copy and not dead.exists() and sorted(p.name for p in home.glob("*.duckdb*")) == ["nbprops.duckdb", "nbprops.snapshot.duckdb"]

# --- disks

@contextmanager
def no_room(limit: int): # bytes per file
    "A disk that takes no file beyond a size."
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, was[1]))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, was)

def sentence(e: Refusal, *words: str) -> None:
    "One line that a person can act on."
    assert len(str(e).splitlines()) == 1 and "Mend:" in str(e) and "Traceback" not in str(e)
    assert all(w in str(e) for w in words), str(e)

def test_a_disk_that_fills_up(served, tmp_path, monkeypatch):
    "Would catch a traceback, half a slate, a torn copy, a torn snapshot of the registry, or a warehouse that needs more than room."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home")); monkeypatch.setenv("NBPROPS_NOW", ONE)
    w, before, files = worker(), everything(wh), sorted(p.name for p in (tmp_path/"home").iterdir())
    registry = (tmp_path/"home"/"worker"/"registry.json").read_bytes()
    for limit in (4096, 60_000): # not even the mark; the mark, but not the slate
        with no_room(limit), pytest.raises(Broken) as e: w.predict(LAST, mode="SAME_DAY", force=True)
        sentence(e.value, "file system", "File too large", "nbprops.duckdb")
        assert everything(wh) == before and invariants(wh, dead=True) == {} and e.value.exit_code == 3
    with no_room(60_000), pytest.raises(Broken) as e: wh.publish()
    sentence(e.value, "file system", "File too large")
    assert sorted(p.name for p in (tmp_path/"home").iterdir() if p.name != "staging") == files # the rows of the failed runs are kept apart, whole
    assert not [p for p in (tmp_path/"home"/"staging").glob("*") if p.suffix not in (".parquet", ".json")]
    with no_room(500): assert any("snapshot" in x for x in worker().fleet.warnings)
    assert (tmp_path/"home"/"worker"/"registry.json").read_bytes() == registry
    assert w.predict(LAST, mode="SAME_DAY", force=True).written and wh.publish().exists() and invariants(wh, dead=True) == {}

@pytest.fixture
def small_disk(tmp_path):
    "A file system of 24 MB."
    at = tmp_path/"small"
    at.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(at)], capture_output=True).returncode: pytest.skip("this user may not mount a file system")
    try: yield at
    finally: subprocess.run(["umount", "-l", str(at)], check=True)

def fill(at: Path) -> Path:
    "Take all room but a few pages."
    free = shutil.disk_usage(at).free
    (at/"ballast").write_bytes(b"0"*(free - 16_384))
    return at/"ballast"

def test_a_real_disk_that_is_full_and_then_read_only(noon, small_disk, monkeypatch):
    "Would catch an error of the system that the size limit does not imitate."
    home = small_disk/"home"
    wh, _, worker = copy_world(noon, home)
    (home/"nbprops.snapshot.duckdb").unlink()
    monkeypatch.setenv("NBPROPS_HOME", str(home)); monkeypatch.setenv("NBPROPS_NOW", ONE)
    w, before, ballast = worker(), everything(wh), fill(small_disk)
    for act in (lambda: w.predict(LAST, mode="SAME_DAY", force=True), wh.publish):
        with pytest.raises(Broken, match="No space left") as e: act()
        sentence(e.value, str(small_disk))
    assert everything(wh) == before and not list(home.glob("*.snapshot*"))
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for act in (lambda: w.predict(LAST, mode="SAME_DAY", force=True), wh.publish, lambda: wh.sql("SELECT 1")):
        with pytest.raises(Refusal) as e: act()
        sentence(e.value, "ead-only")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert w.predict(LAST, mode="SAME_DAY", force=True).written and invariants(wh, dead=True) == {}

# --- a warehouse that goes away

AWAY = {"renamed": lambda p: p.rename(p.with_name("away")), "unlinked": lambda p: p.unlink(), "a folder": lambda p: (p.unlink(), p.mkdir()), "garbage": lambda p: p.write_bytes(b"this block is no database "*4000),
        "torn": lambda p: os.truncate(p, p.stat().st_size//2), "an empty file": lambda p: p.write_bytes(b""), "an older copy": lambda p: os.replace(p.with_name("older.duckdb"), p), "an empty database": lambda p: os.replace(p.with_name("empty.duckdb"), p)}

@pytest.mark.parametrize("fault", [f if f in ("renamed", "a folder", "torn", "an older copy") else pytest.param(f, marks=pytest.mark.full) for f in AWAY])
def test_the_warehouse_goes_away_in_mid_run(served, tmp_path, monkeypatch, fault):
    "Would catch an empty warehouse in its place, a write into another one, or a traceback."
    import duckdb, nbprops.predict.worker as module
    wh, _, worker = served
    shutil.copy(wh.path, tmp_path/"home"/"older.duckdb"); duckdb.connect(str(tmp_path/"home"/"empty.duckdb")).close()
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home")); monkeypatch.setenv("NBPROPS_NOW", ONE)
    w, real = worker(), module.forecast
    monkeypatch.setattr(module, "forecast", lambda *a: (out := real(*a), AWAY[fault](wh.path))[0])
    with pytest.raises(Refusal) as e: w.predict(LAST, mode="SAME_DAY", force=True)
    sentence(e.value)
    assert e.value.exit_code in (2, 3) and "nbprops.duckdb" in str(e.value) + "nbprops.duckdb"*(fault == "an older copy")
    assert wh.path.exists() == (fault not in ("renamed", "unlinked")) and wh.path.is_dir() == (fault == "a folder")
    if fault == "an older copy": assert everything(wh) == everything(Warehouse(tmp_path/"home"/"nbprops.duckdb")) and invariants(wh, dead=True) == {} and "replaced" in str(e.value)
    if fault == "renamed":
        (tmp_path/"home"/"away").rename(wh.path)
        monkeypatch.setattr(module, "forecast", real); monkeypatch.setenv("NBPROPS_NOW", LATER)
        assert w.predict(LAST, mode="RETRY", force=True).written and invariants(wh) == {}

@pytest.mark.parametrize("fault", ["renamed", "unlinked"])
def test_the_warehouse_goes_away_inside_a_transaction(served, fault):
    "Would catch rows that are written into a file that nobody can find any more, and called written."
    wh = served[0]
    with pytest.raises(Broken, match="moved away or replaced"):
        with wh.transaction() as tx:
            tx.sql("UPDATE nba_predictions.model_registry SET notes = 'x'")
            AWAY[fault](wh.path)
    assert not wh.path.exists() and not wh.path.with_name("nbprops.duckdb.wal").exists()

def test_a_file_that_vanishes_while_it_is_waited_for(wh, monkeypatch):
    "Would catch an empty warehouse that is made because the busy one went away."
    import duckdb
    def busy(path, read_only):
        wh.path.unlink(missing_ok=True)
        raise duckdb.IOException("Could not set lock on file: Conflicting lock is held in /usr/bin/python3 (PID 1)")
    monkeypatch.setattr(warehouse, "_open", busy)
    with pytest.raises(Refusal, match="No warehouse"): wh.sql("SELECT 1")
    assert not wh.path.exists()

def test_a_damaged_block_is_not_a_busy_file(wh, monkeypatch):
    "Would catch a wait of half a minute for a lock that is only part of the word block."
    import duckdb
    def torn(path, read_only): raise duckdb.IOException("Corrupt database file: computed checksum 1 does not match stored checksum 2 in block 7")
    monkeypatch.setattr(warehouse, "_open", torn); monkeypatch.setattr(warehouse, "BUSY_SECONDS", 0.0)
    with pytest.raises(Refusal, match="cannot be opened.*checksum"): wh.sql("SELECT 1")

# --- a registry that returns nonsense

NONSENSE = {"sha256 of another file": "sha256 = REPEAT('0', 64)", "no path": "gcs_path = ''", "a contract that is not": "contract_hash = 'x'", "dates from the future": "training_end_date = DATE '2999-01-01'", "two names": "system_id = 'catboost_v9'", "control characters": "model_file_name = CONCAT('a', CHR(10), 'b')"}

@pytest.mark.parametrize("fault", [f if f in ("two names", "control characters") else pytest.param(f, marks=pytest.mark.full) for f in NONSENSE])
def test_nonsense_in_the_registry_serves_nothing_wrong(served, tmp_path, monkeypatch, fault):
    "Would catch a row whose attribution is what a broken registry said."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home")); monkeypatch.setenv("NBPROPS_NOW", ONE)
    before, good = everything(wh), {r[0] for r in wh.sql(f"SELECT sha256 FROM {REGISTRY}").iter_rows()}
    wh.sql(f"UPDATE {REGISTRY} SET {NONSENSE[fault]}")
    try: worker().predict(LAST, mode="SAME_DAY", force=True)
    except Refusal as e: sentence(e); assert everything(wh) == before
    assert invariants(wh, dead=True) == {} and set(wh.sql(f"SELECT DISTINCT model_sha256 FROM {PRED} WHERE model_sha256 IS NOT NULL")["model_sha256"]) <= good

# --- ten thousand bad rows

AT, SHA = utc(2026, 2, 2, 12), "0123456789abcdef"*4
FIELDS = dict(team_abbr="BOS", opponent_team_abbr="NYK", recommendation="PASS", line_source="ACTUAL_PROP", prediction_run_mode="SAME_DAY", model_id="m", model_version="v1", model_family="v9_mae", model_load_source="REGISTRY", attribution_source="recorded", feed_profile="box",
    build_commit_sha="c", deployment_revision="local", predicted_points=20.25, confidence_score=.8, line_value=20.5, line_margin=-.25, p_over=.4, p_push=.1, no_vig_over=.5, expected_value=-.1, has_prop_line=True, is_active=True, is_actionable=False, prediction_made_before_game=True,
    tip_verified=True, line_minutes_before_game=90, model_file_name="m.cbm", model_training_start_date=date(2025, 11, 1), model_training_end_date=date(2026, 1, 31), model_expected_mae=4.5, model_expected_hit_rate=55.0, model_trained_at=AT, model_sha256=SHA,
    predicted_at=AT, created_at=AT, updated_at=AT, sportsbook="draftkings", filter_reasons=["low_edge"])
NAN, INF, DAYS = float("nan"), float("inf"), [date(2026, 2, 2), date(2026, 2, 3)]
BAD = [ # columns of a bad row, the field that is named
    *(({c: None}, c) for c in ("prediction_id", "system_id", "player_lookup", "game_id", "game_date", "recommendation", "run_id", "model_id", "predicted_points", "confidence_score", "has_prop_line", "is_active", "predicted_at", "filter_reasons")),
    *(({"predicted_points": v}, "predicted_points") for v in (-.01, 60.01, NAN, INF, -INF, 1e300)), *(({"confidence_score": v}, "confidence_score") for v in (-1e-9, 1.001, NAN, INF)),
    *(({"line_value": v}, "line_value") for v in (20.25, 20.4, 0.0, -5.0, 60.5, 1e5, 1e30, NAN, INF)), *(({"best_line": v}, "best_line") for v in (1e7, NAN, -INF)),
    *(({"line_minutes_before_game": v}, "line_minutes_before_game") for v in (0, -3, None)), *(({c: v}, c) for c in ("p_over", "p_push", "no_vig_over") for v in (-.1, 1.1, NAN, INF)), ({"p_over": .7, "p_push": .4}, "p_over"),
    *(({c: v}, c) for c in ("expected_value", "line_margin", "feature_quality_score", "model_expected_mae") for v in (NAN, INF)),
    *(({"model_sha256": v}, "model_sha256") for v in (SHA.upper(), SHA[:63], "", SHA + "0", "g"*64)), *(({c: None}, "model_file_name") for c in ("model_file_name", "model_training_start_date", "model_training_end_date", "model_trained_at", "model_sha256"))]
ODD = [ # unusual, and right
    {"sportsbook": "a'b\"c\\d\x00\x01\x1f\n\t\u2028"}, {"player_lookup": "o'neal\"; DROP TABLE x; --"}, {"deployment_revision": "x"*100_000}, {"sportsbook": "ünï¢ødé 🏀"}, {"injury_status_at_prediction": ""}, {"line_value": None, "has_prop_line": False, "line_minutes_before_game": None, "line_margin": None, "p_over": None},
    {"predicted_at": utc(1, 1, 2)}, {"predicted_at": utc(9998, 12, 31)}, {"model_load_source": "CODE", "model_file_name": None, "model_sha256": None}, {"predicted_points": 0.0, "p_over": 0.0, "p_push": 1.0}, {"predicted_points": 60.0, "confidence_score": 1.0, "line_value": 60.0},
    {"line_value": .5}, {"expected_value": -0.0}, {"game_date": DAYS[1]}, {"filter_reasons": []}, {"filter_reasons": ["a\"b", "\x07"]}]

def generated(rng, n: int, run: str) -> tuple[pl.DataFrame, list]: # rows, per row: None or the field that must be named
    "Rows made column by column; about one in three is bad."
    kind = rng.integers(0, 3*len(BAD), n)
    odd = rng.integers(0, 2*len(ODD), n)
    own = dict(prediction_id=[f"{run}-{i}" for i in range(n)], run_id=[run]*n, player_lookup=[f"p{i}" for i in range(n)], system_id=[("alpha", "beta")[i % 2] for i in range(n)], game_id=["g1"]*n, game_date=[DAYS[0]]*n, best_line=[20.5]*n, injury_status_at_prediction=[None]*n, feature_quality_score=[90.0]*n)
    cols = own | {k: [v]*n for k, v in FIELDS.items()}
    for i in range(n):
        change = BAD[kind[i]][0] if kind[i] < len(BAD) else ODD[odd[i]] if odd[i] < len(ODD) else {}
        for k, v in change.items(): cols[k][i] = f"{v}{i}" if k == "player_lookup" and v else v
    schema = {c.name: c.frame for c in table(PRED).columns if c.name in cols}
    return pl.DataFrame(cols, schema=schema, strict=False), [BAD[k][1] if k < len(BAD) else None for k in kind]

def fresh(tmp_path_factory, blank):
    w = Warehouse(tmp_path_factory.mktemp("bad")/"w.duckdb")
    shutil.copy(blank.path, w.path)
    return w

@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    w = Warehouse(tmp_path_factory.mktemp("blank")/"w.duckdb")
    w.migrate()
    return w

def accounted(wh, rows, fields, counts) -> None:
    "Every row is written or in quarantine, once, under the field that is wrong, whole."
    bad = [i for i, f in enumerate(fields) if f]
    assert (counts.read, counts.written, counts.quarantined) == (rows.height, rows.height - len(bad), len(bad))
    q = wh.sql("SELECT rule_id, field, unit, value_text, row_json, game_date FROM nba_orchestration.quarantine")
    whole = [json.loads(t) for t in q["row_json"]]
    key = lambda r: (r["prediction_id"], r["player_lookup"], r["system_id"])
    sent = {key(r): (r, f) for r, f in zip(rows.iter_rows(named=True), fields) if f}
    assert len(whole) == len(bad) and {key(r) for r in whole} == set(sent)
    for r, rule_id, field, unit, value in zip(whole, q["rule_id"], q["field"], q["unit"], q["value_text"]):
        was, want = sent[key(r)]
        assert field == want and rule_id.startswith(f"{field}:") and unit == table(PRED).column(field).unit and value is not None, (field, want, value)
        for c in ("predicted_points", "line_value", "p_over", "sportsbook", "model_sha256"): assert r[c] == was[c] or str(was[c]) == r[c], (c, r[c], was[c])
    stands = wh.sql(f"SELECT prediction_id, is_active, sportsbook, predicted_points, line_value, player_lookup FROM {PRED}")
    good = rows.filter(pl.Series([not f for f in fields]))
    assert stands["is_active"].all() and stands.drop("is_active").sort("prediction_id").equals(good.select(stands.drop("is_active").columns).sort("prediction_id"))

@pytest.mark.parametrize("examples", [1, pytest.param(8, marks=pytest.mark.full)])
def test_ten_thousand_generated_rows(tmp_path_factory, blank, examples):
    "Would catch a bad row that is active, a good one that is lost, NaN that turns into NULL, and a refusal without its reason."
    @settings(max_examples=examples, derandomize=True)
    @given(st.integers(0, 2**32 - 1))
    def attack(seed):
        wh, rng = fresh(tmp_path_factory, blank), np.random.default_rng(seed)
        rows, fields = generated(rng, 10_000, "r1")
        assert {f for f in fields if f} == {f for _, f in BAD} # every kind occurs
        with wh.transaction() as tx: receipt = publish(tx, rows, {d: "r1" for d in DAYS}, run_id="r1")
        accounted(wh, rows, fields, receipt.counts)
        assert receipt.fates["fate"].to_list() == ["quarantined"]*receipt.counts.quarantined and {k for k, v in invariants(wh, logged=False).items()} <= {"unattributed"}
    attack()

def test_a_repeated_key_refuses_the_frame(tmp_path_factory, blank):
    "Would catch a batch of which somebody chose one of two contradicting rows."
    wh = fresh(tmp_path_factory, blank)
    rows, fields = generated(np.random.default_rng(1), 200, "r1")
    i = fields.index(None)
    with pytest.raises(Refusal, match="repeat a key") as e:
        with wh.transaction() as tx: publish(tx, pl.concat([rows, rows[i].with_columns(prediction_id=pl.lit("again"))]), {d: "r1" for d in DAYS}, run_id="r1")
    sentence(e.value)
    assert not any(everything(wh).values()) and wh.sql("SELECT COUNT(*) FROM nba_orchestration.quarantine").item() == 0

def test_a_date_that_nobody_asked_for_is_refused(tmp_path_factory, blank):
    "Would catch a row that lands in another century's partition."
    wh, (rows, fields) = fresh(tmp_path_factory, blank), generated(np.random.default_rng(2), 50, "r1")
    for d in (date(1, 1, 1), date(9999, 12, 31)):
        with pytest.raises(Refusal, match="was not asked for"):
            with wh.transaction() as tx: publish(tx, rows.with_columns(game_date=pl.lit(d)), {x: "r1" for x in DAYS}, run_id="r1")
    assert not any(everything(wh).values())

def test_a_quarantined_row_replaces_nothing(tmp_path_factory, blank):
    "Would catch a version of a row that still stands, which forbids every later replacement."
    wh, (rows, fields) = fresh(tmp_path_factory, blank), generated(np.random.default_rng(3), 60, "r1")
    good = rows.filter(pl.Series([not f for f in fields]))
    put = lambda frame, run: [publish(tx, frame.with_columns(run_id=pl.lit(run), prediction_id=pl.lit(run) + pl.col("prediction_id")), {d: run for d in DAYS}, run_id=run) for tx in [T]][0]
    for run, points in (("a", 20.0), ("b", 99.0), ("c", 21.0)):
        frame = good.with_columns(predicted_points=pl.when(pl.int_range(pl.len()) == 0).then(points).otherwise(20.0))
        with wh.transaction() as T: receipt = put(frame, run)
        assert receipt.counts.quarantined == (run == "b")
    assert wh.sql("SELECT COUNT(*) FROM nba_predictions.prediction_versions").item() == 2*good.height - 1
    assert {k for k in invariants(wh, logged=False)} <= {"unattributed"}

def test_a_row_without_a_date_is_one_finding(wh):
    "Would catch a finding that is stored again with every refusal because its date is NULL."
    rows = generated(np.random.default_rng(4), 3, "r1")[0].with_columns(game_date=pl.lit(None, pl.Date), predicted_points=pl.lit(20.0), model_sha256=pl.lit(SHA))
    for _ in range(3): assert wh.write(PRED, rows).quarantined == 3
    assert wh.sql("SELECT COUNT(*) FROM nba_orchestration.quarantine").item() == 3

def test_numbers_that_are_none_in_grades_and_features(served):
    "Would catch NaN that becomes NULL on its way into the feature store, or infinity in a graded row."
    wh = served[0]
    store = wh.read("nba_predictions.ml_feature_store_v2").drop("created_at", "build_commit_sha", "updated_at", "replay_now", strict=False)
    one = store.head(4).with_columns(team_pace=pl.Series([NAN, INF, None, 100.25]))
    got = wh.write("nba_predictions.ml_feature_store_v2", one)
    assert (got.read, got.quarantined, got.written) == (4, 2, 2)
    assert sorted(wh.sql("SELECT value_text FROM nba_orchestration.quarantine WHERE rule_id = 'team_pace:a number'")["value_text"]) == ["NaN", "inf"]
    acc = "nba_predictions.prediction_accuracy"
    base = dict(prediction_id="x", system_id="s", game_id="g", team_abbr="BOS", opponent_team_abbr="NYK", recommendation="PASS", line_source="ACTUAL_PROP", result="PASS", prediction_run_mode="EARLY", model_id="m", model_version="v", model_family="f", attribution_source="recorded", build_commit_sha="c", grading_commit_sha="c",
        game_date=DAYS[0], predicted_points=20.0, confidence_score=.5, has_prop_line=True, is_actionable=False, is_active=True, is_voided=False, prediction_made_before_game=True, grade_version=1, predicted_at=AT, graded_at=AT)
    cases = [({}, 0), ({"actual_points": 101}, 1), ({"actual_points": -1}, 1), ({"predicted_points": NAN}, 1), ({"predicted_points": 61.0}, 1), ({"clv_prob": INF}, 1), ({"line_value": 1e6}, 1), ({"result": None}, 1), ({"actual_points": 0}, 0)]
    frame = pl.DataFrame([base | {"player_lookup": f"p{i}", "actual_points": None, "clv_prob": None, "line_value": None} | c for i, (c, _) in enumerate(cases)], infer_schema_length=None)
    assert wh.write(acc, frame).quarantined == sum(n for _, n in cases) and wh.sql(f"SELECT COUNT(*) FROM {acc}").item() == 2

# --- the declared rules

A, P = "nba_analytics.", "nba_precompute."
RANGES = f"""
{A}player_game_summary | points | 0 100 | count | ERROR
{A}player_game_summary | minutes_played | 0 75 | minutes | ERROR
{A}player_game_summary | usage_rate | 0 100 | percent | ERROR
{A}player_game_summary | usage_rate | 0 50 | percent | WARN
{A}player_game_summary | ts_pct efg_pct | 0 1.5 | fraction | WARN
{A}team_offense_game_summary | points_scored | 40 200 | count | ERROR
{A}team_offense_game_summary | points_scored | 80 200 | count | WARN
{A}team_offense_game_summary | fg_attempts | 1 200 | count | ERROR
{A}team_offense_game_summary | possessions | 50 150 | * | ERROR
{A}team_offense_game_summary | pace | 70 130 | * | ERROR
{A}team_offense_game_summary | offensive_rating | 60 160 | * | ERROR
{A}team_defense_game_summary | points_allowed | 40 200 | count | ERROR
{A}team_defense_game_summary | defensive_rating | 60 160 | * | ERROR
{A}upcoming_player_game_context | current_points_line | 0.5 60 | points | ERROR
{P}player_composite_factors | fatigue_score | 0 100 | * | ERROR
{P}player_composite_factors | shot_zone_mismatch_score | -15 15 | points-like | ERROR
{P}player_composite_factors | shot_zone_mismatch_score | -10 10 | points-like | WARN
{P}player_composite_factors | pace_score usage_spike_score | -8 8 | points-like | ERROR
{P}player_composite_factors | pace_score usage_spike_score | -3 3 | points-like | WARN
{P}player_composite_factors | total_composite_adjustment | -30 30 | points-like | ERROR
{P}player_shot_zone_analysis | paint_rate_last_10 mid_range_rate_last_10 three_pt_rate_last_10 | 0 100 | percent | ERROR
{P}player_shot_zone_analysis | paint_pct_last_10 mid_range_pct_last_10 three_pt_pct_last_10 | 0 1 | fraction | ERROR
{P}player_shot_zone_analysis | paint_attempts_per_game mid_range_attempts_per_game three_pt_attempts_per_game | 0 40 | per game | ERROR
{P}player_shot_zone_analysis | total_shots_last_10 | 0 400 | count | ERROR
{P}team_defense_zone_analysis | paint_pct_allowed_last_15 mid_range_pct_allowed_last_15 three_pt_pct_allowed_last_15 | 0 1 | fraction | ERROR
{P}team_defense_zone_analysis | paint_defense_vs_league_avg mid_range_defense_vs_league_avg three_pt_defense_vs_league_avg | -15 15 | pp | ERROR
{P}team_defense_zone_analysis | paint_defense_vs_league_avg mid_range_defense_vs_league_avg three_pt_defense_vs_league_avg | -10 10 | pp | WARN
{P}team_defense_zone_analysis | paint_attempts_allowed_per_game mid_range_attempts_allowed_per_game three_pt_attempts_allowed_per_game | 0 100 | per game | ERROR
{P}team_defense_zone_analysis | opponent_points_per_game | 70 150 | * | ERROR
{P}team_defense_zone_analysis | defensive_rating_last_15 | 60 160 | * | ERROR
{P}team_defense_zone_analysis | defensive_rating_last_15 | 90 130 | * | WARN
{PRED} | predicted_points | 0 60 | points | ERROR
{PRED} | confidence_score | 0 1 | * | ERROR
{PRED} | line_value | 0.5 60 | * | ERROR
{PRED} | p_over p_push no_vig_over | 0 1 | probability | ERROR
nba_predictions.prediction_accuracy | actual_points | 0 100 | * | ERROR
nba_predictions.prediction_accuracy | predicted_points | 0 60 | * | ERROR"""
RANGE = [(t, f, *map(float, span.split()), unit, severity) for t, fields, span, unit, severity in (line.split(" | ") for line in RANGES.strip().splitlines()) for f in fields.split()]

@pytest.mark.parametrize("name, field, low, high, unit, severity", RANGE, ids=lambda v: None)
def test_every_range_is_declared(name, field, low, high, unit, severity):
    "Would catch a range that is missing, has another bound, unit or severity, or that does not fire just beyond its bound."
    rules = [r for r in RULES if r.table == name and r.field == field and r.severity == severity and r.text == f"{low:g}..{high:g}"]
    assert len(rules) == 1 and rules[0].unit == table(name).column(field).unit and (unit == "*" or rules[0].unit == unit)
    kind = table(name).column(field).frame
    step = 1 if kind.is_integer() else 1e-6
    values = pl.DataFrame({field: pl.Series([low, high, low - step, high + step, None], strict=False).cast(kind)})
    assert values.select(rules[0].broken.fill_null(False)).to_series().to_list() == [False, False, True, True, False]

OTHER = [(A + "player_game_summary", "is_dnp", dict(is_dnp=True, points=0)), *((A + "player_game_summary", m, {m: 3, a: 2}) for m, a in (("fg_makes", "fg_attempts"), ("three_pt_makes", "three_pt_attempts"), ("ft_makes", "ft_attempts"))),
    (A + "upcoming_player_game_context", "line_minutes_before_game", dict(line_minutes_before_game=0)), (A + "upcoming_player_game_context", "line_minutes_before_game", dict(has_prop_line=True, tip_verified=True)), (P + "player_shot_zone_analysis", "paint_rate_last_10", dict(paint_rate_last_10=50.0, mid_range_rate_last_10=25.0, three_pt_rate_last_10=24.8))]

@pytest.mark.parametrize("name, field, values", OTHER)
def test_every_other_rule_fires(name, field, values):
    "Would catch a rule between columns that is missing or never fires."
    row = pl.DataFrame([values], schema_overrides={k: table(name).schema()[k] for k in values}).with_columns(pl.lit(None, dtype=t).alias(k) for k, t in table(name).schema().items() if k not in values)
    assert field in check(name, row).filter((pl.col("severity") == "ERROR") & ~pl.col("rule_id").str.ends_with("not NULL"))["field"].to_list()

def test_a_rule_that_raises_is_a_bug(monkeypatch):
    "Would catch a predicate whose failure is taken for a row that is fine."
    from nbprops.data.rules import Rule
    broken = Rule(PRED, "predicted_points", "x", "ERROR", "", pl.col("no_such_column") > 0, "x")
    monkeypatch.setattr("nbprops.data.rules.RULES", [*RULES, broken])
    with pytest.raises(pl.exceptions.ColumnNotFoundError): check(PRED, pl.DataFrame({"predicted_points": [1.0]}))

@pytest.mark.parametrize("bad, status", [(0, "completed"), (1, "completed"), (2, "partial"), (10, "partial"), (11, "failed"), (100, "failed")])
def test_a_run_that_lost_rows_is_no_success(bad, status):
    "Would catch a green run whose rows are in quarantine."
    by = pl.DataFrame({"game_date": [LAST], "system_id": ["s"], "written": [100], "predicted": [100], "status": ["completed"], "finding": [None]}, schema_overrides={"finding": pl.String})
    fates = pl.DataFrame([(LAST, "g", f"p{i}", "s", "quarantined") for i in range(bad)], schema=FATES, orient="row")
    got = settled(by, Receipt(fates=fates)).row(0, named=True)
    assert (got["status"], got["written"], got["quarantined"]) == (status, 100 - bad, bad) and (not bad or f"{bad} of 100" in got["finding"])

def test_a_worker_whose_rows_are_refused_does_not_say_success(served, tmp_path, monkeypatch):
    "Would catch an execution log that calls a slate in quarantine completed."
    import nbprops.predict.worker as module
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home")); monkeypatch.setenv("NBPROPS_NOW", ONE)
    real = module.prediction_rows
    third = (pl.col("system_id") == "catboost_v9") & (pl.int_range(pl.len()) % 3 == 0)
    monkeypatch.setattr(module, "prediction_rows", lambda *a: real(*a).with_columns(p_over=pl.when(third).then(1.5).otherwise("p_over")))
    r = worker().predict(LAST, mode="SAME_DAY", force=True)
    log = {s: (status, n, text) for s, status, n, text in wh.sql(f"SELECT system_id, status, rows_written, error_message FROM {LOG} WHERE execution_id = @r", r=r.run_id).iter_rows()}
    assert log["catboost_v9"][0] == "failed" and "refused by a rule" in log["catboost_v9"][2] and log["moving_average"][0] == "completed" and r.exit_code == 1
    assert sum(n for _, n, _ in log.values()) == r.receipt.counts.written and invariants(wh) == {}
    answers = wh.sql("SELECT systems_succeeded, systems_failed FROM nba_predictions.prediction_worker_runs WHERE run_id = @r", r=r.run_id)
    assert answers["systems_succeeded"].list.len().sum() == r.receipt.counts.written and answers["systems_failed"].list.contains("catboost_v9").sum() == r.receipt.counts.quarantined

def test_a_model_that_is_blocked_in_mid_run_is_not_published(served, tmp_path, monkeypatch):
    "Would catch active rows of a blocked model because its run had read the registry before the block."
    import nbprops.predict.worker as module
    from nbprops.model.registry import Registry
    wh, store, worker = served
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home")); monkeypatch.setenv("NBPROPS_NOW", ONE)
    wh.sql("UPDATE nba_reference.nba_schedule SET game_status = 1 WHERE game_date = @d", d=LAST)
    reg, real = Registry(wh, store), module.forecast
    shadow = reg.rows("system_id = 'catboost_v9_shadow'")["model_id"][0]
    monkeypatch.setattr(module, "forecast", lambda *a: (real(*a), reg.block(shadow, "wrong"))[0])
    r = worker().predict(LAST, mode="SAME_DAY", force=True)
    assert wh.sql(f"SELECT COUNT(*) FROM {PRED} WHERE is_active AND model_id = @m", m=shadow).item() == 0 and r.receipt.counts.set_aside["its model was blocked meanwhile"] == wh.sql(f"SELECT COUNT(*) FROM {PRED} WHERE run_id = @r AND system_id = 'catboost_v9'", r=r.run_id).item() > 0
    assert wh.sql(f"SELECT status FROM {LOG} WHERE execution_id = @r AND system_id = 'catboost_v9_shadow'", r=r.run_id).item() == "failed" and r.exit_code == 0 and invariants(wh) == {}

# --- the clock and the slate

def test_a_tip_that_moves_to_an_earlier_time(served, tmp_path, monkeypatch):
    "Would catch minutes before the game that stay too long, and a row that calls itself pre-game though the game had begun."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home")); monkeypatch.setenv("NBPROPS_NOW", ONE)
    w, take = worker(), lambda: wh.sql(f"SELECT * FROM {PRED} WHERE has_prop_line AND system_id = 'catboost_v9' AND is_active")
    old = take()
    wh.sql("UPDATE nba_reference.nba_schedule SET first_game_start_utc = game_start_utc, tip_known_at = TIMESTAMP '2025-12-19 16:50:00+00', game_start_utc = TIMESTAMP_SUB(game_start_utc, INTERVAL 2 HOUR) WHERE game_date = @d", d=LAST)
    w.predict(LAST, mode="RETRY")
    both = old.join(take(), on=["game_id", "player_lookup", "line_snapshot_id"], suffix="_new")
    assert both.height and set(both["restatement_reason_new"]) == {"tip_moved"} and set(both["line_minutes_before_game_new"] - both["line_minutes_before_game"]) == {-120}
    wh.sql("UPDATE nba_reference.nba_schedule SET game_start_utc = TIMESTAMP '2025-12-19 16:59:00+00' WHERE game_date = @d", d=LAST)
    before = everything(wh)
    with pytest.raises(Refusal, match="has begun"): w.predict(LAST, mode="LAST_CALL", force=True)
    assert everything(wh) == before and invariants(wh) == {}

def test_a_scratch_and_a_withdrawn_price_keep_what_was_published(served, tmp_path, monkeypatch):
    "Would catch a market value that nothing overwrites, or a scratched player who stays a pick."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home")); monkeypatch.setenv("NBPROPS_NOW", ONE)
    rows = lambda: wh.sql(f"SELECT player_lookup, line_value, over_price_american, no_vig_over, invalidation_reason, is_actionable FROM {PRED} WHERE is_active AND system_id = 'catboost_v9' ORDER BY 1")
    who = rows().filter(pl.col("line_value").is_not_null())["player_lookup"][0]
    wh.write("nba_raw.nbac_injury_report", pl.DataFrame([dict(report_timestamp=utc(2025, 12, 19, 16, 45), report_date=LAST, player_lookup=who, team_abbr="BKN", injury_status="out")]))
    before = rows()
    wh.sql("DELETE FROM nba_raw.odds_api_player_points_props WHERE game_date = @d", d=LAST)
    worker().predict(LAST, mode="RETRY", force=True)
    after = rows()
    assert after.select("player_lookup", "line_value", "over_price_american", "no_vig_over").equals(before.select("player_lookup", "line_value", "over_price_american", "no_vig_over"))
    assert after.filter(player_lookup=who).select("invalidation_reason", "is_actionable").row(0) == ("late_scratch", False) and invariants(wh) == {}
