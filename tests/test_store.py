"The store on a folder, in memory and in a bucket: a name has one winner, no older manifest covers a newer one, a broken transfer leaves nothing, and every failure is a sentence."
import errno, json, os, shutil, subprocess, sys, threading, uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
import pytest
from nbprops.data import artifacts, places
from nbprops.data.artifacts import Store
from nbprops.data.places import NEW, Lost
from nbprops.data.warehouse import Warehouse
from nbprops.model import manifest as M, moves, registry as R
from nbprops.settings import Broken, Refusal, sha256_of
from tests.buckets import emulator, new_bucket
from tests.forks import script
from tests.model_toys import bundle

KINDS = ("folder", "memory", "bucket")
MODEL = "catboost/v9_mae/a.cbm"

@pytest.fixture(scope="module")
def gate():
    with emulator() as g: yield g

@pytest.fixture
def quick(gate, monkeypatch):
    "The emulator, with the patience of a test."
    gate.calm()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gate.url)
    for name, seconds in (("PATIENCE", .8), ("FIRST_PAUSE", .01), ("LONGEST_PAUSE", .05)): monkeypatch.setattr(places, name, seconds)
    return gate

@pytest.fixture
def crowd(quick, monkeypatch):
    "The emulator itself: many at once would wait for each other at the gate."
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", quick.direct)
    return quick

def address(kind: str, tmp_path) -> str:
    return {"folder": lambda: str(tmp_path/"store"), "memory": lambda: f"memory://{uuid.uuid4().hex}", "bucket": lambda: new_bucket() + "/season/models"}[kind]()

@pytest.fixture(params=KINDS)
def store(request, quick, tmp_path): return Store(address(request.param, tmp_path))

@pytest.fixture
def bucket(quick, tmp_path): return Store(address("bucket", tmp_path))

def sentence(e: Refusal, *words: str) -> None:
    "One line that says what, and how to mend it."
    text = str(e)
    assert "\n" not in text and "Mend: " in text and "Traceback" not in text and len(text) < 500
    for w in words: assert w in text, (w, text)

# --- the same on every place

def test_files_are_put_read_listed_and_removed(store):
    "Fails when one of the places answers in another way than the others."
    assert store.list() == [] and store.list("catboost") == [] and not store.exists(MODEL) and store.get_at(MODEL) == (None, NEW)
    assert store.put(MODEL, b"trees") == sha256_of(b"trees") and store.put("catboost2/b.cbm", b"") == sha256_of(b"")
    data, generation = store.get_at(MODEL)
    assert data == b"trees" and generation != NEW and store.exists(MODEL) and store.get(MODEL, sha256_of(b"trees")) == b"trees"
    assert store.list() == [MODEL, "catboost2/b.cbm"] and store.list("catboost") == [MODEL] and [e.size for e in store.entries()] == [5, 0] and all(e.made.tzinfo for e in store.entries())
    with pytest.raises(Refusal, match="not the file that was registered"): store.get(MODEL, "0"*64)
    with pytest.raises(Refusal, match="is not in the store"): store.get("catboost/none.cbm")
    store.remove(MODEL); store.remove(MODEL)
    assert store.list() == ["catboost2/b.cbm"] and store.locate(MODEL) == f"{store.uri}/{MODEL}"

def test_an_artefact_is_never_overwritten(store):
    "Fails when a name can be given twice, even to the same bytes."
    store.put(MODEL, b"trees")
    for data in (b"trees", b"other"):
        with pytest.raises(Refusal) as e: store.put(MODEL, data)
        sentence(e.value, "exists already", "never overwritten")
        assert type(e.value) is Refusal
    assert store.get(MODEL) == b"trees"

def test_of_many_threads_one_wins_a_name(store, crowd):
    "Fails when a look before the write is all that keeps two writers apart."
    begin, rounds = threading.Barrier(8), 4 if isinstance(store.place, places.Bucket) else 60
    def one(k):
        mine, won = Store(store.uri), []
        for r in range(rounds):
            begin.wait(5)
            try: mine.put(f"catboost/{r:02d}.cbm", b"%d" % k * 100); won.append(r)
            except Refusal as e: sentence(e, "exists already")
        return won
    with ThreadPoolExecutor(8) as pool: won = list(pool.map(one, range(8)))
    assert sorted(sum(won, [])) == list(range(rounds)) and len(store.list()) == rounds
    for k, names in enumerate(won): assert all(store.get(f"catboost/{r:02d}.cbm") == b"%d" % k * 100 for r in names)

