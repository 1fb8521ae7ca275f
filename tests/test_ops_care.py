"Housekeeping, backup and restore: what may go goes, no evidence is lost, and what was put away comes back byte for byte."
import hashlib, io, json, os, random, shutil, signal, subprocess, sys, tarfile
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
import polars as pl, pytest
from nbprops.data.artifacts import Store
from nbprops.data.lines import as_of_frame, line_of_record
from nbprops.data.staging import keep_staging, stale_staging, staged, staging_dir
from nbprops.data.warehouse import Warehouse
from nbprops.data.warehouse import DuckTransaction as Transaction
from nbprops.model.registry import Registry, paths
from nbprops.model.scratch import toy_bundle
from nbprops.ops import backup as B, care as C
from nbprops.ops.backup import backup, proven, restore
from nbprops.ops.care import AGES, prune
from nbprops.predict.grading import ACC, PRED, VERSIONS, grade
from nbprops.predict.loading import load_fleet
from nbprops.predict.publish import broken_links
from nbprops.predict.worker import Worker
from nbprops.settings import Broken, Refusal, canonical_json, now, sha256_of
from tests.forks import script
from tests.predict_world import DAY, LAST, copy_world

PROPS, LEDGER, LATER = "nba_raw.odds_api_player_points_props", "nba_orchestration.run_ledger", "2028-06-01T12:00:00Z"
TABLES = ("nba_predictions.player_prop_predictions", VERSIONS, ACC, "nba_predictions.slate_publications", "nba_predictions.model_registry", "nba_predictions.model_registry_history", "nba_predictions.ml_feature_store_v2", PROPS)

def rows_of(wh, *names): return {n: sorted(wh.sql(f"SELECT * FROM {n}").rows(), key=repr) for n in names}

@pytest.fixture(scope="module")
def served(tmp_path_factory, light_home):
    "Two slates: predicted in the morning, again at noon, once more by force near the tip, and by a back-fill of the next day; graded."
    home = tmp_path_factory.mktemp("care")/"home"
    os.environ["NBPROPS_HOME"] = str(home)
    copy_world(light_home, home)
    w = Worker.from_registry(Warehouse(home/"nbprops.duckdb"), Store(str(home/"models")), quiet=True)
    for clock, how in (("2025-12-18T15:00:00Z", {}), ("2025-12-18T18:00:00Z", {}), ("2025-12-18T22:00:00Z", dict(force=True)), ("2025-12-20T15:00:00Z", dict(force=True))):
        os.environ["NBPROPS_NOW"] = clock
        w.predict_range(DAY, LAST, mode="BACKFILL", **how)
    grade(w.wh, DAY, LAST)
    os.environ.pop("NBPROPS_NOW")
    return home

@pytest.fixture
def world(served, tmp_path, monkeypatch):
    monkeypatch.setenv("NBPROPS_NOW", LATER)
    return copy_world(served, tmp_path/"home")

def records(wh, tips):
    "Line of record of every player at some instant of every game."
    props, books, feeds, games = (wh.sql(f"SELECT * FROM {t}") for t in (PROPS, "nba_reference.sportsbooks", "nba_reference.feeds", "nba_reference.nba_schedule"))
    return line_of_record(props, as_of_frame(games, tips), books, feeds)

# --- prune ---

def take(wh, store, rule): return C.carry_out(wh, store, rule, now(), {r: C.age_of(r) for r in AGES}, f"run-{rule}").count

def would_take(wh, store, rule):
    with wh.transaction() as tx: return C.RULES[rule].find(C.Scope(tx, store, now(), {r: C.age_of(r) for r in AGES})).count

def test_evidence_survives(world):
    "Would catch a record row, a closing line or a digest that went with the rubbish."
    wh, store, _ = world
    before, at_tip = rows_of(wh, *TABLES), records(wh, None)
    report = prune(wh, store)
    after, gone = rows_of(wh, *TABLES), dict(report.rules.select("rule", "count").iter_rows())
    assert gone["prediction_versions"] > 50 and gone["line_snapshots"] > 10_000
    for t in TABLES:
        if t not in (VERSIONS, PROPS): assert after[t] == before[t]
    assert len(before[VERSIONS]) - len(after[VERSIONS]) == gone["prediction_versions"] and len(before[PROPS]) - len(after[PROPS]) == gone["line_snapshots"]
    assert records(wh, None).equals(at_tip)
    lost = wh.sql(f"""SELECT a.prediction_id FROM {ACC} AS a WHERE NOT EXISTS (SELECT 1 FROM {PRED} AS p WHERE p.prediction_id = a.prediction_id) AND NOT EXISTS (SELECT 1 FROM {VERSIONS} AS v WHERE v.prediction_id = a.prediction_id)""")
    blind = wh.sql(f"""SELECT a.prediction_id FROM {ACC} AS a WHERE (a.line_snapshot_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {PROPS} AS o WHERE o.snapshot_id = a.line_snapshot_id)) OR (a.closing_line_snapshot_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {PROPS} AS o WHERE o.snapshot_id = a.closing_line_snapshot_id))""")
    by_version = wh.sql(f"SELECT COUNT(*) AS n FROM {ACC} AS a JOIN {VERSIONS} AS v ON v.prediction_id = a.prediction_id").item()
    assert lost.is_empty() and blind.is_empty() and by_version > 50
    with wh.transaction() as tx: assert broken_links(tx, DAY, LAST) == []
    assert grade(wh, DAY, LAST).counts.written == 0 and rows_of(wh, ACC)[ACC] == before[ACC]

