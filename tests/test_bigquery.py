"A warehouse in BigQuery keeps the promises of the embedded one, and its faults are sentences."
import os, signal, threading, time
from dataclasses import replace
from datetime import date, datetime, timezone
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from nbprops.data import bigquery as bq, bigquery_jobs, copying
from nbprops.data.tables import table
from nbprops.data.warehouse import Warehouse
from nbprops.settings import Broken, Counts, Refusal

pytestmark = pytest.mark.bigquery
A, FACTORS, SLATES = "nba_reference.player_aliases", "nba_precompute.player_composite_factors", "nba_predictions.slate_publications"
aliases = lambda pairs: pl.DataFrame(pairs, schema={"alias_lookup": pl.String, "player_lookup": pl.String}, orient="row")
day = lambda d: date(2026, 2, d)
factor = lambda p, d, pace=1.0: pl.DataFrame({"player_lookup": [p], "game_id": [p + str(d)], "context_json": ["{}"], "game_date": [day(d)], "pace_score": [pace]})
sent = lambda wh, kind: [s for s in wh.jobs.sent if s.kind == kind]

@pytest.fixture
def team(bigquery, monkeypatch, request):
    "An empty, migrated project of its own."
    for k, v in bigquery.settings(f"t{abs(hash(request.node.nodeid)) % 10**12}").items(): monkeypatch.setenv(k, v)
    wh = Warehouse()
    wh.jobs.sent.clear(); wh.jobs.spent = 0
    return wh

def both(team, tmp_path) -> list[Warehouse]:
    own = Warehouse(tmp_path/"own.duckdb"); own.migrate()
    return [own, team]

def test_the_same_writes_leave_the_same_rows_and_receipts(team, tmp_path, monkeypatch):
    "New, equal, changed, broken and replaced rows; arrays, decimals, a missing value in a key; would catch any step that one engine does otherwise."
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-01T16:00:00Z")
    runs = pl.DataFrame({"request_id": ["r", "q"], "player_lookup": ["a", "b"], "game_date": [day(1)]*2, "line_values_requested": [[24.5, 25.0], []], "systems_attempted": [["x"], []], "systems_succeeded": [[], []], "systems_failed": [[], []], "missing_features": [[], []]})
    def play(wh):
        many = pl.concat([factor(f"p{i}", 3) for i in range(150)]) # too many to travel as parameters
        yield wh.write(A, aliases([("a", "x"), ("b", "y")]))
        yield wh.write(A, aliases([("a", "x"), ("b", "z"), ("c", None)]))
        yield wh.write(FACTORS, pl.concat([factor("a", 1), factor("b", 1, 99.5), factor("c", 2)]))
        yield wh.write(FACTORS, factor("a", 1, 2.0), replace=(day(1), day(1)))
        yield wh.write(FACTORS, many)
        yield wh.write(FACTORS, many)
        yield wh.write(FACTORS, many[:100], replace=(day(3), day(3)))
    receipts, tables = [], []
    for wh in both(team, tmp_path):
        receipts.append([(c.read, c.written, c.quarantined, c.present) for c in play(wh)])
        tables.append([wh.read(t, columns=table(t).names) for t in (A, FACTORS, "nba_orchestration.quarantine")])
    assert receipts[0] == receipts[1] and receipts[0][1] == (3, 1, 1, 1)
    for a, b in zip(*tables): assert_frame_equal(a, b)
    assert tables[1][1].height == 102

def test_a_query_that_is_written_leaves_the_same_rows(team, tmp_path, monkeypatch):
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-01T16:00:00Z")
    q = "SELECT DATE_ADD(@day, INTERVAL k DAY) AS game_date, 1 AS publication_number, IF(k = @lost, NULL, 'r' || CAST(k AS STRING)) AS run_id, 'd' AS slate_digest, 10*k AS row_count, @at AS published_at FROM UNNEST([0, 1]) AS k"
    at, found = datetime(2026, 2, 1, 16, tzinfo=timezone.utc), []
    for wh in both(team, tmp_path):
        for lost in (-1, -1, 1):
            with wh.transaction() as tx: counts = tx.write_query(SLATES, q, (day(1), day(3)), "test", day=day(1), at=at, lost=lost)
            found.append((counts.read, counts.written, counts.quarantined, counts.present))
        found.append(wh.read(SLATES).to_dicts())
    assert found[:4] == found[4:] and [f[1] for f in found[:3]] == [2, 0, 0]