RACE = """
import sys, time
from pathlib import Path
from nbprops.data.artifacts import Store
from nbprops.settings import Refusal
uri, me, ready = sys.argv[1:4]
store, won = Store(uri), []
Path(f"{ready}/{me}").write_text("")
while len(list(Path(ready).iterdir())) < 2: time.sleep(.002)
for k in range(12):
    try: store.put(f"catboost/{k}.cbm", me.encode() * 500); won.append(k)
    except Refusal as e: assert "exists already" in str(e)
for k in range(4): store.renew_json("count.json", lambda seen: {"n": __import__("json").loads(seen)["n"] + 1 if seen else 1})
print(won)
"""

@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_of_two_processes_one_wins_each_name_and_no_update_is_lost(kind, crowd, tmp_path):
    "Fails when two processes overwrite each other's model, or one counts from a number that another has replaced."
    store, ready = Store(address(kind, tmp_path)), tmp_path/"ready"; ready.mkdir()
    children = [script(RACE, store.uri, me, ready) for me in "ab"]
    ends = [c.end(60) for c in children]
    assert [r.returncode for r in ends] == [0, 0], ends
    won = {me: json.loads(r.stdout) for me, r in zip("ab", ends)}
    assert sorted(sum(won.values(), [])) == list(range(12))
    for me, names in won.items(): assert all(store.get(f"catboost/{k}.cbm") == me.encode() * 500 for k in names)
    assert store.get_json("count.json") == {"n": 8}

def test_no_update_of_many_threads_is_lost(store, crowd, monkeypatch):
    "Fails when a JSON file is replaced without regard to what was read."
    monkeypatch.setattr(artifacts, "TRIES", 200)
    def add(_):
        for _ in range(3): Store(store.uri).renew_json("count.json", lambda seen: {"n": json.loads(seen)["n"] + 1 if seen else 1})
    with ThreadPoolExecutor(4) as pool: list(pool.map(add, range(4)))
    assert store.get_json("count.json") == {"n": 12}

def test_an_older_view_never_covers_a_newer_one(store):
    "Fails when a generation is ignored, or a loser leaves a trace."
    first = store.put_json("m.json", {"n": 1}, NEW)
    second = store.put_json("m.json", {"n": 2}, first)
    for old in (NEW, first):
        with pytest.raises(Lost) as e: store.put_json("m.json", {"n": 0}, old)
        sentence(e.value, "m.json was written by somebody else meanwhile")
    assert store.get_at("m.json")[1] == second and store.get_json("m.json") == {"n": 2} and store.list() == ["m.json"]
    store.put_json("m.json", {"n": 3}); assert store.get_json("m.json") == {"n": 3}

def test_renewing_gives_up_in_a_sentence(store, monkeypatch):
    "Fails when a file that is written all the time keeps a command for ever."
    monkeypatch.setattr(artifacts, "TRIES", 3)
    seen = []
    def make(data): seen.append(data); store.put_json("m.json", {"other": len(seen)}); return {"mine": 1}
    with pytest.raises(Broken) as e: store.renew_json("m.json", make)
    sentence(e.value, "changed by others 3 times")
    assert len(seen) == 3 and store.get_json("m.json") == {"other": 3}

def test_what_comes_back_damaged_is_removed_and_can_be_put_again(store, monkeypatch):
    "Fails when bytes that differ from what was sent keep the name."
    real, broken = store.place.read, [1]
    def read(rel):
        data, generation = real(rel)
        return (data[:-1] + b"?", sha256_of(data[:-1] + b"?") if isinstance(store.place, (places.Folder, places.Other)) else generation) if broken else (data, generation)
    monkeypatch.setattr(store.place, "read", read)
    monkeypatch.setattr(store.place, "_stands", lambda rel: sha256_of(real(rel)[0]) if store.place.exists(rel) else NEW, raising=False)
    if isinstance(store.place, places.Other): monkeypatch.setattr(store.place, "remove", lambda rel, generation=None: store.place.fs.rm_file(store.place.at(rel)) if sha256_of(real(rel)[0]) == generation else None)
    with pytest.raises(Broken) as e: store.put(MODEL, b"trees")
    sentence(e.value, "changed during the upload", "run again")
    broken.clear()
    assert store.list() == [] and store.put(MODEL, b"trees") and store.get(MODEL) == b"trees"

