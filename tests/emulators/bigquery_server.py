"""Starts the BigQuery emulator; runs in the emulator's own environment.

    python bigquery_server.py extensions                       put the extensions under HOME
    python bigquery_server.py --port 1 --grpc-port 2 --project P --data-dir D

Three things differ from the emulator as it comes. Its MERGE begins a transaction of its own, also inside one, which ends both: here it does not. __TABLES__ says when rows changed. And a project that is asked for the first time is a copy of the project `template`, when there is one, so that a test need not wait for fifty statements of DDL."""
import re, shutil, sys
import duckdb

EXTENSIONS = ("icu", "ducklake", "spatial")

def extensions() -> None:
    from duckdb_extensions import import_extension
    con = duckdb.connect()
    for name in EXTENSIONS: import_extension(name, con=con)

class Cursor:
    "A cursor that says so when it is asked to begin inside a transaction, instead of breaking it."
    def __init__(self, cur, inside): self.cur, self.inside = cur, inside
    def __getattr__(self, name): return getattr(self.cur, name)
    def execute(self, sql, *rest):
        if sql == "BEGIN" and id(self.cur) in self.inside: raise duckdb.TransactionException("inside")
        return self.cur.execute(sql, *rest)

def mend_merge() -> None:
    from local_bigquery.jobs import merge, query
    from sqlglot import exp
    inside, run, one = set(), merge.run, query._run
    def remember(cur, tree, *rest):
        out = one(cur, tree, *rest)
        if isinstance(tree, exp.Transaction): inside.add(id(cur))
        if isinstance(tree, (exp.Commit, exp.Rollback)): inside.discard(id(cur))
        return out
    merge.run, query._run = (lambda cur, *rest: run(Cursor(cur, inside), *rest)), remember

def moved(path) -> None:
    "Tell a lake where its files lie now."
    with duckdb.connect(str(path)) as con: con.execute("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [f"{path.with_suffix('')}/"])

def copy_projects(folder) -> None:
    "Let a new project begin as a copy of the template; what it describes lies in the emulator's own tables."
    from local_bigquery.engine import database
    begin = database._attach
    def attach(con, project):
        path, model = folder/f"{project}.ducklake", folder/"template.lake"
        if not path.exists() and model.exists():
            shutil.copyfile(model, path); moved(path)
            for kind, keys in database.RESOURCES.items():
                rest = ", ".join(keys[1:])
                con.execute(f"INSERT OR IGNORE INTO emulator.{kind} SELECT '{project}', {rest}, replace(resource, '\"template\"', '\"{project}\"')::JSON FROM emulator.{kind} WHERE project_id = 'template'")
        begin(con, project)
    database._attach = attach
    from local_bigquery.app import app
    from starlette.concurrency import run_in_threadpool
    @app.middleware("http")
    async def known(request, answer): # whoever asks about a project, asks about a copy
        if m := re.search(r"/projects/([a-z0-9-]+)/", request.url.path): await run_in_threadpool(database.attach, m[1])
        return await answer(request)

CHANGED = """SELECT s.schema_name, t.table_name, epoch_ms(max(n.snapshot_time)) FROM {m}.ducklake_table AS t JOIN {m}.ducklake_schema AS s USING (schema_id)
    JOIN (SELECT table_id, begin_snapshot AS k FROM {m}.ducklake_data_file UNION ALL SELECT table_id, end_snapshot FROM {m}.ducklake_data_file UNION ALL SELECT table_id, begin_snapshot FROM {m}.ducklake_delete_file) AS f USING (table_id)
    JOIN {m}.ducklake_snapshot AS n ON n.snapshot_id = f.k WHERE t.end_snapshot IS NULL GROUP BY ALL"""

def tell_changes() -> None:
    "Let __TABLES__ say when the rows of a table changed, and not only when its description did."
    from local_bigquery.engine import database
    from local_bigquery.sql.rules import information_schema as info
    tables = info._tables
    def told(project, dataset):
        at = {(s, t): ms for s, t, ms in database.fetch(CHANGED.format(m=database.quote(f"__ducklake_metadata_{project}")))}
        for t in tables(project, dataset):
            ref = t.tableReference
            yield t.replace(lastModifiedTime=str(max(int(t.lastModifiedTime or 0), at.get((ref.datasetId, ref.tableId), 0))))
    info._tables = told

def end_with_parent() -> None:
    "A server whose tests were killed ends, too."
    import os, threading, time
    parent = os.getppid()
    def watch():
        while os.getppid() == parent: time.sleep(1)
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()

if __name__ == "__main__":
    if sys.argv[1:] == ["extensions"]: extensions(); sys.exit()
    from pathlib import Path
    folder = Path(sys.argv[sys.argv.index("--data-dir") + 1])
    mend_merge(); tell_changes(); end_with_parent()
    for p in folder.glob("*.ducklake"): moved(p)
    copy_projects(folder)
    from local_bigquery.cli import main
    sys.argv[1:1] = ["serve", "--host", "127.0.0.1"]
    sys.exit(main())
