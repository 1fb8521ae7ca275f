"Writes are complete or absent, keys stay unique, every row has a fate."
import os, stat, subprocess, sys, textwrap, time
from datetime import date
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from nbprops.data import warehouse
from nbprops.data.artifacts import Store
from nbprops.data.tables import TABLES, conform, table
from nbprops.data.rules import RULES, check
from nbprops.data.warehouse import Warehouse, statements, to_duckdb
from nbprops.data.writing import merge_statement
from nbprops.settings import Refusal

A = "nba_reference.player_aliases"
aliases = lambda pairs: pl.DataFrame(pairs, schema={"alias_lookup": pl.String, "player_lookup": pl.String}, orient="row")

@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    w = Warehouse(tmp_path_factory.mktemp("w")/"w.duckdb"); w.migrate()
    return w

@pytest.mark.embedded
def test_every_declaration_becomes_a_live_table_with_its_types(shared):
    "Catches a type that storage does not know, and a column lost between declaration and table."
    import duckdb
    with duckdb.connect(str(shared.path)) as con: live = con.execute("SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns").fetchall()
    have = {(f"{s}.{t}", c): k for s, t, c, k in live}
    want = {(t.name, c.name): c.duck for t in TABLES.values() for c in t.columns}
    same = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    assert {k: same.get(v, v) for k, v in want.items()} == {k: v for k, v in have.items() if k in want} and len(want) > 1000

def test_a_second_migration_does_nothing(shared): assert shared.migrate() == []

@pytest.mark.embedded
def test_an_older_schema_is_refused_and_mended(wh):
    "A missing column must be named before a write, and additive migration must bring it back."
    wh.sql("ALTER TABLE nba_predictions.model_registry DROP COLUMN semantic_id")
    before = wh.sql("SELECT COUNT(*) AS n FROM nba_predictions.model_registry").item()
    with pytest.raises(Refusal, match="semantic_id.*nbprops migrate"): wh.write("model_registry", _full_row("model_registry"))
    assert wh.migrate() == ["ALTER TABLE nba_predictions.model_registry ADD COLUMN IF NOT EXISTS semantic_id STRING"]
    assert wh.sql("SELECT COUNT(*) AS n FROM nba_predictions.model_registry").item() == before

def _full_row(name: str) -> pl.DataFrame:
    "One row with a value in every declared column."
    value = {pl.String: "x", pl.Int64: 1, pl.Float64: 1.0, pl.Boolean: True, pl.Date: date(2026, 2, 1)}
    return pl.DataFrame([pl.Series(c.name, [value.get(c.frame, [] if isinstance(c.frame, pl.List) else None)], dtype=c.frame) for c in table(name).columns[:table(name).declared]])

pairs = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("xyz"), max_size=8)

@settings(max_examples=6)
@given(st.lists(pairs, min_size=1, max_size=5))
def test_merging_equals_a_dict(tmp_path_factory, batches):
    "Oracle: a table under MERGE is a dict under update; the receipt tells new or changed rows from those already there."
    w = Warehouse(tmp_path_factory.mktemp("m")/"m.duckdb")
    w.migrate()
    state = {}
    for b in batches:
        counts = w.write(A, aliases(list(b.items())))
        assert (counts.read, counts.present) == (len(b), sum(state.get(k) == v for k, v in b.items()))
        state |= b
    assert dict(w.read(A).select("alias_lookup", "player_lookup").iter_rows()) == state

def test_null_equals_null_in_a_key_and_lines_keep_their_half(wh):
    "Casting a line to an integer once made 24.5 and 25.0 one key; NULL must meet NULL."
    rows = pl.concat([_prediction(l) for l in (24.5, 25.0, None)])
    assert wh.write("player_prop_predictions", rows).written == 3
    assert wh.write("player_prop_predictions", rows).present == 3
    assert wh.sql("SELECT COUNT(*) FROM player_prop_predictions").item() == 3

def _prediction(line):
    from datetime import datetime, timezone
    now = datetime(2026, 2, 1, 16, tzinfo=timezone.utc)
    row = _full_row("player_prop_predictions").with_columns(pl.lit(line, dtype=pl.Float64).alias("line_value"), pl.lit("a"*64).alias("model_sha256"), pl.lit(.4).alias("p_over"), pl.lit(.0).alias("p_push"))
    return row.with_columns(pl.lit(now).alias(c.name) for c in table("player_prop_predictions").columns if c.type == "TIMESTAMP" and c.name in row.columns)