# --- transfers that break

def test_a_transfer_that_breaks_leaves_nothing_and_can_be_repeated(store, quick, monkeypatch):
    "Fails when half a model lies under a name, or the second run is refused for what the first left."
    data = os.urandom(300_000)
    def half(path, data, *a, **k):
        if isinstance(store.place, places.Folder): Path(path).write_bytes(data[:len(data)//2])
        raise OSError(errno.EIO, "Input/output error")
    with monkeypatch.context() as mp:
        if isinstance(store.place, places.Folder): mp.setattr(places, "_pour", half)
        elif isinstance(store.place, places.Memory): mp.setattr(store.place.fs, "pipe_file", half, raising=False)
        else: quick.first(10**6, "half")
        with pytest.raises(Broken) as e: store.put(MODEL, data)
        sentence(e.value, "run again")
    quick.calm()
    assert store.list() == [] and not store.exists(MODEL)
    assert store.put(MODEL, data) == sha256_of(data) and store.list() == [MODEL]

KILLED = """
import os, sys
from nbprops.data import places
from nbprops.data.artifacts import Store
def pour(path, data):
    with open(path, "xb") as f: f.write(data[:len(data)//2]); f.flush(); os._exit(9)
places._pour = pour
Store(sys.argv[1]).put(sys.argv[2], b"trees" * 1000)
"""

def test_a_process_that_dies_in_the_middle_leaves_no_artefact(tmp_path):
    "Fails when a killed process leaves half a model where others look."
    store = Store(str(tmp_path/"store"))
    assert script(KILLED, store.uri, MODEL).end(60).returncode == 9
    assert store.list() == [] and not store.exists(MODEL) and store.put(MODEL, b"whole") and store.list() == [MODEL]

def test_a_file_system_without_links_still_has_one_winner(tmp_path, monkeypatch):
    "Fails when a mounted bucket, which knows no links, cannot hold a store or lets two win."
    def none(*a): raise OSError(errno.ENOTSUP, "Operation not supported")
    monkeypatch.setattr(places.os, "link", none)
    uri, begin = str(tmp_path/"store"), threading.Barrier(8)
    def one(k):
        begin.wait(5)
        try: return Store(uri).put(MODEL, b"%d" % k)
        except Refusal: return None
    with ThreadPoolExecutor(8) as pool: won = [h for h in pool.map(one, range(8)) if h]
    assert len(won) == 1 and sha256_of(Store(uri).get(MODEL)) == won[0] and Store(uri).list() == [MODEL]

@pytest.mark.parametrize("fate", [408, 429, 500, 502, 503, 504, "reset", "half"])
def test_what_can_pass_is_tried_again(bucket, quick, fate):
    "Fails when a busy moment of the service, or of the line, ends a command."
    quick.first(2, fate)
    assert bucket.put(MODEL, b"trees" * 20_000) and len(quick.uploads()) == 3
    quick.first(2, fate if fate != "half" else "reset", lambda method, path: method == "GET" and "alt=media" in path)
    assert bucket.get(MODEL) == b"trees" * 20_000

@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_what_cannot_pass_is_not_tried_again(bucket, quick, status):
    "Fails when somebody waits half a minute for a permission that will not come."
    quick.first(10**6, status)
    with pytest.raises(Refusal) as e: bucket.put(MODEL, b"trees")
    sentence(e.value)
    assert len(quick.uploads()) == 1
    quick.calm(); assert bucket.list() == []

def test_a_lost_answer_is_no_lost_race(bucket, quick):
    "Fails when a writer takes its own upload, whose answer got lost, for somebody else's, or somebody else's for its own."
    quick.first(1, "lost")
    assert bucket.put(MODEL, b"trees") == sha256_of(b"trees") and len(quick.uploads()) == 2
    _, generation = bucket.get_at(MODEL)
    quick.first(1, "lost")
    assert bucket.put_json(MODEL, {"n": 1}, generation) == bucket.get_at(MODEL)[1]
    quick.first(1, "reset")
    with pytest.raises(Refusal, match="exists already"): bucket.put(MODEL, b"other trees")
    assert bucket.get_json(MODEL) == {"n": 1}

def test_damage_on_the_way_is_seen_by_its_checksum(bucket, quick):
    "Fails when bytes that were changed on the way are taken for the model."
    bucket.put(MODEL, b"trees" * 1000)
    media = lambda method, path: method == "GET" and "alt=media" in path
    quick.first(1, "corrupt", media)
    assert bucket.get(MODEL) == b"trees" * 1000
    quick.first(10**6, "corrupt", media)
    with pytest.raises(Broken) as e: bucket.get(MODEL)
    sentence(e.value, "damaged on the way")

def test_the_precondition_travels_with_the_upload(bucket, quick):
    "Fails when only a look before the write keeps an object from being replaced."
    quick.calm(); bucket.put(MODEL, b"trees")
    assert [("ifGenerationMatch=0" in p) for p in quick.uploads()] == [True]
    first = bucket.put_json("m.json", {"n": 1}); quick.calm()
    bucket.put_json("m.json", {"n": 2}, first)
    assert [(f"ifGenerationMatch={first}" in p) for p in quick.uploads()] == [True]

def test_a_large_file_is_whole_and_written_once(bucket, quick):
    "Fails when what does not go into one request is stored in part, or replaces what was there."
    data = os.urandom((8 << 20) + 12_345)
    assert bucket.put("big.cbm", data) == sha256_of(data)
    with pytest.raises(Refusal, match="exists already"): bucket.put("big.cbm", data[::-1])
    assert bucket.get("big.cbm", sha256_of(data)) == data

# --- what a person is told

ACTS = {"get": lambda s: s.get(MODEL), "put": lambda s: s.put(MODEL, b"x"), "exists": lambda s: s.exists(MODEL), "list": lambda s: s.list(), "renew": lambda s: s.renew_json("m.json", lambda seen: {}), "remove": lambda s: s.remove(MODEL)}
TOLD = {401: (Refusal, "There are no credentials for", "gcloud auth application-default login"), 403: (Refusal, "closed to this account", "roles/storage.objectUser"), 429: (Broken, "takes no more requests now", "quota"), 503: (Broken, "answered with an error", "503")}

@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("status", TOLD)
def test_a_failure_of_the_service_is_a_sentence(bucket, quick, monkeypatch, status, act):
    "Fails when a permission, a quota or a credential ends in a traceback, or a file that may not be read is said not to exist."
    monkeypatch.setattr(places, "PATIENCE", .1)
    kind, *words = TOLD[status]
    quick.first(10**6, status, lambda method, path: True)
    with pytest.raises(Refusal) as e: ACTS[act](bucket)
    assert type(e.value) is kind
    sentence(e.value, bucket.uri, *words)

@pytest.mark.parametrize("act", [a for a in ACTS if a != "remove"])
def test_no_such_bucket_is_a_sentence(quick, act):
    "Fails when a bucket that is not there looks like one without the file."
    with pytest.raises(Refusal) as e: ACTS[act](Store("gs://nowhere-to-be-found/models"))
    sentence(e.value, "There is no bucket nowhere-to-be-found", "404")

@pytest.mark.parametrize("act", ACTS)
def test_nobody_answers(quick, monkeypatch, act):
    "Fails when a refused connection is a traceback, or is waited for without end."
    monkeypatch.setattr(places, "PATIENCE", .1)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(Broken) as e: ACTS[act](Store("gs://models/season"))
    sentence(e.value, "gs://models/season cannot be reached", "Connection refused")

def test_absent_and_expired_credentials(quick, monkeypatch, tmp_path):
    "Fails when somebody who is not logged in reads a traceback of Google's library."
    from google.api_core.exceptions import Unauthorized
    from google.auth.exceptions import RefreshError
    store = Store("gs://models/season")
    with monkeypatch.context() as mp:
        mp.delenv("STORAGE_EMULATOR_HOST"); mp.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path/"none.json"))
        with pytest.raises(Refusal) as e: store.get(MODEL)
        sentence(e.value, "There are no credentials for gs://models/season", "gcloud auth application-default login")
    class Blob:
        def download_as_bytes(self, **k): raise error
    monkeypatch.setattr(places, "client", lambda: type("C", (), {"bucket": lambda s, n: type("B", (), {"blob": lambda s, n: Blob()})()})())
    for error in (RefreshError("invalid_grant: Token has been expired or revoked."), Unauthorized("invalid_grant")):
        with pytest.raises(Refusal) as e: store.get(MODEL)
        sentence(e.value, "have expired or are not accepted", "invalid_grant")