def test_a_transaction_that_fails_leaves_nothing(team):
    with pytest.raises(RuntimeError), team.transaction() as tx:
        tx.write(A, aliases([("a", "x")]))
        assert tx.sql(f"SELECT COUNT(*) AS n FROM {A}").item() == 1 # a transaction sees what it wrote
        raise RuntimeError
    assert team.read(A).is_empty()

def test_a_small_write_is_one_job_and_a_large_one_two(team):
    "Would catch a job for each row, or a load job for a row of the ledger."
    team.write(A, aliases([("a", "x")]))
    assert [s.kind for s in team.jobs.sent] == ["query"]
    team.jobs.sent.clear()
    team.write(A, aliases([(f"a{i}", "x") for i in range(400)]))
    assert [s.kind for s in team.jobs.sent] == ["load", "query"]

def test_who_reads_and_then_writes_is_stopped_when_somebody_was_quicker(team):
    "Two commands both see that nothing is there, and both write: the second must not win by being late."
    team.write(A, aliases([("seed", "x")]))
    with pytest.raises(Broken, match="changed meanwhile.*run again"), team.transaction() as slow:
        assert slow.sql(f"SELECT COUNT(*) AS n FROM {A} WHERE alias_lookup = 'a'").item() == 0
        with team.transaction() as quick:
            assert quick.sql(f"SELECT COUNT(*) AS n FROM {A} WHERE alias_lookup = 'a'").item() == 0
            quick.write(A, aliases([("a", "quick")]))
        slow.write(A, aliases([("a", "slow")]))
    assert dict(team.read(A).iter_rows())["a"] == "quick"
    with team.transaction() as late: # what was read elsewhere does not matter
        late.sql(f"SELECT COUNT(*) AS n FROM {A}"); time.sleep(.01); team.write(A, aliases([("b", "x")])); late.write(FACTORS, factor("a", 1))
    assert team.read(FACTORS).height == 1

@pytest.mark.full
def test_writers_at_the_same_moment_lose_nothing(team):
    "Four threads write to one table; whoever meets another tries again, and no row is lost or doubled."
    faults = []
    def write(k: int) -> None:
        try:
            for i in range(3): team.write(A, aliases([(f"{k}.{i}", "x")]))
        except Refusal as e: faults.append(e)
    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert faults == [] and team.read(A).height == 12

def test_a_fault_in_the_middle_of_a_script_leaves_nothing(team):
    "The last assertion of a script fails; what was merged before it is rolled back."
    team.write(A, aliases([("a", "x")]))
    with pytest.raises(Refusal, match="append-only"), team.transaction() as tx:
        tx.write(FACTORS, factor("a", 1)); tx.write(A, aliases([("a", "y")]), mode="append")
    assert team.read(FACTORS).is_empty() and team.read(A)["player_lookup"].to_list() == ["x"]

FAULTS = {"expired": ("RefreshError", "credentials.*gcloud auth", 2), "permission": ("accessDenied", "permission is missing.*roles/bigquery", 2), "quota": ("quotaExceeded", "quota of the project", 3),
          "cancelled": ("stopped", "job was cancelled.*run again", 3), "too much": ("bytesBilledLimitExceeded", "read more than it may.*NBPROPS_BQ_MAX", 2)}

@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_sentence_and_nothing_is_written(team, monkeypatch, fault):
    "Credentials, permission, quota, cancellation and limit, each in the middle of a write."
    from google.api_core import exceptions as api
    from google.auth.exceptions import RefreshError
    reason, words, code = FAULTS[fault]
    e = RefreshError("token expired") if reason == "RefreshError" else api.Forbidden("refused", errors=[{"reason": reason, "message": "refused"}])
    ask = type(team.jobs.client).query
    def query(self, sql, *args, **kw):
        if "MERGE" in sql: raise e
        return ask(self, sql, *args, **kw)
    monkeypatch.setattr(type(team.jobs.client), "query", query)
    with pytest.raises(Refusal, match=words) as seen: team.write(A, aliases([("a", "x")]))
    assert seen.value.exit_code == code and "\n" not in str(seen.value)
    monkeypatch.undo()
    for k, v in {"NBPROPS_BACKEND": "bigquery"}.items(): monkeypatch.setenv(k, v)
    with team.transaction(any_schema=True) as tx: assert tx.sql(f"SELECT COUNT(*) AS n FROM {A}").item() == 0

