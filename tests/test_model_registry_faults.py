"Registry under accidents: killed processes, races, clocks that run behind, files that are not what they were."
import json, os, shutil
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from nbprops.data import places
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.model import moves, registry as R
from nbprops.model.predictor import save_bundle
from nbprops.settings import Broken, Refusal, now, today
from tests.model_toys import bundle
from tests.registry_child import code, start
from tests.test_model_registry import SOON, enter, everything, graded, migrated, reg, same

def killed(home, point, when, command, word):
    "Run a command that dies at a step; fails when it did not die there."
    assert code(start(home, command, word, point, when)) == 9, (home/"said.txt").read_text()

def consistent(reg):
    "State, history, production and manifests of every model agree."
    rows = reg.rows()
    for r in rows.to_dicts():
        h = reg.history(r["model_id"])
        assert (r["status"], r["enabled"], r["is_production"]) == R.DERIVED[r["state"]]
        assert h["to_state"][-1] == r["state"] and h["from_state"].to_list()[1:] == h["to_state"].to_list()[:-1]
    assert rows.filter("is_production").group_by("model_family").len()["len"].max() in (None, 1)
    live = rows.filter("enabled")["system_id"]
    assert live.null_count() == 0 and live.n_unique() == len(live)

@pytest.fixture
def stage(reg):
    "A production model, a promotable shadow with its record, a candidate; and what a command moves."
    a, b, c = enter(reg, 1), enter(reg, 2), enter(reg, 3)
    reg.enable(a); reg.promote(a); reg.enable(b); graded(reg, b, a, days=5, rows=20)
    return dict(a=a, b=b, c=c)

MOVES = {"promote": ("b", "production", "a", "retired"), "enable": ("c", "shadow", "a", "production"), "block": ("b", "blocked", "a", "production"), "rollback": ("a", "production", "b", "retired"), "retire": ("c", "retired", "a", "production")}
POINTS = [("history row", "before"), ("history row", "after"), ("manifest", "before"), ("manifest", "after"), ("commit", "before"), ("commit", "after")]

@pytest.mark.parametrize("command, points", [pytest.param(c, POINTS if c == "promote" else POINTS[1:4:2] + POINTS[-1:], marks=[pytest.mark.full] if c in ("block", "retire") else [], id=c) for c in MOVES])
def test_killed_at_every_step_of_a_move(reg, stage, tmp_path, command, points):
    "Fails when a process that dies at any step leaves a half-made move, or a stale manifest that the next command does not find, mend and name."
    if command == "rollback": reg.promote(stage["b"])
    subject, to, other, other_to = (stage.get(w, w) for w in MOVES[command])
    word, before, said = "v9_mae" if command == "rollback" else subject, everything(reg), []
    for point, when in points:
        killed(tmp_path, point, when, command, word)
        again = R.Registry(reg.wh, reg.store, said.append)
        consistent(again)
        done = (point, when) == ("commit", "after")
        assert (again.get(subject)["state"] == to) == done and (not done or again.get(other)["state"] == other_to)
        ahead = (point, when) in (("manifest", "after"), ("commit", "before"))
        with pytest.raises(Refusal): again.retire(stage["c"], "") # the next command, whatever it is, mends first
        assert len(said) == ahead and again.validate().height == 0; said.clear()
        if not done: assert same(before[:2] + ({},), everything(reg)[:2] + ({},))

def test_killed_at_every_step_of_a_registration(reg, tmp_path):
    "Fails when an interrupted upload or registration cannot be seen, or cannot be taken up again by the same bytes."
    seen, path = [], save_bundle(bundle(4), tmp_path/"made")
    for point, when in [("upload sidecar", "after"), ("upload model", "after"), ("history row", "after"), ("manifest", "after"), ("commit", "before")]:
        killed(tmp_path, point, when, "register", path)
        assert reg.rows().height == 0
        seen.append(reg.store_ls().select("registered", "finding").rows())
    assert seen[0] == [(False, "no model file; not in the registry")] and all(s == [(False, "not in the registry")] for s in seen[1:])
    said = []
    assert R.Registry(reg.wh, reg.store, said.append).validate()["fault"].to_list() == ["the manifest differs from the registry; it was renewed"] and len(said) == 1
    killed(tmp_path, "commit", "after", "register", path)
    consistent(reg)
    assert reg.rows()["state"].to_list() == ["candidate"] and reg.validate().height == 0 and reg.store_ls()["finding"].to_list() == [""]