def test_a_missing_library_says_how_to_install_it(quick, monkeypatch):
    "Fails when an installation without the extra ends in an ImportError."
    places._client.cache_clear()
    import google.cloud
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None); monkeypatch.delattr(google.cloud, "storage", raising=False)
    for act in ACTS.values():
        with pytest.raises(Refusal) as e: act(Store("gs://models"))
        sentence(e.value, "pip install nbprops[gcp]")
    places._client.cache_clear()

def test_no_cloud_library_is_imported_before_it_is_needed():
    "Fails when every command pays for a library that only a bucket needs."
    code = "import sys, nbprops.data.artifacts as a; s = a.Store('x'); s.list(); a.Store('gs://models'); print([m for m in sys.modules if m.split('.')[0] in ('google', 'fsspec', 'filelock', 'requests')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

def test_other_addresses_take_files_but_no_manifest(quick):
    "Fails when a place that cannot compare and swap pretends that it can."
    store = Store("memory://other"); store.place = places.Other("memory://other")
    store.put("page.html", b"<p>"); store.write("page.html", b"<p>new")
    with pytest.raises(Refusal, match="exists already"): store.put("page.html", b"<p>")
    store.put_json("m.json", {})
    with pytest.raises(Refusal) as e: store.renew_json("m.json", lambda seen: {"n": 1})
    sentence(e.value, "cannot compare and swap")
    with pytest.raises(Refusal) as e: Store("nowhere://models")
    sentence(e.value, "cannot be opened")
    with pytest.raises(Refusal) as e: Store("gs://")
    sentence(e.value, "names no bucket")