def test_created_at_is_renewed_only_where_a_table_declares_it(wh):
    "Would catch a regenerated prediction with the write time of the version it replaced, or an audit stamp that forgets the first write."
    from datetime import timedelta
    at = lambda: wh.sql("SELECT created_at FROM player_prop_predictions")["created_at"].item()
    old = _prediction(24.5); wh.write("player_prop_predictions", old); first = at()
    later = old.with_columns(pl.col("created_at") + timedelta(hours=2))
    assert wh.write("player_prop_predictions", later).present == 1 and at() == first
    changed = later.with_columns(predicted_points=pl.lit(2.5))
    assert wh.write("player_prop_predictions", changed).present == 0 and at() == first + timedelta(hours=2)
    stamp = lambda: wh.sql(f"SELECT created_at FROM {A}")["created_at"].item()
    wh.write(A, aliases([("a", "x")])); born = stamp(); wh.write(A, aliases([("a", "y")]))
    assert stamp() == born and wh.sql(f"SELECT updated_at FROM {A}")["updated_at"].item() > born

def test_a_row_that_breaks_a_rule_is_kept_whole_with_the_rule(wh):
    frame = pl.DataFrame({"player_lookup": ["a", "b"], "game_id": ["g", "h"], "context_json": ["{}", "{}"], "game_date": [date(2026, 2, 1)]*2, "pace_score": [99.5, 1.0]})
    counts = wh.write("nba_precompute.player_composite_factors", frame, run_id="r1")
    assert (counts.read, counts.written, counts.quarantined) == (2, 1, 1)
    q = wh.sql("SELECT * FROM nba_orchestration.quarantine").row(0, named=True)
    assert q["field"] == "pace_score" and q["value_text"] == "99.5" and q["unit"] == "points-like" and '"player_lookup":"a"' in q["row_json"] and q["run_id"] == "r1"
    wh.write("nba_precompute.player_composite_factors", frame, run_id="r2")
    assert wh.sql("SELECT COUNT(*) FROM nba_orchestration.quarantine").item() == 1

def test_every_rule_names_a_column_and_fires_on_a_bad_value():
    "Catches a rule that can never fire: each range rule must reject a value beyond its bound."
    import re
    silent = []
    for r in RULES:
        m = re.fullmatch(r"(-?[\d.]+)\.\.(-?[\d.]+)", r.text)
        if not m: continue
        frame = _full_row(r.table).with_columns(pl.lit(float(m[2]) + 1).cast(table(r.table).column(r.field).frame).alias(r.field))
        if r.id not in check(r.table, frame)["rule_id"].to_list(): silent.append(r.id)
    assert silent == [] and len(RULES) > 40

def test_a_doubled_key_is_refused_and_nothing_is_written(wh):
    with pytest.raises(Refusal, match="repeat a key"): wh.write(A, aliases([("a", "x"), ("a", "y")]))
    assert wh.read(A).is_empty()

def test_an_unknown_column_is_refused(wh):
    with pytest.raises(Refusal, match="no column"): wh.write(A, aliases([("a", "x")]).with_columns(plyer=pl.lit(1)))

def test_append_only_tables_refuse_a_second_time(wh):
    wh.write(A, aliases([("a", "x")]), mode="append")
    with pytest.raises(Refusal, match="append-only"): wh.write(A, aliases([("a", "y")]), mode="append")

def test_replace_removes_rows_that_are_gone_and_only_in_the_range(wh):
    "A player who left the slate must not stay in the store; other dates must not be touched."
    row = lambda p, d: pl.DataFrame({"player_lookup": [p], "game_id": [p + str(d)], "context_json": ["{}"], "game_date": [date(2026, 2, d)]})
    name = "nba_precompute.player_composite_factors"
    wh.write(name, pl.concat([row("a", 1), row("b", 1), row("c", 2)]))
    wh.write(name, row("a", 1), replace=(date(2026, 2, 1), date(2026, 2, 1)))
    assert wh.read(name)["player_lookup"].to_list() == ["a", "c"]

@pytest.mark.embedded
def test_a_killed_writer_leaves_nothing_behind(wh):
    "The process is killed inside its transaction; the file must open again and hold no row of it."
    code = f"""
        import os, signal, polars as pl
        from nbprops.data.warehouse import Warehouse
        with Warehouse({str(wh.path)!r}).transaction() as tx:
            tx.write({A!r}, pl.DataFrame({{"alias_lookup": ["a"], "player_lookup": ["x"]}}))
            os.kill(os.getpid(), signal.SIGKILL)"""
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9
    assert wh.read(A).is_empty() and wh.write(A, aliases([("a", "x")])).written == 1