def test_the_dry_run_says_what_the_real_run_does(world):
    "Would catch a list that was made by other rules than the removal, or that changes something."
    wh, store, _ = world
    wh.sql("SELECT 1")
    digest = lambda: hashlib.sha256(wh.path.read_bytes()).hexdigest()
    was = digest()
    listed = prune(wh, store, dry_run=True)
    assert digest() == was and listed.dry_run and listed.run_id is None
    done = prune(wh, store)
    assert done.rules.equals(listed.rules) and prune(wh, store).rules["count"].sum() == 0
    said = wh.sql(f"SELECT step, status, exit_code, rows_set_aside AS n, detail_json FROM {LEDGER} WHERE run_id = @r", r=done.run_id)
    assert dict(said.select("step", "n").iter_rows()) == dict(done.rules.select("rule", "count").iter_rows()) and set(said["status"]) == {"DONE"} and set(said["exit_code"]) == {0}
    lines = json.loads(said.filter(pl.col("step") == "line_snapshots")["detail_json"].item())
    assert lines["older_than"] == "400 days" and lines["oldest"] <= lines["newest"] and lines["set_aside"] == {"removed": done.rules.filter(rule="line_snapshots")["count"].item()}

def test_young_and_ungraded_dates_are_left_alone(world, monkeypatch):
    "Would catch a removal before the age, or of a date that still waits for its results."
    wh, store, _ = world
    count = lambda: would_take(wh, store, "prediction_versions")
    full = count()
    monkeypatch.setenv("NBPROPS_NOW", str(datetime(2025, 12, 18, 17, tzinfo=timezone.utc) + timedelta(days=400)))
    assert count() == 0
    monkeypatch.setenv("NBPROPS_NOW", str(datetime(2025, 12, 18, 17, tzinfo=timezone.utc) + timedelta(days=401)))
    assert 0 < count() < full
    monkeypatch.setenv("NBPROPS_NOW", LATER)
    game, of = wh.sql(f"SELECT MIN(game_id) AS g FROM {ACC} WHERE game_date = @d", d=DAY).item(), lambda d: wh.sql(f"SELECT COUNT(*) AS n FROM {VERSIONS} WHERE game_date = @d", d=d).item()
    wh.sql(f"DELETE FROM {ACC} WHERE game_id = @g", g=game)
    was = of(DAY), of(LAST)
    take(wh, store, "prediction_versions")
    assert of(DAY) == was[0] and of(LAST) < was[1]

def withdrawn(wh, when, where):
    wh.sql(f"UPDATE {VERSIONS} SET row_json = REPLACE(REPLACE(row_json, '\"invalidated_at\":null', '\"invalidated_at\":\"{when}\"'), '\"invalidation_reason\":null', '\"invalidation_reason\":\"model blocked\"') WHERE {where}")

def test_a_withdrawn_version_still_decides(world):
    "Would catch an older row that is graded because the withdrawn one above it is gone."
    wh, store, _ = world
    withdrawn(wh, "2025-12-18T20:00:00.000000+00:00", f"game_date = '{DAY}'")
    grade(wh, DAY, LAST)
    before = rows_of(wh, ACC)[ACC]
    kept = wh.sql(f"SELECT COUNT(*) AS n FROM {VERSIONS} WHERE game_date = @d", d=DAY).item()
    take(wh, store, "prediction_versions")
    assert wh.sql(f"SELECT COUNT(*) AS n FROM {VERSIONS} WHERE game_date = @d", d=DAY).item() == kept
    assert grade(wh, DAY, LAST).counts.written == 0 and rows_of(wh, ACC)[ACC] == before

def test_a_replaced_grade_keeps_its_prediction(world):
    "Would catch a version that only an older grade points to."
    wh, store, _ = world
    doomed = set(wh.sql(f"SELECT prediction_id FROM {VERSIONS}")["prediction_id"])
    with wh.transaction() as tx:
        C.find_versions(C.Scope(tx, store, now(), {r: C.age_of(r) for r in AGES}))
        one = tx.sql("SELECT MIN(prediction_id) AS p FROM doomed_versions").item()
        v = tx.sql(f"SELECT * FROM {VERSIONS} WHERE prediction_id = @p", p=one).row(0, named=True)
        tx.write("nba_predictions.grade_versions", pl.DataFrame([{k: v[k] for k in ("game_id", "player_lookup", "system_id", "prediction_id", "game_date", "row_json")} | dict(reason="statistic", version_number=1, grade_version=1, graded_at=now(), replaced_at=now())]))
    snapshot = json.loads(v["row_json"])["line_snapshot_id"]
    take(wh, store, "prediction_versions"); take(wh, store, "line_snapshots")
    assert one in doomed and wh.sql(f"SELECT COUNT(*) AS n FROM {VERSIONS} WHERE prediction_id = @p", p=one).item() == 1
    assert snapshot is None or wh.sql(f"SELECT COUNT(*) AS n FROM {PROPS} WHERE snapshot_id = @s", s=snapshot).item() == 1