# --- the manifest, through the registry

@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    w = Warehouse(tmp_path_factory.mktemp("store")/"empty.duckdb"); w.migrate()
    return w.path

@pytest.fixture(params=["folder", "bucket"])
def reg(request, quick, migrated, tmp_path):
    return R.Registry(Warehouse(shutil.copy(migrated, tmp_path/"w.duckdb")), Store(address(request.param, tmp_path)), lambda text: None)

def enter(reg, minute: int) -> str:
    b = bundle(minute, seed=minute)
    return reg.register(b, reg.upload(b), gate_policy="default", gate_verdict="PROMOTE")["model_id"]

def agree(reg) -> bool: return M.same_manifest(reg.store.get_json(M.manifest_path("v9_mae")), reg.manifest("v9_mae"))

def test_a_model_lives_through_the_registry(reg):
    "Fails when registration or promotion works on one place and not on another."
    first = bundle(1, seed=1); uri = reg.upload(first)
    a, b = reg.register(first, uri, gate_policy="default", gate_verdict="PROMOTE")["model_id"], enter(reg, 2)
    reg.enable(a); reg.promote(a, initial=True, reason="test"); reg.enable(b); reg.disable(b, "test")
    assert reg.production("v9_mae")["model_id"] == a and agree(reg) and reg.validate().height == 0 and reg.store_ls()["registered"].all()
    assert reg.load(reg.get(a)).model_id == a and reg.upload(first) == uri == reg.get(a)["gcs_path"]

def test_a_writer_in_between_makes_the_registry_read_again(reg, monkeypatch):
    "Fails when a manifest that somebody wrote between reading and writing is covered unseen, or stands over the registry's view."
    m, path, real, met = enter(reg, 1), M.manifest_path("v9_mae"), Store.put_json, []
    def put(self, rel, obj, generation=None):
        if not met: met.append(real(self, rel, {"models": {}, "written": "by another machine"})) # after the read, before the write
        return real(self, rel, obj, generation)
    monkeypatch.setattr(Store, "put_json", put)
    reg.enable(m)
    assert met and agree(reg) and reg.store.get_json(path)["models"][m]["state"] == "shadow"