@pytest.mark.embedded
def test_two_processes_take_turns(wh):
    "Four processes write twenty rows; none may be lost to a lock."
    code = "import sys, polars as pl\nfrom nbprops.data.warehouse import Warehouse\nfor i in range(5): Warehouse(sys.argv[1]).write('nba_reference.player_aliases', pl.DataFrame({'alias_lookup': [sys.argv[2] + str(i)], 'player_lookup': ['x']}))"
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(wh.path), str(j)]) for j in range(4)]
    assert [j.wait() for j in jobs] == [0]*4
    assert wh.read(A).height == 20

@pytest.mark.embedded
def test_a_busy_warehouse_names_its_holder(wh):
    code = f"import duckdb, sys, time; c = duckdb.connect({str(wh.path)!r}); print('open', flush=True); time.sleep(30)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        holder.stdout.readline()
        with pytest.raises(Refusal, match=f"pid {holder.pid}"):
            with wh.transaction(wait=.2): pass
    finally: holder.kill()

@pytest.mark.embedded
def test_a_file_is_held_as_long_as_it_is_used_and_no_longer(wh):
    "Would catch an engine that keeps a lock after the last user of a file, or lets it go with the first."
    free = lambda: subprocess.run([sys.executable, "-c", "import duckdb, sys; duckdb.connect(sys.argv[1])", str(wh.path)], capture_output=True, text=True).stderr
    with wh.transaction() as one:
        with wh.transaction() as two: assert two.sql("SELECT 1 AS x").item() == 1
        with pytest.raises(Refusal): wh.sql("SELEC")
        one.write(A, aliases([("a", "x")]))
        assert "Could not set lock" in free()
    assert free() == "" and wh.read(A).height == 1

@pytest.mark.embedded
def test_threads_share_a_file(wh):
    "Would catch a file that is detached under a thread that still works, or rows that are lost."
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(8) as pool: list(pool.map(lambda i: (wh.write(A, aliases([(f"a{i}", "x")])), wh.sql("SELECT 1")), range(40)))
    assert wh.read(A).height == 40 and warehouse._engine().used == {}

@pytest.mark.embedded
def test_two_warehouses_are_told_apart(wh, tmp_path):
    "Would catch a table or a schema of one file that answers for the other."
    other = Warehouse(tmp_path/"it's other.duckdb")
    with wh.transaction():
        assert len(other.migrate()) > 40 and other.migrate() == []
        other.write(A, aliases([("b", "y")]))
    assert wh.read(A).is_empty() and other.read(A).height == 1

@pytest.mark.embedded
@pytest.mark.parametrize("fault", ["FATAL", "closed", "spilled"])
def test_an_engine_that_no_longer_works_is_replaced(wh, monkeypatch, fault):
    "Would catch a process that can read nothing any more after one fatal error."
    import duckdb
    first, real = warehouse._engine(), warehouse._engine().root
    class Broken:
        def __getattr__(self, name): return getattr(real, name)
        def execute(self, q):
            if fault == "FATAL": raise duckdb.FatalException("FATAL Error: database has been invalidated because of a previous fatal error")
            if fault == "spilled" and "temp_directory" in q: raise duckdb.NotImplementedException("Cannot switch temporary directory after the current one has been used")
            return real.execute(q)
    if fault == "closed": real.close()
    else: first.root, first.spill = Broken(), None
    assert wh.write(A, aliases([("a", "x")])).written == 1 and wh.read(A).height == 1 and warehouse._engine() is not first

@pytest.mark.embedded
def test_an_engine_that_cannot_let_go_is_replaced(wh):
    "Would catch a lock that is kept for ever after a file could not be detached."
    with wh.transaction() as tx:
        engine = warehouse._engine()
        engine.used = {k: ("nobody", n) for k, (_, n) in engine.used.items()}
        tx.write(A, aliases([("a", "x")]))
    assert warehouse._engine() is not engine and wh.read(A).height == 1
    assert subprocess.run([sys.executable, "-c", "import duckdb, sys; duckdb.connect(sys.argv[1])", str(wh.path)]).returncode == 0