def toy_games(tip):
    "One game as planned, one that was moved three hours later, one without a tip-off."
    g = lambda n, start, first, known: dict(game_id=f"20240115_AAA_BB{n}", season="2023-24", home_team_tricode=f"BB{n}", away_team_tricode="AAA", game_date=date(2024, 1, 15), game_start_utc=start, first_game_start_utc=first, tip_known_at=known, game_status=3, is_playoffs=False, neutral_site=False)
    games = [g(0, tip, tip, None), g(1, tip, tip - timedelta(hours=3), tip - timedelta(hours=6)), g(2, None, None, None)]
    return pl.DataFrame(games, schema_overrides={c: pl.Datetime("us", "UTC") for c in ("game_start_utc", "first_game_start_utc", "tip_known_at")})

def toy_line(rnd, player, tip):
    "One snapshot of some feed: before the tip-off, during the game or long after it; now and then two feeds in one second."
    key = dict(game_id=f"20240115_AAA_BB{rnd.randrange(3)}", player_lookup=f"p{player}", bookmaker=rnd.choice(["draftkings", "fanduel", "prizepicks"]), data_source=rnd.choice(["the_odds_api", "rotowire", "bettingpros"]), snapshot_timestamp=tip - timedelta(minutes=rnd.choice([rnd.randrange(-900, 900), 0, 1, 180, 181]), microseconds=rnd.randrange(3)))
    return key | dict(snapshot_id=sha256_of(canonical_json(key)), game_date=date(2024, 1, 15), minutes_before_tipoff=rnd.choice([None, 30, 30, 0, -5]), points_line=rnd.choice([9.5, 10.0, 10.5]), tip_verified=True)

def test_the_line_at_any_tip_is_unchanged(wh, monkeypatch):
    "Would catch a `last` that was seen after the tip-off, a feed that no longer wins its second, and a tip-off that moved; 400 players, each with up to forty snapshots at random."
    from nbprops.data.reference import shipped
    monkeypatch.setenv("NBPROPS_NOW", LATER)
    rnd, tip, noon = random.Random(5), datetime(2024, 1, 16, 0, 30, tzinfo=timezone.utc), pl.lit(datetime(2024, 1, 16, 12, tzinfo=timezone.utc))
    for name, f in shipped().items(): wh.write(name, f)
    wh.write("nba_reference.nba_schedule", toy_games(tip))
    props = pl.DataFrame([toy_line(rnd, k, tip) for k in range(400) for _ in range(rnd.randrange(1, 40))], schema_overrides={"minutes_before_tipoff": pl.Int64}, infer_schema_length=None).unique("snapshot_id", maintain_order=True)
    wh.write(PROPS, props)
    first = pl.coalesce("first_game_start_utc", noon)
    asked = lambda: [records(wh, at) for at in (None, pl.coalesce("game_start_utc", noon), first, first - pl.duration(microseconds=1))]
    before = asked()
    removed = take(wh, Store("memory://none"), "line_snapshots")
    left, groups = wh.sql(f"SELECT * FROM {PROPS}"), ["game_id", "player_lookup", "bookmaker"]
    assert all(a.equals(b) and a.height > 100 for a, b in zip(asked(), before)) and left.height == props.height - removed and removed > 300
    ends = lambda f: f.group_by(groups).agg(a=pl.col("snapshot_timestamp").min(), z=pl.col("snapshot_timestamp").max()).sort(groups)
    assert ends(left).equals(ends(props.cast({"snapshot_timestamp": pl.Datetime("us", "UTC")}))) and left.group_by(*groups, "data_source").len()["len"].max() <= 6

def test_an_age_that_cannot_be_meant_is_refused(wh, monkeypatch):
    "Would catch a slip of the finger that empties the house."
    for text in ("0", "-1", "1.5", "soon", "4e2", "999999999", "²"):
        for name, default, unit in AGES.values():
            with monkeypatch.context() as m, pytest.raises(Refusal, match=f"{name}.*whole number of {unit}") as e: m.setenv(name, text); prune(wh)
            assert e.value.exit_code == 2
    assert wh.sql(f"SELECT COUNT(*) AS n FROM {LEDGER}").item() == 0 and prune(wh).rules["count"].sum() == 0

def test_a_rule_that_breaks_takes_nothing_and_says_so(world, monkeypatch):
    "Would catch rows that are gone without an entry, and an entry of rows that are still there."
    wh, store, _ = world
    before, real = rows_of(wh, PROPS, VERSIONS), Transaction.sql
    def cut(self, query, **k):
        if query.startswith(f"DELETE FROM {PROPS}"): real(self, query, **k); raise RuntimeError("pulled plug")
        return real(self, query, **k)
    monkeypatch.setattr(Transaction, "sql", cut)
    with pytest.raises(RuntimeError): prune(wh, store)
    monkeypatch.setattr(Transaction, "sql", real)
    assert rows_of(wh, PROPS)[PROPS] == before[PROPS] and len(rows_of(wh, VERSIONS)[VERSIONS]) < len(before[VERSIONS])
    assert dict(wh.sql(f"SELECT step, status FROM {LEDGER} WHERE command = 'prune'").iter_rows()) == {"staging": "DONE", "prediction_versions": "DONE", "line_snapshots": "FAILED"}
    monkeypatch.setattr(C, "entered", lambda *a: (_ for _ in ()).throw(Broken("no entry")))
    with pytest.raises(Broken, match="no entry"): take(wh, store, "line_snapshots")
    assert rows_of(wh, PROPS)[PROPS] == before[PROPS]