def test_a_server_that_dies_in_the_middle_of_a_merge(bigquery, tmp_path, monkeypatch):
    "The emulator is killed while it merges; the command ends with a sentence, and afterwards all rows are there or none."
    from tests.emulators.bigquery import running
    with running(tmp_path/"own") as e:
        for k, v in e.settings().items(): monkeypatch.setenv(k, v)
        wh = Warehouse()
        wh.write(A, aliases([("seed", "x")]))
        answer, killed = bigquery_jobs.Jobs.query, []
        def query(self, sql, *args, **kw):
            if "MERGE" in sql: threading.Timer(.15, lambda: killed.append(e.process.send_signal(signal.SIGKILL))).start()
            return answer(self, sql, *args, **kw)
        with monkeypatch.context() as mp:
            mp.setattr(bigquery_jobs.Jobs, "query", query)
            with pytest.raises(Broken, match="cannot be reached.*run again"): wh.write(A, aliases([(f"a{i}", "x") for i in range(100)]))
        e.process.wait(); e.start()
        assert killed and wh.read(A).height in (1, 101)
        assert wh.write(A, aliases([(f"a{i}", "x") for i in range(100)])).read == 100 and wh.read(A).height == 101

def test_an_absent_server_is_a_sentence_within_its_patience(monkeypatch):
    from tests.post_office import free_port
    monkeypatch.setenv("NBPROPS_BACKEND", "bigquery"); monkeypatch.setenv("NBPROPS_BQ_PROJECT", "nobody"); monkeypatch.setenv("NBPROPS_BQ_PATIENCE", "1")
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    begun = time.monotonic()
    with pytest.raises(Broken, match="cannot be reached"): Warehouse().sql("SELECT 1")
    assert time.monotonic() - begun < 10

def test_every_job_says_who_sent_it_and_what_it_may_read(team, monkeypatch):
    "Labels, the limit of a query, and what is left of the command's budget."
    from nbprops.data.runs import step
    told, ask = [], type(team.jobs.client).query
    monkeypatch.setattr(type(team.jobs.client), "query", lambda self, sql, job_config, **kw: told.append(job_config) or ask(self, sql, job_config=job_config, **kw))
    jobs = bq.Jobs(replace(team.jobs.place, query_bytes=50_000_000, budget=60_000_000), _clients=team.jobs._clients)
    monkeypatch.setattr(team, "jobs", jobs)
    with step(team, "test", "labels", "Run-7"): team.sql("SELECT 1")
    jobs.spent = 40_000_000; team.sql("SELECT 1")
    assert [c.maximum_bytes_billed for c in told] == [50_000_000]*3 + [20_000_000]
    assert told[1].labels["run"] == "run-7" and {c.labels["app"] for c in told} == {"nbprops"}

def test_a_budget_that_is_used_up_refuses(team, monkeypatch):
    "The service would refuse a query of one byte; its answer is a sentence."
    from google.api_core.exceptions import BadRequest
    jobs = bq.Jobs(replace(team.jobs.place, budget=10), spent=10, _clients=team.jobs._clients)
    def query(sql, job_config, **kw):
        assert job_config.maximum_bytes_billed == 1
        raise BadRequest("Query exceeded limit for bytes billed: 1. 10485760 or higher required.", errors=[{"reason": "bytesBilledLimitExceeded"}])
    monkeypatch.setattr(jobs.client, "query", query)
    with pytest.raises(Refusal, match="more than it may.*NBPROPS_BQ_MAX_BYTES"): jobs.query("SELECT 1", {})

def test_an_estimate_names_bytes_and_money(team, say, monkeypatch):
    "The emulator counts no bytes, so the count is put in its place; nothing is run."
    from types import SimpleNamespace as N
    assert say('nbprops query --dry-run "SELECT COUNT(*) AS n FROM nba_reference.player_aliases"')[1].strip() == "This would read nothing that is billed."
    monkeypatch.setattr(bigquery_jobs.Jobs, "query", lambda self, sql, params, **kw: N(total_bytes_processed=2*10**12, referenced_tables=[N(dataset_id="d", table_id="t")]) if kw.get("dry") else pytest.fail("it ran"))
    assert say('nbprops query --dry-run "SELECT 1 AS x"')[1].strip() == "This would read 2 TB of d.t; billed are 2 TB, 11.3687 USD at 6.25 USD a TiB."