@pytest.mark.parametrize("round", [0, 1, pytest.param(2, marks=pytest.mark.full), pytest.param(3, marks=pytest.mark.full)])
def test_two_processes_promote_into_one_family(reg, tmp_path, round):
    "Fails when both win, neither wins, or the loser is not told why."
    a, b = enter(reg, 1), enter(reg, 2)
    reg.enable(a); reg.enable(b)
    two = [start(tmp_path, command, m, said=m) for m, command in ((a, "initial"), (b, "promote" if round % 2 else "initial"))]
    codes = [code(p) for p in two]
    assert sorted(codes) == [0, 2]
    lost = (tmp_path/(a, b)[codes.index(2)]).read_text()
    assert "has a production model" in lost or "beside production" in lost
    consistent(reg)
    assert reg.rows("is_production").height == 1 and reg.history(a).height + reg.history(b).height == 5 and reg.validate().height == 0

def test_a_clock_that_runs_behind(reg, monkeypatch):
    "Fails when a machine with a late clock, or a replay of an older day, reorders the history or ends a period before it began."
    said, (a, b) = [], (enter(reg, 1), enter(reg, 2))
    reg = R.Registry(reg.wh, reg.store, said.append)
    monkeypatch.setenv("NBPROPS_NOW", "2026-03-10T15:00:00Z"); reg.enable(a); reg.promote(a); reg.enable(b); said.clear()
    monkeypatch.setenv("NBPROPS_NOW", "2026-03-01T15:00:00Z")
    reg.retire(a, "early"); assert any("clock" in s for s in said)
    reg.promote(b)
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-01T15:00:00Z")
    reg.retire(b, "earlier still")
    assert [reg.history(m)["to_state"].to_list() for m in (a, b)] == [["candidate", "shadow", "production", "retired"]]*2
    for m in (a, b): assert (r := reg.get(m))["production_end_date"] >= r["production_start_date"]
    assert reg.previous_production("v9_mae") == b and reg.rollback("v9_mae", reason="clock")["model_id"] == b
    consistent(reg); assert reg.validate().height == 0

def test_missing_manifest_and_files_without_rows(reg):
    "Fails when a lost manifest, a lost file or a foreign file goes unnoticed."
    m = enter(reg, 1); reg.enable(m)
    os.unlink(reg.store.path(R.manifest_path("v9_mae")))
    assert reg.validate()["fault"].to_list() == ["the manifest is missing; it was renewed"] and reg.validate().height == 0
    reg.upload(bundle(2)); files = R.paths(reg.get(m))
    for f in files: os.unlink(reg.store.path(f))
    assert reg.validate()["fault"].to_list() == ["no file: cbm and json is not in the store"]
    assert sorted(reg.store_ls()["finding"].to_list()) == ["no model file; no sidecar", "not in the registry"]
    reg.disable(m, "its file is gone")
    with pytest.raises(Refusal, match="not in the store"): reg.enable(m)

def test_one_name_means_one_model(reg):
    "Fails when two live models speak under one system id, or a shadow takes the name of production."
    a, b, c = enter(reg, 1), enter(reg, 2), enter(reg, 3, family="v9_q43")
    reg.enable(a, alias="catboost_v9_shadow")
    for name, why in (("catboost_v9_shadow", "speaks as"), ("catboost_v9", "production model"), ("catboost_v9_q43", "production model"), (c, "another model")):
        before = everything(reg)
        with pytest.raises(Refusal, match=why): reg.enable(b, alias=name)
        assert same(before, everything(reg))
    reg.disable(a, "free"); assert reg.enable(b, alias="catboost_v9_shadow")["system_id"] == "catboost_v9_shadow"

def test_unblock_returns_the_name(reg):
    "Fails when a shadow returns from a block under another name, or a production model returns as production."
    a, b, c = enter(reg, 1), enter(reg, 2), enter(reg, 3)
    reg.enable(a, alias="catboost_v9_shadow"); reg.enable(b); reg.promote(b); reg.enable(c)
    back = {}
    for m in (a, b, c): reg.block(m, "test"); back[m] = reg.unblock(m, "test")["system_id"]
    assert back == {a: "catboost_v9_shadow", b: b, c: c}
    reg.block(a, "again"); reg.enable(d := enter(reg, 4), alias="catboost_v9_shadow")
    with pytest.raises(Refusal, match="speaks as"): reg.unblock(a, "its name is taken")