def test_a_wrong_count_rolls_back(world, monkeypatch):
    "Would catch a removal that takes more than was listed."
    wh, store, _ = world
    before, real = rows_of(wh, PROPS), Transaction.sql
    monkeypatch.setattr(Transaction, "sql", lambda self, q, **k: real(self, f"DELETE FROM {PROPS} WHERE TRUE" if q.startswith(f"DELETE FROM {PROPS}") else q, **k))
    with pytest.raises(Broken, match="were listed"): take(wh, store, "line_snapshots")
    assert rows_of(wh, PROPS) == before

def test_only_old_unserved_rejected_models_lose_their_files(wh, tmp_path, monkeypatch):
    "Would catch bytes that a prediction names, or a candidate's, among the rejected."
    store, reg = Store(str(tmp_path/"models")), Registry(wh, Store(str(tmp_path/"models")))
    monkeypatch.setenv("NBPROPS_NOW", "2026-03-01T12:00:00Z")
    made = {}
    for minute, state in ((0, "rejected"), (1, "candidate"), (2, "rejected"), (3, "rejected")):
        b = toy_bundle(minute); reg.register(b, reg.upload(b), state=state); made[minute] = b
    store.put(paths(reg.get(made[0].model_id))[0].removesuffix(".cbm") + ".card.html", b"why")
    from tests.test_predict_publish import put, slate
    put(wh, slate("r1", {"ann": 20.5}, systems=("alpha",)).with_columns(model_sha256=pl.lit(made[2].sha256), model_load_source=pl.lit("ENV_PATH"), model_file_name=pl.lit("x.cbm"), model_training_start_date=pl.lit(date(2025, 1, 1)), model_training_end_date=pl.lit(date(2025, 2, 1)),
        model_expected_mae=pl.lit(4.0), model_expected_hit_rate=pl.lit(50.0), model_trained_at=pl.lit(now())), "r1")
    reg.override(made[3].model_id, "vegas_bias", "looked at again", now() + timedelta(days=200))
    rows = rows_of(wh, "nba_predictions.model_registry", "nba_predictions.model_registry_history")
    monkeypatch.setenv("NBPROPS_NOW", "2026-05-30T11:00:00Z")
    assert take(wh, store, "rejected_models") == 0
    monkeypatch.setenv("NBPROPS_NOW", "2026-05-30T13:00:00Z")
    assert take(wh, store, "rejected_models") == 2
    left = set(store.list("catboost"))
    assert not left & set(paths(reg.get(made[0].model_id))) and all(set(paths(reg.get(made[m].model_id))) <= left for m in (1, 2, 3)) and any(p.endswith(".card.html") for p in left)
    assert rows_of(wh, "nba_predictions.model_registry", "nba_predictions.model_registry_history") == rows and reg.validate().is_empty()

# --- staging ---

def test_staging_is_kept_a_day(wh, monkeypatch):
    "Would catch rows of a failed run that are lost at once, or kept for ever."
    monkeypatch.setenv("NBPROPS_NOW", "2026-03-01T12:00:00Z")
    rows = pl.DataFrame({"game_date": [DAY], "tags": [["a"]], "x": [1.5]})
    path = keep_staging("run-1", rows, PRED, Broken("It broke", "here", "there"))
    assert pl.read_parquet(path).equals(rows) and keep_staging("run-2", None, PRED, "") is None and keep_staging("run-3", rows.clear(), PRED, "") is None
    assert staged().select("run_id", "table", "error", "rows").rows() == [("run-1", PRED, "It broke (here). Mend: there", 1)]
    monkeypatch.setenv("NBPROPS_NOW", "2026-03-02T11:59:00Z")
    assert take(wh, None, "staging") == 0 and path.exists() and stale_staging(now()).is_empty()
    monkeypatch.setenv("NBPROPS_NOW", "2026-03-02T12:00:00Z")
    assert take(wh, None, "staging") == 1 and list(staging_dir().iterdir()) == []
    for bad in ("../x", "a/b", "", "a b"):
        with pytest.raises(Refusal, match="no run id"): keep_staging(bad, rows, PRED, "")

def test_torn_staging_is_found_and_removed(wh, monkeypatch):
    "Would catch leftovers of a killed process that nobody ever clears away, and a stranger's file that goes with them."
    staging_dir().mkdir(parents=True)
    for name in ("run-1.parquet", "run-2.json.77.part", "run-3.json", "my notes.txt"): (staging_dir()/name).write_text("{")
    assert staged()["run_id"].to_list() == ["run-1", "run-2", "run-3"]
    for p in staging_dir().iterdir(): os.utime(p, (0, 0))
    assert take(wh, None, "staging") == 3 and [p.name for p in staging_dir().iterdir()] == ["my notes.txt"]

def test_staging_that_cannot_be_kept_is_one_sentence(wh):
    "Would catch a second error that hides the first."
    staging_dir().parent.mkdir(parents=True, exist_ok=True)
    staging_dir().write_text("a file in the way")
    with pytest.raises(Broken, match="could not be kept"): keep_staging("run-1", pl.DataFrame({"x": [1]}), PRED, "e")