@pytest.mark.embedded
def test_a_forked_process_has_an_engine_of_its_own(wh):
    "Would catch a child that stands still or dies of the threads that stayed with its parent."
    code = f"""
        import os, sys
        from nbprops.data.warehouse import Warehouse
        w = Warehouse({str(wh.path)!r})
        w.sql("SELECT 1")
        if child := os.fork(): sys.exit(os.waitpid(child, 0)[1] or w.sql("SELECT 1 AS x").item() - 1)
        w.sql("SELECT 2")"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], timeout=60).returncode == 0

@pytest.mark.embedded
def test_a_connection_of_ones_own_is_no_obstacle(wh):
    "Would catch an analyst whose own connection, in the same process, shuts the package out."
    import duckdb
    with duckdb.connect(str(wh.path)) as own:
        wh.write(A, aliases([("a", "x")]))
        assert own.execute(f"SELECT count(*) FROM {A}").fetchone()[0] == 1
    assert wh.read(A).height == 1

@pytest.mark.embedded
def test_the_published_copy_is_readable_while_a_writer_works(wh, monkeypatch):
    from nbprops.data import warehouse
    monkeypatch.setenv("NBPROPS_DB", str(wh.path))
    wh.write(A, aliases([("a", "x")])); wh.publish()
    with wh.transaction() as tx:
        tx.write(A, aliases([("b", "x")]))
        out = subprocess.run([sys.executable, "-c", "from nbprops.data.warehouse import sql; print(sql('SELECT COUNT(*) FROM nba_reference.player_aliases').item())"], capture_output=True, text=True)
    assert out.stdout.strip() == "1", out.stderr

@pytest.mark.embedded
def test_a_file_that_is_no_warehouse_is_one_sentence(tmp_path):
    (tmp_path/"x.duckdb").write_text("no database" * 500)
    with pytest.raises(Refusal, match="cannot be opened"): Warehouse(tmp_path/"x.duckdb").sql("SELECT 1")

@pytest.mark.embedded
def test_an_absent_warehouse_names_the_command(tmp_path):
    with pytest.raises(Refusal, match="nbprops demo"): Warehouse(tmp_path/"none.duckdb").sql("SELECT 1")

def test_statements_keep_comments_and_strings():
    assert statements("-- a; b\nSELECT ';' AS x; SELECT 2") == [("a; b", "SELECT ';' AS x"), ("", "SELECT 2")]

def test_wrong_sql_is_a_sentence(wh):
    with pytest.raises(Refusal): wh.sql("SELEC 1 FROM")
    with pytest.raises(Refusal, match="refused"): wh.sql("SELECT nope FROM nba_predictions.model_registry")

def test_an_artefact_is_written_once_and_verified(tmp_path):
    s = Store(str(tmp_path/"s"))
    digest = s.put("catboost/f/a.cbm", b"trees")
    with pytest.raises(Refusal, match="never overwritten"): s.put("catboost/f/a.cbm", b"others")
    (tmp_path/"s/catboost/f/a.cbm").write_bytes(b"swapped")
    with pytest.raises(Refusal, match="not the file"): s.get("catboost/f/a.cbm", digest)
    assert s.list() == ["catboost/f/a.cbm"]

def test_facts_of_a_range_are_of_one_moment(league, monkeypatch):
    "Would catch sources read one by one, between which another process may write; and a reader that opens the file for each of them."
    from dataclasses import fields
    from nbprops.data import warehouse
    from nbprops.features.facts import Facts
    opened, connect = [], warehouse._connect
    monkeypatch.setattr(warehouse, "_connect", lambda *a, **k: opened.append(1) or connect(*a, **k))
    alone = Facts.read(league, date(2025, 11, 20), date(2025, 11, 21))
    assert len(opened) == 1
    with league.transaction() as tx: through = Facts.read(tx, date(2025, 11, 20), date(2025, 11, 21))
    assert len(opened) == 2 and all(getattr(alone, f.name).equals(getattr(through, f.name)) for f in fields(Facts)) and alone.box.height

def test_a_copy_that_writes_days_anew_leaves_other_days_alone(tmp_path):
    "The target holds a day between two that differ, of which the source knows nothing; would catch a range that is cleared where days are meant."
    from nbprops.data.copying import copy
    name = "nba_precompute.player_composite_factors"
    row = lambda d, pace: pl.DataFrame({"player_lookup": ["a"], "game_id": [f"g{d}"], "context_json": ["{}"], "game_date": [date(2026, 2, d)], "pace_score": [pace]})
    source, target = (Warehouse(tmp_path/f"{n}.duckdb") for n in "ab")
    for w, days, pace in ((source, (1, 3), 1.0), (target, (1, 2, 3), 2.0)): w.migrate(); w.write(name, pl.concat([row(d, pace) for d in days]))
    with pytest.raises(Refusal, match="other rows at the target on 2026-02-01 and 1 more days"): copy(source, target, only=(name,))
    found = copy(source, target, only=(name,), replace=True)
    assert found.select("copied", "present", "more").row(0) == (2, 0, 1)
    assert target.read(name, columns=["game_date", "pace_score"]).rows() == [(date(2026, 2, 1), 1.0), (date(2026, 2, 2), 2.0), (date(2026, 2, 3), 1.0)]