def _verdict(reg, m, verdict, when=None, policy="default"):
    "A later judgement of a model."
    row = dict(experiment_id=f"{verdict[:4]}{reg.wh.sql('SELECT COUNT(*) AS n FROM nba_predictions.ml_experiments')['n'][0]:04d}", name="later", experiment_type="gates", status="completed", config_json="{}", data_snapshot_hash="0", git_commit="0"*40, tags=[], model_id=m, gate_policy=policy, gate_verdict=verdict, completed_at=when or now())
    reg.wh.write("nba_predictions.ml_experiments", pl.DataFrame([row]))

def test_an_override_expires(reg, monkeypatch):
    "Fails when an override carries a model past its date, or a newer verdict does not free it from its override."
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-01T15:00:00Z")
    a, b = (enter(reg, i, "REJECT", "rejected") for i in (1, 2))
    for m in (a, b): reg.override(m, "vegas_bias", "bad lines", datetime(2026, 2, 10, tzinfo=timezone.utc))
    reg.enable(a)
    assert sorted(reg.listing()["mark"].to_list()) == ["override until 2026-02-10"]*2 and reg.validate().height == 0
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-11T15:00:00Z")
    with pytest.raises(Refusal, match="expired on 2026-02-10"): reg.enable(b)
    with pytest.raises(Refusal, match="expired on 2026-02-10"): reg.promote(a)
    with pytest.raises(Refusal, match="expired on 2026-02-10"): reg.promote(a, initial=True, reason="try")
    assert sorted(reg.listing()["mark"].to_list()) == ["override expired 2026-02-10"]*2 and reg.validate().rows() == [(a, "a shadow whose override expired on 2026-02-10")]
    for m in (a, b): _verdict(reg, m, "SHADOW")
    reg.enable(b); assert reg.validate().height == 0 and set(reg.listing()["mark"]) == {""}

def test_pending_promotions(reg):
    "Fails when a requested promotion is forgotten, made too early, made after a REJECT, or made twice."
    a, b, c = enter(reg, 1), enter(reg, 2), enter(reg, 3)
    reg.enable(a); reg.promote(a); reg.enable(b, requested=True); reg.enable(c)
    assert reg.pending() == [b] and reg.promote_pending().select("outcome", "missing").row(0) == ("waits", "it was graded on 0 dates beside production, 2 are needed; it shares 0 graded rows with production, 50 are needed")
    graded(reg, b, a, days=5, rows=20); _verdict(reg, b, "REJECT")
    assert "REJECT" in reg.promote_pending()["missing"][0] and reg.get(b)["state"] == "shadow"
    _verdict(reg, b, "PROMOTE")
    assert reg.promote_pending()["outcome"].to_list() == ["promoted"] and reg.pending() == [] and reg.promote_pending().height == 0
    assert reg.get(b)["is_production"] and reg.get(a)["state"] == "retired"
    h = json.loads(reg.history(b)["evidence_json"][-1]); assert h["replaces"] == a and h["shadow_report"]["rows"] == 100

def test_shadow_report(reg):
    "Fails when a shadow is left out, a family without production is not named, or the report compares different rows."
    a, b, c = enter(reg, 1), enter(reg, 2), enter(reg, 3, family="v9_q43")
    reg.enable(a); reg.promote(a); reg.enable(b); reg.enable(c); graded(reg, b, a, days=5, rows=20, worse=4.0)
    rows = {r["shadow"]: r for r in reg.shadow_report().to_dicts()}
    assert set(rows) == {b, c} and rows[c]["verdict"] == "NO_PRODUCTION" and "no production" in rows[c]["note"]
    assert (rows[b]["verdict"], rows[b]["rows"], rows[b]["days"], rows[b]["production"]) == ("FAIL", 100, 5, a) and "worse" in rows[b]["note"]
    assert reg.shadow_report("v9_mae").height == 1 and reg.shadow_report("v12_mae").height == 0