# --- backup and restore ---

def hashed(folder): return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).rglob("*")) if p.is_file() and p.name != ".lock"} # a lock has no content, and is made again

def members(home):
    "One file of every kind beside the warehouse."
    for name, text in (("reports/daily.html", "<p>well</p>"), ("logs/error-1.txt", "Traceback"), ("manifest.json", "a file that happens to be called so")):
        (home/name).parent.mkdir(exist_ok=True); (home/name).write_text(text)
    keep_staging("run-1", pl.DataFrame({"x": [1]}), PRED, "e")
    Warehouse().publish()

@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    "A small home: a warehouse with few rows, a model that serves, its snapshot, reports, logs, staging."
    from nbprops.data.reference import shipped
    from tests.test_predict_publish import put, slate
    home = tmp_path_factory.mktemp("small")/"home"
    with pytest.MonkeyPatch.context() as m:
        m.setenv("NBPROPS_HOME", str(home))
        wh, store = Warehouse(), Store()
        wh.migrate()
        for name, f in shipped().items(): wh.write(name, f)
        reg, b = Registry(wh, store), toy_bundle()
        reg.register(b, reg.upload(b)); reg.enable(b.model_id, reason="test")
        put(wh, slate("r1", {"ann": 20.5, "bob": 11.5}), "r1")
        with wh.transaction() as tx: load_fleet(tx, store, {})
        members(home)
    return home

@pytest.fixture
def home(furnished, tmp_path):
    shutil.copytree(furnished, tmp_path/"home")
    return tmp_path/"home"

def test_what_comes_back_is_what_went_away(served, tmp_path, monkeypatch):
    "Would catch a table, a model or a report that a restore forgets, and a worker that predicts otherwise."
    home = tmp_path/"home"
    copy_world(served, home); members(home)
    before = rows_of(Warehouse(), *TABLES)
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T15:00:00Z")
    said = backup(tmp_path/"b.tar.gz")
    files = {n: h for n, h in hashed(home).items() if not n.endswith((".wal", ".translations"))}
    assert said.rows["nba_predictions.player_prop_predictions"] == len(before[PRED]) and said.files == len(files) and said.not_included == {}
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"elsewhere"/"home"))
    done = restore(tmp_path/"b.tar.gz")
    assert hashed(tmp_path/"elsewhere"/"home") == files and done.moved_aside is None and done.notes == []
    assert rows_of(Warehouse(), *TABLES) == before
    told = []
    for where in (home, tmp_path/"elsewhere"/"home"):
        monkeypatch.setenv("NBPROPS_HOME", str(where))
        w = Worker.from_registry(Warehouse(), Store(), quiet=True)
        w.predict(LAST, force=True)
        told.append(w.wh.sql(f"SELECT system_id, player_lookup, game_id, line_value, predicted_points, p_over, feature_hash, model_sha256, model_load_source FROM {PRED} WHERE game_date = @d AND is_active ORDER BY 1, 2, 3, 4", d=LAST))
    assert told[0].equals(told[1]) and told[0].height > 50 and set(told[0]["model_load_source"]) == {"REGISTRY", "CODE"}

def test_half_written_files_stay_behind(home, tmp_path):
    "Would catch a torn copy in a backup, remembered SQL that another version of the translator would not say, and a link that is followed out of the home."
    for n in ("reports/x.html.part", "nbprops.snapshot.duckdb.0a1b2c3d", "nbprops.translations", "nbprops.duckdb.wal"): (home/n).write_text("half")
    (home/"nbprops.duckdb.wal").unlink()
    (home/"nbprops.duckdb.tmp").mkdir(); (home/"nbprops.duckdb.tmp"/"block").write_text("x")
    (home/"reports"/"link").symlink_to("/etc/hostname"); (home/"far").symlink_to("/etc")
    os.mkfifo(home/"pipe")
    said = backup(tmp_path/"b.tar.gz")
    with tarfile.open(tmp_path/"b.tar.gz") as t: names = t.getnames()
    assert not [n for n in names if "part" in n or "tmp" in n or "0a1b" in n or "link" in n or "far" in n or "translations" in n] and set(said.not_included) == {"reports/link", "far", "pipe"}

def test_what_lies_elsewhere_is_named(home, tmp_path, monkeypatch):
    "Would catch a backup that looks whole and holds no models."
    monkeypatch.setenv("MODEL_STORE_URI", "gs://models"); monkeypatch.setenv("NBPROPS_DB", str(tmp_path/"other.duckdb"))
    said = backup(tmp_path/"b.tar.gz")
    assert said.not_included == {"NBPROPS_DB": str(tmp_path/"other.duckdb"), "MODEL_STORE_URI": "gs://models"} and "NOT in this backup: MODEL_STORE_URI" in str(said)
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"new"))
    done = restore(tmp_path/"b.tar.gz")
    assert done.not_included == said.not_included and len(done.notes) == 2 and "MODEL_STORE_URI points to gs://models" in str(done)