def test_an_older_view_of_a_transaction_does_not_stay(reg, monkeypatch):
    "Fails when a transaction that does not see the newest move leaves its view behind after its end."
    a, b = enter(reg, 1), enter(reg, 2)
    old = reg.manifest("v9_mae"); reg.enable(a)
    real = M.manifest_of
    monkeypatch.setattr(M, "manifest_of", lambda self, family: real(self, family) if isinstance(self.wh, Warehouse) or done else old)
    done = []
    publish = moves.publish
    monkeypatch.setattr(moves, "publish", lambda here, family: (publish(here, family), done.append(1)))
    reg.enable(b)
    assert done and agree(reg) and {m["state"] for m in reg.store.get_json(M.manifest_path("v9_mae"))["models"].values()} == {"shadow"}

def test_a_transaction_that_fails_takes_its_manifest_back(reg, monkeypatch):
    "Fails when a manifest speaks of a move that was rolled back."
    m = enter(reg, 1)
    with pytest.raises(ZeroDivisionError):
        with moves.opened(reg) as here:
            moves.move(here, m, "shadow", "enable", "r", None)
            M.publish(here, "v9_mae")
            assert reg.store.get_json(M.manifest_path("v9_mae"))["models"][m]["state"] == "shadow"
            1/0
    assert reg.get(m)["state"] == "candidate" and agree(reg)

def test_a_manifest_that_cannot_be_settled_is_broken_and_the_move_is_made(reg, monkeypatch):
    "Fails when a move that was made is called refused, or a stale manifest passes in silence."
    m, real = enter(reg, 1), M.publish
    def then_lose(here, family):
        real(here, family)
        reg.store.put_json(M.manifest_path(family), {"models": {}})
        monkeypatch.setattr(Store, "put_json", lambda self, rel, obj, generation=None: (_ for _ in ()).throw(places.lost(rel)))
    monkeypatch.setattr(moves, "publish", then_lose); monkeypatch.setattr(artifacts, "TRIES", 2)
    with pytest.raises(Broken) as e: reg.enable(m)
    sentence(e.value, "The change is made, but the manifest of v9_mae could not be renewed", "nbprops registry validate")
    monkeypatch.undo()
    assert reg.get(m)["state"] == "shadow"

MOVER = """
import sys
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.model.registry import Registry
w, uri, m = sys.argv[1:4]
g = Registry(Warehouse(w), Store(uri), lambda text: None)
g.enable(m); g.disable(m, "r")
g.enable(m)
"""

@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_two_processes_on_one_manifest(kind, crowd, migrated, tmp_path):
    "Fails when the manifest of two writers forgets the move of one."
    reg = R.Registry(Warehouse(shutil.copy(migrated, tmp_path/"w.duckdb")), Store(address(kind, tmp_path)), lambda text: None)
    ids = [enter(reg, k) for k in (1, 2)]
    ends = [c.end(60) for c in [script(MOVER, reg.wh.path, reg.store.uri, m) for m in ids]]
    assert [r.returncode for r in ends] == [0, 0], ends
    assert agree(reg) and {v["state"] for v in reg.store.get_json(M.manifest_path("v9_mae"))["models"].values()} == {"shadow"}

# --- reports, and whoever took the store for a folder