def test_disagreements_count_who_wins():
    "Fails when rows without a direction, or rows of one mind, count as a disagreement."
    side = pl.DataFrame([("OVER", "UNDER", "WIN", "LOSS"), ("OVER", "UNDER", "PUSH", "PUSH"), ("UNDER", "OVER", "LOSS", "WIN"), ("OVER", "OVER", "WIN", "WIN"), ("PASS", "OVER", "PASS", "WIN")], schema=["shadow_side", "production_side", "shadow_result", "production_result"], orient="row")
    assert R.disagreements(side).rows() == [("OVER", "UNDER", 2, 1, 0), ("UNDER", "OVER", 1, 0, 1)]

def test_regeneration_is_named_only_before_the_slate(reg):
    "Fails when a promotion after the first tip-off tells somebody to make the predictions again."
    game = dict(game_id="g1", season="2025-26", away_team_tricode="BOS", home_team_tricode="NYK", game_date=today(), game_status=1, is_playoffs=False, neutral_site=False)
    put = lambda **k: reg.wh.write("nba_reference.nba_schedule", pl.DataFrame([game | k]))
    assert reg.regeneration() is None
    put(game_start_utc=now() + timedelta(hours=2)); assert str(today()) in reg.regeneration()
    put(game_start_utc=now() - timedelta(minutes=1)); assert reg.regeneration() is None
    put(game_start_utc=now() + timedelta(hours=2), game_status=2); assert reg.regeneration() is None

def test_a_direct_write_of_a_contradiction_is_quarantined(reg):
    "Fails when the table accepts a row whose columns say two things, whoever writes it."
    row = reg.get(enter(reg, 1))
    for wrong in (dict(enabled=True), dict(state="production"), dict(status="blocked"), dict(is_production=True), dict(sha256="abc"), dict(sha256=R.UNKNOWN)):
        frame = pl.DataFrame([{k: v for k, v in (row | wrong).items()}], infer_schema_length=None)
        assert reg.wh.write(R.REGISTRY, frame).quarantined == 1 and reg.get(row["model_id"]) == row

COMMANDS = {"enable": lambda g, m: g.enable(m), "disable": lambda g, m: g.disable(m, "r"), "promote": lambda g, m: g.promote(m), "initial": lambda g, m: g.promote(m, initial=True, reason="r"), "retire": lambda g, m: g.retire(m, "r"),
            "rollback": lambda g, m: g.rollback("v9_mae", m, "r"), "back": lambda g, m: g.rollback("v9_mae", reason="r"), "block": lambda g, m: g.block(m, "r"), "unblock": lambda g, m: g.unblock(m, "r"), "override": lambda g, m: g.override(m, "vegas_bias", "r", SOON)}

@pytest.fixture(scope="module")
def three(migrated, tmp_path_factory):
    "Two candidates and a rejected model, to copy."
    home = tmp_path_factory.mktemp("three")
    g = R.Registry(Warehouse(shutil.copy(migrated, home/"w.duckdb")), Store(str(home/"store")))
    return home, [enter(g, 1), enter(g, 2), enter(g, 3, "REJECT", "rejected")]

def test_random_commands_never_break_the_registry(three, tmp_path_factory):
    "Fails when any sequence of commands, legal or not, breaks an invariant or moves without a history row."
    source, ids = three
    total = []
    @settings(max_examples=8)
    @given(st.lists(st.tuples(st.sampled_from(sorted(COMMANDS)), st.sampled_from(ids)), min_size=5, max_size=9))
    def run(words):
        home = tmp_path_factory.mktemp("walk")
        shutil.copytree(source, home, dirs_exist_ok=True)
        g, done, moves_made = R.Registry(Warehouse(home/"w.duckdb"), Store(str(home/"store")), lambda t: pytest.fail(t)), [], lambda: g.wh.sql(f"SELECT COUNT(*) AS n FROM {R.HISTORY}")["n"][0]
        for command, m in words:
            live, count = g.production("v9_mae"), moves_made()
            try: COMMANDS[command](g, m); done.append(command)
            except Refusal: assert moves_made() == count; continue
            after = g.production("v9_mae")
            assert moves_made() - count == (2 if command in ("promote", "back", "rollback") and live and after["model_id"] != live["model_id"] else 1)
        consistent(g); assert g.validate().height == 0
        total.extend(done); shutil.rmtree(home)
    run()
    assert len(total) >= 8 and len(set(total)) >= 4