def test_nothing_is_overwritten(home, tmp_path, monkeypatch):
    "Would catch a backup that replaces a backup, or a restore that mixes two homes."
    (tmp_path/"b.tar.gz").write_text("precious")
    with pytest.raises(Refusal, match="exists already"): backup(tmp_path/"b.tar.gz")
    assert (tmp_path/"b.tar.gz").read_text() == "precious"
    with pytest.raises(Refusal, match="inside the home"): backup(home/"b.tar.gz")
    with pytest.raises(Refusal, match="No folder"): backup(tmp_path/"no"/"b.tar.gz")
    backup(tmp_path/"good.tar.gz")
    before = hashed(home)
    with pytest.raises(Refusal, match="not empty") as e: restore(tmp_path/"good.tar.gz")
    assert e.value.exit_code == 2 and hashed(home) == before
    (home/"extra").write_text("mine")
    monkeypatch.setenv("NBPROPS_NOW", "2026-03-01T12:00:00Z")
    done = restore(tmp_path/"good.tar.gz", force=True)
    assert done.moved_aside == str(tmp_path/"home.before-restore-20260301T120000Z") and hashed(home) == before and hashed(done.moved_aside) == before | {"extra": hashlib.sha256(b"mine").hexdigest()}
    assert restore(tmp_path/"good.tar.gz", force=True).moved_aside == str(tmp_path/"home.before-restore-20260301T120000Z-1")
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"void"))
    with pytest.raises(Refusal, match="Nothing to back up"): backup(tmp_path/"void.tar.gz")

def repacked(source: Path, target: Path, change) -> Path:
    "The same archive with members changed: `change(name, data)` gives a list of (TarInfo, data)."
    with tarfile.open(source) as a, tarfile.open(target, "w:gz") as b:
        for m in a:
            for info, data in change(m, a.extractfile(m).read()): info.size = len(data); b.addfile(info, io.BytesIO(data))
    return target