def test_reports_go_where_they_belong_and_the_index_lists_what_lies_there(quick, wh, tmp_path, monkeypatch):
    "Fails when a page stays on the desk, when the index forgets the pages of a machine that is gone, or a link leads nowhere."
    from nbprops.ops.delivery import address as where, deliver, reports_folder
    from nbprops.ops.report_index import write_index
    monkeypatch.setenv("NBPROPS_REPORTS", address("bucket", tmp_path).replace("models", "reports"))
    shelf = Store(os.environ["NBPROPS_REPORTS"])
    shelf.write("2026-02-09/daily_validation_2026-02-09.html", b"<p>made elsewhere") # by another machine, not on this disk
    page = reports_folder()/"2026-02-10"/"daily_validation_2026-02-10.html"; page.parent.mkdir(parents=True); page.write_text("<p>mine")
    assert deliver(page) == [f"{shelf.uri}/2026-02-10/daily_validation_2026-02-10.html"] and where(tmp_path/"elsewhere.html") == str(tmp_path/"elsewhere.html")
    write_index(wh)
    index = shelf.get("index.html").decode()
    assert all(f'href="2026-02-{d}/daily_validation_2026-02-{d}.html"' in index for d in ("09", "10")) and shelf.list() == ["2026-02-09/daily_validation_2026-02-09.html", "2026-02-10/daily_validation_2026-02-10.html", "index.html"]

def test_a_report_is_delivered_also_when_it_breaks(quick, tmp_path, monkeypatch):
    "Fails when the page that says what broke stays on a machine that nobody can look into."
    import nbformat
    from nbprops.ops.reports import run_report
    monkeypatch.setenv("NBPROPS_REPORTS", address("bucket", tmp_path))
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("day = 'monday'", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell("1/0")], metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}})
    nbformat.write(nb, tmp_path/"small.ipynb")
    with pytest.raises(Broken, match="broke in step 2 of 2"): run_report(str(tmp_path/"small.ipynb"), {"day": "tuesday"})
    shelf = Store(os.environ["NBPROPS_REPORTS"])
    assert shelf.list() == ["small_tuesday.html", "small_tuesday.ipynb"] and b"ZeroDivisionError" in shelf.get("small_tuesday.html")

def test_peoples_words_in_a_handoff_survive_an_empty_disk_and_a_second_writer(quick, tmp_path, monkeypatch):
    "Fails when a fresh machine forgets what people wrote, or covers what they write meanwhile."
    from nbprops.ops.delivery import fetch_handoffs, reports_folder, send_handoff
    monkeypatch.setenv("NBPROPS_REPORTS", address("bucket", tmp_path))
    shelf, day = Store(os.environ["NBPROPS_REPORTS"]), date(2026, 2, 10)
    for n in ("handoff-2026-02-08.md", "handoff-2026-02-09.md", "handoff-2026-02-10.md", "handoff-2026-02-10.kept-1.md", "handoff-2026-02-11.md"): shelf.write(n, n.encode())
    generation = fetch_handoffs(day)
    assert sorted(p.name for p in reports_folder().iterdir()) == ["handoff-2026-02-09.md", "handoff-2026-02-10.kept-1.md", "handoff-2026-02-10.md"]
    mine = reports_folder()/"handoff-2026-02-10.md"; mine.write_text("new")
    shelf.write(mine.name, b"people wrote this meanwhile")
    with pytest.raises(Lost) as e: send_handoff(mine, generation)
    sentence(e.value, "run the command again")
    assert shelf.get(mine.name) == b"people wrote this meanwhile"

def test_whoever_took_the_store_for_a_folder(quick, wh, tmp_path, monkeypatch):
    "Fails when a command takes gs:// for a path, or ends in a traceback because of it."
    from nbprops.model.predictor import sidecar_path
    from nbprops.model.retrain import check_store
    from nbprops.ops.backup import outside
    from nbprops.ops.doctor import look
    from nbprops.predict.loading import env_files
    monkeypatch.setenv("MODEL_STORE_URI", address("bucket", tmp_path)); monkeypatch.setenv("NBPROPS_REPORTS", "gs://reports")
    store = Store()
    store.put(MODEL, b"trees"); store.put(sidecar_path(MODEL), b"{}"); check_store(store)
    assert outside() == {"MODEL_STORE_URI": store.uri, "NBPROPS_REPORTS": "gs://reports"} and env_files(store.locate(MODEL), store) == (b"trees", b"{}")
    assert look("store", wh, store).state == "OK" and "2 files in gs://" in look("store", wh, store).words
    gone = Store("gs://nowhere-to-be-found")
    assert look("store", wh, gone).state == "BROKEN"
    with pytest.raises(Refusal, match="There is no bucket"): check_store(gone)
    with pytest.raises(Refusal): env_files("gs://another/model.cbm", store)