def test_a_verdict_from_the_future_wins_nothing(reg):
    "Fails when a PROMOTE stamped by a clock that ran ahead outlives a REJECT, or a REJECT stamped ahead is passed over."
    for minute, (first, then) in enumerate([("PROMOTE", "REJECT"), ("REJECT", "PROMOTE")]):
        m = enter(reg, minute, "SHADOW"); reg.enable(m)
        _verdict(reg, m, first, now() + timedelta(days=2000)); _verdict(reg, m, then)
        assert reg.newest_verdict(m)["gate_verdict"] == then
        for k in (dict(), dict(initial=True, reason="r")):
            with pytest.raises(Refusal, match="from the future"): reg.promote(m, **k)

def test_a_promote_stays_until_a_reject(reg):
    "Fails when a later SHADOW takes a proof back, or a later REJECT does not."
    m, seen = enter(reg, 1, "SHADOW"), []
    for verdict in (None, "PROMOTE", "SHADOW", "REJECT", "SHADOW"):
        if verdict: _verdict(reg, m, verdict)
        seen.append(reg.standing(m))
    assert seen == ["unproven", "proven", "proven", "unproven", "unproven"]

@pytest.mark.parametrize("text", [b"[1, 2]", b"null", b"7", b"\xff\xfe", b"{"])
def test_a_manifest_that_is_no_object_is_mended(reg, text):
    "Fails when a manifest that somebody emptied stops every command of its family."
    m, said = enter(reg, 1), []
    path = Path(reg.store.path(R.manifest_path("v9_mae"))); path.write_bytes(text)
    R.Registry(reg.wh, reg.store, said.append).enable(m)
    assert len(said) == 1 and "JSON" in said[0] and reg.store.get_json(R.manifest_path("v9_mae"))["models"][m]["state"] == "shadow"

@pytest.mark.parametrize("number, kind, word", [(28, Broken, "No space left"), (30, Refusal, "read-only"), (13, Refusal, "read-only")])
def test_a_store_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, number, kind, word):
    "Fails when a full or read-only disk leaves a half-written file behind, or an error that nobody can read."
    store = Store(str(tmp_path/"s"))
    def full(path, data): Path(path).write_bytes(data[:2]); raise OSError(number, os.strerror(number))
    monkeypatch.setattr(places, "_pour", full)
    with pytest.raises(kind, match=word): store.put("catboost/v9_mae/a.cbm", b"trees")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []

@pytest.mark.parametrize("error, kind, words", [(PermissionError(13, "Permission denied"), Refusal, "may not be read .its permissions"), (OSError(5, "Input/output error"), Broken, "could not be read .Input/output error"), (TimeoutError(), Broken, "could not be read .TimeoutError"),
                                                (FileNotFoundError(2, "No such file"), Refusal, "is not in the store")])
def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path, monkeypatch, error, kind, words):
    "Fails when a store that is there and cannot be read ends in a traceback, or in words that blame the registry."
    store = Store(str(tmp_path/"s")); store.put("catboost/v9_mae/a.cbm", b"trees")
    monkeypatch.setattr(store.place, "read", lambda *a, **k: (_ for _ in ()).throw(error))
    with pytest.raises(kind, match=words) as e: store.get("catboost/v9_mae/a.cbm")
    assert type(e.value) is kind and e.value.mend and "Mend: " in str(e.value) and "\n" not in str(e.value)

@pytest.mark.parametrize("place, words", [("catboost/v9_mae/a.cbm", "is no file .a folder lies in its place"), ("catboost/v9_mae/b.cbm/c.cbm", "is no file .a file lies where its folder")])
def test_a_folder_in_place_of_a_file_is_a_sentence(tmp_path, place, words):
    "Fails when a folder where a model should be, or a file where its folder should be, ends in a traceback."
    store = Store(str(tmp_path/"s")); store.put("catboost/v9_mae/b.cbm", b"trees")
    (tmp_path/"s"/"catboost"/"v9_mae"/"a.cbm").mkdir()
    with pytest.raises(Refusal, match=words): store.get(place)