def flipped(data: bytes) -> bytes:
    out = bytearray(data); out[len(out)//2] ^= 1
    return bytes(out)

KIND = ("nbprops.duckdb", "nbprops.snapshot.duckdb", "models/catboost/v9_mae/manifest.json", ".cbm", ".bundle.json", "reports/daily.html", "logs/error-1.txt", "worker/registry.json", "staging/run-1.parquet", "staging/run-1.json", "home/manifest.json", "manifest.json")

def test_a_changed_byte_of_any_member_is_refused(home, tmp_path, monkeypatch):
    "Would catch damage that is put in place."
    good = tmp_path/"good.tar.gz"
    backup(good)
    before, around = hashed(home), set(tmp_path.iterdir())
    with tarfile.open(good) as t: names = t.getnames()
    for i, kind in enumerate(KIND):
        victim = next(n for n in names if (n == kind if kind == "manifest.json" else n.endswith(kind)))
        bad = repacked(good, tmp_path/"bad.tar.gz", lambda m, d: [(m, flipped(d) if m.name == victim else d)])
        for how in (dict(dry_run=True), dict(force=True)):
            if how.get("dry_run") and i % 4: continue
            with pytest.raises(Refusal) as e: restore(bad, **how)
            assert e.value.exit_code == 2 and victim.removeprefix("home/") in str(e.value) or kind == "manifest.json"
        bad.unlink()
    assert hashed(home) == before and set(tmp_path.iterdir()) == around

def test_a_changed_byte_of_the_file_is_refused(home, tmp_path):
    "Would catch an archive whose last block nobody checks."
    good, bad = tmp_path/"good.tar.gz", tmp_path/"bad.tar.gz"
    backup(good)
    data, before, whole, refused = good.read_bytes(), hashed(home), proven(good), 0
    spots = [0, 2, len(data) - 8, len(data) - 1, *random.Random(3).sample(range(20, len(data)), 24)]
    for at in spots:
        bad.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        try: assert proven(bad) == whole # a distance inside a run of zeros: other bytes of the stream, the same bytes of every member
        except Refusal: refused += 1
    assert refused > 10 # the others fell into runs of zeros; how many, depends on what the archive holds
    for cut in (0, 10, len(data)//2, len(data) - 1, len(data) - 9):
        bad.write_bytes(data[:cut])
        with pytest.raises(Refusal): restore(bad, dry_run=True)
    bad.write_bytes(b"no archive at all")
    with pytest.raises(Refusal, match="damaged, or no backup"): restore(bad, force=True)
    with pytest.raises(Refusal, match="No file"): restore(tmp_path/"none.tar.gz", force=True)
    assert hashed(home) == before

def made(name, data=b"x", **over):
    info = tarfile.TarInfo(name); info.size = len(data)
    for k, v in over.items(): setattr(info, k, v)
    return info, data

EVIL = {"climbs": made("home/../../evil"), "absolute": made("/evil"), "beside": made("evil"), "dotted": made("home/./evil"), "symlink": made("home/evil", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "hardlink": made("home/evil", b"", type=tarfile.LNKTYPE, linkname="home/nbprops.duckdb"),
        "folder": made("home/evil", b"", type=tarfile.DIRTYPE), "device": made("home/evil", b"", type=tarfile.CHRTYPE), "double": made("home/logs/error-1.txt"), "unlisted": made("home/evil")}

def test_a_name_that_leads_elsewhere_is_refused(home, tmp_path):
    "Would catch an archive that writes outside its folder, or through a link."
    good, before = tmp_path/"good.tar.gz", hashed(home)
    backup(good)
    for kind, (info, data) in EVIL.items():
        bad = repacked(good, tmp_path/f"{kind}.tar.gz", lambda m, d: [(m, d)] + ([(info, data)] if m.name == "home/manifest.json" else []))
        around = set(tmp_path.iterdir())
        with pytest.raises(Refusal, match="evil|error-1") as e: restore(bad, force=True)
        assert e.value.exit_code == 2 and hashed(home) == before and set(tmp_path.iterdir()) == around, kind

def test_a_missing_member_and_a_forged_count_are_refused(home, tmp_path):
    "Would catch a file that fell out, and a warehouse that does not hold the rows that were counted."
    good = tmp_path/"good.tar.gz"
    backup(good)
    before = hashed(home)
    with pytest.raises(Refusal, match="daily.html"): restore(repacked(good, tmp_path/"a.tar.gz", lambda m, d: [] if m.name.endswith("daily.html") else [(m, d)]), force=True)
    def forge(m, d):
        if m.name != "manifest.json": return [(m, d)]
        said = {k: v for k, v in json.loads(d).items() if k != "seal"}
        said["rows"]["nba_predictions.player_prop_predictions"] += 1
        return [(m, B.sealed(said))]
    with pytest.raises(Refusal, match="player_prop_predictions has"): restore(repacked(good, tmp_path/"b.tar.gz", forge), force=True)
    assert hashed(home) == before

CHILD = """
import os, sys, time
from nbprops.ops import backup as B
point, act = sys.argv[1], sys.argv[2:]
real = getattr(B, point) if hasattr(B, point) else getattr(os, point)
def stop(*a, **k):
    if os.environ.get('AFTER'): real(*a, **k)
    print('here', flush=True); time.sleep(60)
setattr(B if hasattr(B, point) else os, point, stop)
B.backup(act[1]) if act[0] == 'backup' else B.restore(act[1], force=True)
"""

def killed(home, point, *act, after=False):
    "Run a backup or restore in a child that stops at a function, and kill it there."
    p = subprocess.Popen([sys.executable, "-c", CHILD, point, *map(str, act)], env={**os.environ, "NBPROPS_HOME": str(home), **({"AFTER": "1"} if after else {})}, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "here\n"
    p.send_signal(signal.SIGKILL); p.wait()

@pytest.mark.parametrize("point", [pytest.param("copy_warehouse", marks=pytest.mark.full), "add_file", pytest.param("add_manifest", marks=pytest.mark.full), pytest.param("rename", marks=pytest.mark.full)])
def test_a_killed_backup_leaves_no_backup(home, tmp_path, point):
    "Would catch half a backup under the name of a whole one, or a home that suffers from being copied."
    before = hashed(home)
    killed(home, point, "backup", tmp_path/"b.tar.gz")
    assert not (tmp_path/"b.tar.gz").exists() and hashed(home) == before and [p for p in tmp_path.iterdir() if p != home and not p.name.endswith(".part")] == []
    assert backup(tmp_path/"b.tar.gz").files > 5 and proven(tmp_path/"b.tar.gz")

@pytest.mark.parametrize("point", [pytest.param("_take", marks=pytest.mark.full), pytest.param("compare_rows", marks=pytest.mark.full), "put_in_place"])
def test_a_killed_restore_leaves_the_old_home(home, tmp_path, point):
    "Would catch a home that is half the old and half the new one."
    backup(tmp_path/"b.tar.gz")
    (home/"extra").write_text("mine")
    before = hashed(home)
    killed(home, point, "restore", tmp_path/"b.tar.gz", after=point != "put_in_place")
    assert hashed(home) == before
    assert restore(tmp_path/"b.tar.gz", force=True).moved_aside and hashed(home) == {k: v for k, v in before.items() if k != "extra"}

def test_a_rename_that_fails_is_taken_back(home, tmp_path, monkeypatch):
    "Would catch a restore that leaves no home at all."
    backup(tmp_path/"b.tar.gz")
    before, real, around = hashed(home), os.rename, set(tmp_path.iterdir())
    def rename(a, b):
        if "restoring" in str(a): raise OSError(28, "No space left on device")
        real(a, b)
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(Broken, match="No space left.*the home is as it was"): restore(tmp_path/"b.tar.gz", force=True)
    assert hashed(home) == before and set(tmp_path.iterdir()) == around

LIMITED = """
import resource, sys
from nbprops.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
main(sys.argv[2:])
"""

@pytest.mark.parametrize("limit", [20_000, pytest.param(100_000, marks=pytest.mark.full)])
def test_a_full_disk_leaves_nothing_behind(home, tmp_path, limit):
    "Would catch a torn backup after the disk was full, a traceback, or an exit code that says all is well."
    before, around = hashed(home), set(tmp_path.iterdir())
    out = lambda *a: script(LIMITED, limit, *a, NBPROPS_HOME=str(home)).end()
    full = out("backup", str(tmp_path/"b.tar.gz"))
    assert full.returncode == 3 and "Traceback" not in full.stderr and len(full.stderr.strip().splitlines()) == 1 and "Mend: make room" in full.stderr, full.stderr
    assert hashed(home) == before and set(tmp_path.iterdir()) == around
    backup(tmp_path/"b.tar.gz")
    full = out("restore", str(tmp_path/"b.tar.gz"), "--force")
    assert full.returncode == 3 and "the home is as it was" in full.stderr and len(full.stderr.strip().splitlines()) == 1, full.stderr
    assert hashed(home) == before and set(tmp_path.iterdir()) == around | {tmp_path/"b.tar.gz"}

def test_a_home_in_use_is_not_moved(home, tmp_path, monkeypatch):
    "Would catch a restore under the feet of a running worker."
    backup(tmp_path/"b.tar.gz")
    before = hashed(home)
    hold = subprocess.Popen([sys.executable, "-c", "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(60)", str(home/"nbprops.duckdb")], stdout=subprocess.PIPE, text=True)
    try:
        assert hold.stdout.readline() == "held\n"
        monkeypatch.setattr("nbprops.data.warehouse.BUSY_SECONDS", .2)
        with pytest.raises(Refusal, match=f"busy.*pid {hold.pid}"): restore(tmp_path/"b.tar.gz", force=True)
        with pytest.raises(Refusal, match="busy"): backup(tmp_path/"c.tar.gz")
        assert hashed(home) == before and not list(tmp_path.glob("c.tar*"))
    finally: hold.kill(); hold.wait()
    (home/"nbprops.duckdb").write_bytes(b"torn") # the usual reason for a restore is no obstacle to it
    assert restore(tmp_path/"b.tar.gz", force=True).moved_aside

@pytest.mark.full
def test_memory_does_not_grow_with_the_file(home, tmp_path):
    "Would catch an archive that is put together in memory."
    (home/"reports"/"big.bin").write_bytes(os.urandom(1 << 20)*48)
    code = "import resource, sys; from nbprops.ops.backup import backup, proven; from pathlib import Path; a = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; backup(sys.argv[1]); proven(Path(sys.argv[1])); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - a)"
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path/"b.tar.gz")], env={**os.environ, "NBPROPS_HOME": str(home)}, capture_output=True, text=True, check=True)
    assert int(out.stdout) < 40_000 # KiB, of which DuckDB takes most

# --- commands ---

def test_the_commands(home, tmp_path, monkeypatch, capsys):
    "Would catch a command that speaks to people only, or that says 0 when it refused."
    from nbprops.cli import main
    def sh(*args, **env):
        with monkeypatch.context() as m, pytest.raises(SystemExit) as e:
            for k, v in env.items(): m.setenv(k, str(v))
            main([str(a) for a in args])
        return e.value.code, *capsys.readouterr()
    file, new = tmp_path/"b.tar.gz", tmp_path/"new"
    code, out, _ = sh("prune", "--dry-run", "--json", NBPROPS_NOW=LATER)
    assert code == 0 and {r["rule"] for r in json.loads(out)["rules"]} == set(AGES)
    code, _, err = sh("prune", NBPROPS_PRUNE_LINES_DAYS="never")
    assert code == 2 and "NBPROPS_PRUNE_LINES_DAYS is 'never'" in err
    code, out, _ = sh("backup", file, "--json")
    assert code == 0 and json.loads(out)["rows"][PRED] == 4
    assert [sh(*a)[0] for a in (("backup", file), ("restore", file), ("restore", tmp_path/"none"))] == [2, 2, 2]
    code, out, _ = sh("restore", file, "--dry-run", "--json", NBPROPS_HOME=new)
    assert code == 0 and json.loads(out)["dry_run"] and not new.exists()
    code, out, _ = sh("restore", file, NBPROPS_HOME=new)
    assert code == 0 and " restored" in out and hashed(new) == hashed(home)
    assert sh("prune", NBPROPS_HOME=new, NBPROPS_NOW=LATER)[0] == 0

def test_old_logs_go_by_the_day_in_their_name(wh, monkeypatch):
    "Fails when a log of yesterday goes, a file that is no log of ours goes, or the setting is not heard."
    from nbprops.data.logbook import log, logs_dir
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-10T12:00:00Z")
    days = {"nbprops-20260210.jsonl", "nbprops-20260209.jsonl", "nbprops-20260208.jsonl", "nbprops-20251112.jsonl", "nbprops-20251111.jsonl", "nbprops-20251101.jsonl"}
    for name in days | {"nbprops-2025111.jsonl", "nbprops-20251340.jsonl", "notes.jsonl", "error-20250101-000000.txt"}: logs_dir().mkdir(parents=True, exist_ok=True); (logs_dir()/name).write_text("{}\n")
    store = Store(str(wh.path.parent/"models"))
    found = lambda: next(r for r in prune(wh, store, dry_run=True).rules.iter_rows(named=True) if r["rule"] == "logs")
    assert (found()["count"], found()["bytes"], found()["older_than"], str(found()["newest"])) == (2, 6, "90 days", "2025-11-11")
    monkeypatch.setenv("NBPROPS_PRUNE_LOGS_DAYS", "1"); assert found()["count"] == 4, "the day of the 9th ended twelve hours ago"
    prune(wh, store)
    assert {p.name for p in logs_dir().iterdir()} == {"nbprops-20260210.jsonl", "nbprops-20260209.jsonl", "nbprops-2025111.jsonl", "nbprops-20251340.jsonl", "notes.jsonl", "error-20250101-000000.txt"}