@pytest.mark.full
def test_an_older_project_is_refused_and_mended(team, say):
    "A column and a table are missing; the plan names both, migrating adds them and keeps the rows, and a second time does nothing."
    team.write(A, aliases([("a", "x")]))
    for q in (f"ALTER TABLE {A} DROP COLUMN replay_now", f"DROP TABLE {SLATES}"): team.jobs.query(q, {})
    d = team.jobs.client.get_dataset("nba_predictions"); d.labels = {"nbprops_shape": "older"}; team.jobs.client.update_dataset(d, ["labels"])
    bq._SEEN.clear()
    with pytest.raises(Refusal, match="older than the code.*2 statements.*nbprops migrate"): team.read(A)
    code, plan, _ = say("nbprops migrate --dry-run")
    assert code == 0 and f"ALTER TABLE {A} ADD COLUMN IF NOT EXISTS replay_now TIMESTAMP" in plan and f"CREATE TABLE IF NOT EXISTS {SLATES}" in plan and "2 statements to run" in plan
    assert "2 statements run" in say("nbprops migrate")[1] and "nothing to do" in say("nbprops migrate")[1]
    assert team.read(A).height == 1 and team.read(SLATES).is_empty()

def test_a_changed_type_is_refused(team, say):
    for q in (f"DROP TABLE {A}", f"CREATE TABLE {A} (alias_lookup INT64, player_lookup STRING)"): team.jobs.query(q, {})
    code, _, err = say("nbprops migrate")
    assert code == 2 and "alias_lookup is INT64 and should be STRING" in err

def filled(wh: Warehouse) -> Warehouse:
    wh.migrate()
    wh.write(A, aliases([("a", "x"), ("b", "y")]))
    wh.write(FACTORS, pl.concat([factor(p, d) for p in "abc" for d in range(1, 9)] + [factor("z", 9, 99.5)])) # the last goes to quarantine
    return wh

def contents(wh: Warehouse) -> dict:
    names = (A, FACTORS, "nba_orchestration.quarantine")
    return {t: wh.read(t, columns=table(t).names).to_dicts() for t in names}

@pytest.mark.full
def test_a_copy_is_equal_both_ways_and_costs_nothing_twice(team, tmp_path, say):
    "From a file to a project and from there to another file, by the command; audit stamps included."
    own = filled(Warehouse(tmp_path/"own.duckdb"))
    code, out, err = say(f"nbprops copy --from duckdb:{tmp_path}/own.duckdb --to bigquery:{team.jobs.place.project}")
    assert code == 0 and "27 copied, 0 already there; all of 10 days are equal" in out, out + err
    assert "0 copied, 27 already there" in say(f"nbprops copy --from duckdb:{tmp_path}/own.duckdb --to bigquery:{team.jobs.place.project}")[1]
    copying.copy(team, back := Warehouse(tmp_path/"back.duckdb"))
    assert contents(own) == contents(team) == contents(back)

@pytest.mark.full
def test_a_copy_goes_on_where_it_was_broken(team, tmp_path, monkeypatch):
    "The connection breaks after two pieces; the next run copies the rest and nothing twice."
    own = filled(Warehouse(tmp_path/"own.duckdb"))
    monkeypatch.setattr(copying, "PIECE", 6)
    put, done = copying.insert, []
    def insert(*args, **kw):
        if len(done) == 2: raise Broken("BigQuery cannot be reached", "", "run again")
        done.append(put(*args, **kw))
    with monkeypatch.context() as mp:
        mp.setattr(copying, "insert", insert)
        with pytest.raises(Broken): copying.copy(own, team)
    found = copying.copy(own, team)
    assert found["copied"].sum() + found["present"].sum() == 27 and found["present"].sum() > 0 and contents(own) == contents(team)

@pytest.mark.full
def test_a_day_that_differs_is_not_overwritten(team, tmp_path):
    own = filled(Warehouse(tmp_path/"own.duckdb"))
    copying.copy(own, team)
    team.write(FACTORS, factor("a", 2, 7.0))
    with pytest.raises(Refusal, match=f"{FACTORS} holds other rows at the target on 2026-02-02.*--replace"): copying.copy(own, team, only=(FACTORS,))
    found = copying.copy(own, team, only=(FACTORS,), replace=True)
    assert found["copied"].item() == 3 and contents(own) == contents(team)
