"The handoff: what people wrote survives, what the machine wrote can be asked again, and a file cannot do harm."
import json, re, shutil
from datetime import date, timedelta
import pytest
from nbprops.cli import main
from nbprops.data.warehouse import Warehouse
from nbprops.ops.checks import validate_daily
from nbprops.ops.claims import Claim, block, check_claims, claims_in, refuse_all_but_select
from nbprops.ops.handoff import NAMES, check_handoff, edited_in, pieces, read_text, write_handoff
from nbprops.ops.rehearsal import CLOCK, DAY, rehearse
from nbprops.ops.reports import run_report
from nbprops.settings import Refusal
from tests.test_ops_reports import assert_quiet

MORNING = DAY + timedelta(days=1)

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A healthy warehouse, validated once."
    w = rehearse(tmp_path_factory.mktemp("handoff")/"world.duckdb")
    with pytest.MonkeyPatch.context() as mp: mp.setenv("NBPROPS_NOW", CLOCK.isoformat()); validate_daily(w, DAY)
    return w

@pytest.fixture
def world(made, tmp_path, monkeypatch):
    "A warehouse of one's own, seen on the morning after."
    monkeypatch.setenv("NBPROPS_NOW", CLOCK.isoformat())
    home = tmp_path/"home"; home.mkdir(exist_ok=True)
    shutil.copy(made.path, home/"nbprops.duckdb")
    return Warehouse(home/"nbprops.duckdb")

def edit(path, old: str, new: str) -> str:
    "Edit a file as a person does; returns its text."
    text = read_text(path)
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())
    return read_text(path)

def human(text: str) -> list[str]:
    "What people wrote, piece by piece."
    return [p.text for p in pieces(text) if not p.name]

def run(*words: str) -> int:
    "Exit code of a command."
    with pytest.raises(SystemExit) as e: main(list(words))
    return e.value.code

def test_a_fresh_handoff_is_true_and_complete(world, tmp_path):
    "Every machine section is there, every number of it has a query, and none of them is false a minute later."
    h = write_handoff(world, MORNING)
    text = read_text(h.path)
    assert [p.name for p in pieces(text) if p.name] == list(NAMES) and not edited_in(text)
    for word in ("## Decisions", "## Priorities", "Expected output", "Done when", "## Dead ends", "## Known oddities", "## Open questions"): assert word in text
    found = claims_in(text)
    assert len(found) == h.claims == len({c.id for c in found}) > 30 and set(re.findall(r"`\[([\w.-]+)\]`", text)) <= {c.id for c in found}
    assert {r.status for r in check_handoff(world, h.path).results} == {"TRUE"}
    assert "@" not in "".join(c.query for c in found) and "Drift" in text

def test_every_stored_query_runs_alone(world, capsys):
    "A proof that nobody can paste into `nbprops query` is no proof."
    h = write_handoff(world, MORNING)
    c = next(c for c in claims_in(read_text(h.path)) if c.id.startswith("graded-catboost_v9"))
    assert run("query", block(c).removeprefix("```sql\n").removesuffix("\n```"), "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["rows"][0]["system_id"] == c.value["system_id"]

def test_an_empty_warehouse_has_a_handoff(wh):
    "It says in sentences that there is nothing, and what it says is true."
    h = write_handoff(wh, MORNING)
    text = read_text(h.path)
    for said in ("No model is in production", "No date has been validated", "No model is registered", "No services have a recorded deployment", "The schedule knows no game", "No back-fill is running", "No finding of the week is open", "No overrides are in force"): assert said in text
    assert h.verdict == "NOT VALIDATED" and check_handoff(wh, h.path).verdict == "TRUE"

def test_what_people_wrote_survives(world):
    "Made again on the day, and taken over on the next; byte for byte, also odd characters and line ends."
    h = write_handoff(world, MORNING)
    edit(h.path, "_What nobody knows yet._", "Why is \u2028 here?\r\n\ttabs, trailing blanks   \n```sql\nSELECT 1\n```\n<!-- a note -->")
    edit(h.path, "| 1 | | | | |", "| 1 | promote | `nbprops registry promote X` | production | hit rate above break-even |")
    before = human(read_text(h.path))
    assert human(read_text(write_handoff(world, MORNING).path)) == before
    nxt = write_handoff(world, MORNING + timedelta(days=1))
    assert human(read_text(nxt.path)) == before and "taken over from" in nxt.human

def test_moved_and_added_sections_stay_where_they_are(world):
    "People put what matters first; the machine's sections may be moved as well, and removed ones come back."
    h = write_handoff(world, MORNING)
    parts = pieces(read_text(h.path))
    models, rest = next(p for p in parts if p.name == "models"), [p for p in parts if p.name not in ("models", "graded")]
    h.path.write_text("# Read this first\n\nThe night shift is Ana.\n" + models.text + "My words between.\n" + "".join(p.text for p in rest) + "\nThe very end.")
    before = human(h.path.read_text())
    again = read_text(write_handoff(world, MORNING).path)
    order = [p.name for p in pieces(again) if p.name]
    assert order[0] == "models" and order.index("graded") == order.index("backfills") + 1 and sorted(order) == sorted(NAMES)
    assert "".join(human(again)) == "".join(before) and again.startswith("# Read this first") and again.endswith("\nThe very end.")

def test_a_new_report_shows_new_facts(world):
    "Only people's words are kept; the machine's are made new."
    h = write_handoff(world, MORNING)
    world.sql("UPDATE nba_predictions.prediction_accuracy SET result = 'PUSH' WHERE game_date = @d AND result = 'WIN'", d=DAY)
    old, new = read_text(h.path), read_text(write_handoff(world, MORNING).path)
    assert old != new and check_handoff(world, h.path).verdict == "TRUE"

@pytest.mark.parametrize("old,new,said", [("<!-- machine end: models -->\n", "", "begins inside 'models'"), ("<!-- machine begin: models", "<!-- machine begin models", "looks like a marker"), ("<!-- machine end: graded -->", "<!-- machine end: grades -->", "never began"),
                                          ("<!-- machine end: queries -->", "", "never ends"), ("\n## Known oddities", "\n<!-- machine end: models -->\n## Known oddities", "never began"), ("machine begin: findings", "machine begin: weather", "no section of a handoff")])
def test_a_damaged_marker_is_refused_and_nothing_is_lost(world, old, new, said):
    "With half a marker nobody knows whose words follow; the file stays as it is, and a copy is kept."
    h = write_handoff(world, MORNING)
    text = edit(h.path, old, new)
    with pytest.raises(Refusal, match=f"damaged marker, line [0-9]+: .*{said}") as e: write_handoff(world, MORNING)
    copy = h.path.with_name(re.search(r"copy lies in (\S+?)\)", str(e.value))[1])
    assert read_text(h.path) == read_text(copy) == text and "\n" not in str(e.value)
    with pytest.raises(Refusal, match="damaged marker"): write_handoff(world, MORNING + timedelta(days=1))
    assert check_handoff(world, h.path).verdict == "TRUE" # the claims themselves are whole

def test_two_of_one_section_are_refused(world):
    h = write_handoff(world, MORNING)
    part = next(p.text for p in pieces(read_text(h.path)) if p.name == "models")
    edit(h.path, "## Known oddities", f"{part}\n## Known oddities")
    with pytest.raises(Refusal, match="begins twice"): write_handoff(world, MORNING)

def test_words_written_into_a_machine_section_are_kept_in_a_copy(world):
    "They are made new there, so the file as it was is put aside, and the check says that words were changed."
    h = write_handoff(world, MORNING)
    text = edit(h.path, "## 2. Models\n", "## 2. Models\n\nDo not trust the shadow.\n")
    assert "Edited after it was made: models" in str(check_handoff(world, h.path))
    again = write_handoff(world, MORNING)
    assert again.edited == ("models",) and read_text(again.kept) == text and "Do not trust" not in read_text(again.path)
    assert write_handoff(world, MORNING).kept is None

def test_line_ends_of_another_system_are_no_edit(world):
    h = write_handoff(world, MORNING)
    h.path.write_bytes(h.path.read_bytes().replace(b"\n", b"\r\n"))
    assert not edited_in(read_text(h.path)) and check_handoff(world, h.path).verdict == "TRUE" and write_handoff(world, MORNING).kept is None

def test_a_changed_warehouse_makes_claims_false(world, capsys):
    "What moved is told with the answer of now, and the command ends with 1."
    h = write_handoff(world, MORNING)
    world.sql("UPDATE nba_predictions.prediction_accuracy SET result = 'LOSS' WHERE game_date = @d AND system_id = 'catboost_v9' AND result = 'WIN'", d=DAY)
    found = {r.claim.id: r for r in check_handoff(world, h.path).results}
    r = found["graded-catboost_v9"]
    assert r.status == "FALSE" and r.now["wins"] == 0 and f"wins was {r.claim.value['wins']}, is 0" in r.why
    assert found["headline-production"].status == "TRUE"
    assert run("handoff", "--check", str(h.path)) == 1 and "FALSE    [graded-catboost_v9]" in capsys.readouterr().out

def test_drift_comes_from_its_room_or_is_not_recorded(world, monkeypatch):
    "A room that is not there is no drift of zero."
    import sys
    from types import SimpleNamespace as Thing
    def closed(wh): raise Refusal("The package is in no checkout")
    for room, said in ((None, "Drift is not recorded."), (Thing(drift=lambda wh: Thing(services=[Thing(service="publishing", state="STALE", commits=[1, 2], uncommitted=["a.py"], notes=[])])), "Drift of publishing: STALE, 2 commits behind, 1 uncommitted file"), (Thing(drift=closed), "Drift is not recorded: The package is in no checkout.")):
        monkeypatch.setitem(sys.modules, "nbprops.ops.drift", room)
        assert said in read_text(write_handoff(world, MORNING).path)

def test_a_model_that_left_is_noticed(world):
    "The number of models is a claim of its own."
    h = write_handoff(world, MORNING)
    world.sql("UPDATE nba_predictions.model_registry SET state = 'retired', status = 'deprecated', enabled = FALSE WHERE NOT is_production AND state = 'shadow'")
    found = {r.claim.id: r.status for r in check_handoff(world, h.path).results}
    assert found["models-count"] == "FALSE"

def test_pruned_rows_make_claims_expire(world, monkeypatch, capsys):
    "A claim about a day whose rows are gone is neither true nor false."
    h = write_handoff(world, MORNING)
    world.sql("DELETE FROM nba_predictions.prediction_accuracy WHERE game_date = @d", d=DAY)
    found = {r.claim.id: r for r in check_handoff(world, h.path).results}
    assert {r.status for i, r in found.items() if i.startswith("graded-")} == {"EXPIRED"} and "no rows" in found["graded-catboost_v9"].why

def test_a_moment_expires(world, monkeypatch):
    "How far the data reached that morning is no error a week later."
    h = write_handoff(world, MORNING)
    world.sql("DELETE FROM nba_predictions.prediction_accuracy WHERE game_date = @d", d=DAY)
    at = lambda: {r.claim.id: r.status for r in check_handoff(world, h.path).results}["headline-cutoff"]
    assert at() == "FALSE"
    monkeypatch.setenv("NBPROPS_NOW", (CLOCK + timedelta(days=7)).isoformat())
    assert at() == "EXPIRED"

@pytest.mark.parametrize("query", ["DELETE FROM nba_predictions.prediction_accuracy WHERE TRUE", "SELECT 1 AS n; DELETE FROM nba_predictions.prediction_accuracy WHERE TRUE", "WITH a AS (SELECT 1 AS n) INSERT INTO nba_predictions.model_registry (model_id) SELECT 'x' FROM a", "DROP TABLE prediction_accuracy",
    "UPDATE nba_predictions.model_registry SET state = 'production' WHERE TRUE", "CREATE TABLE x AS SELECT 1 AS n", "MERGE INTO prediction_accuracy AS t USING prediction_accuracy AS s ON FALSE WHEN MATCHED THEN DELETE", "TRUNCATE TABLE prediction_accuracy", "ATTACH 'x.duckdb'", "PRAGMA database_list", "SET memory_limit = '1GB'",
    "EXPORT DATA OPTIONS(uri='x') AS SELECT 1", "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_csv_auto('x.csv')", "SELECT * FROM `/etc/passwd`", "SELECT * FROM duckdb_settings()", "SELECT * FROM information_schema.tables", "SELECT (SELECT content FROM read_text('x')) AS n", "CALL x()", "", "not sql at all ((", "SELECT * FROM query('DROP TABLE x')"])
def test_a_query_only_asks(query):
    "A handoff is passed on by mail; whatever somebody put into it, nothing is changed and no file is read."
    with pytest.raises(Refusal, match="is refused|cannot be read"): [refuse_all_but_select(c) for c in claims_in(block(Claim("x", "", dict(n=1), query)))]

def test_a_file_with_a_delete_runs_nothing(world, capsys):
    "All queries are looked at before the first is run."
    h = write_handoff(world, MORNING)
    n = world.sql("SELECT COUNT(*) AS n FROM nba_predictions.prediction_accuracy")["n"][0]
    edit(h.path, claims_in(read_text(h.path))[-1].query, "DELETE FROM nba_predictions.prediction_accuracy WHERE TRUE")
    assert run("handoff", "--check", str(h.path)) == 2 and "it says DELETE" in capsys.readouterr().err
    assert world.sql("SELECT COUNT(*) AS n FROM nba_predictions.prediction_accuracy")["n"][0] == n > 0

def test_reading_queries_of_many_shapes_are_allowed():
    for q in ("SELECT 1 AS n", "WITH a AS (SELECT 1 AS n) SELECT * FROM a", "SELECT n FROM (SELECT COUNT(*) AS n FROM prediction_accuracy) AS q", "SELECT 1 AS n UNION ALL SELECT 2", "SELECT t FROM UNNEST(['a', 'b']) AS t"): refuse_all_but_select(Claim("x", "", None, q))

def test_a_slow_query_is_stopped_and_the_next_one_answers(wh):
    "One query must not hold the warehouse; the claims after it are checked all the same."
    slow = "SELECT COUNT(*) AS n FROM UNNEST(GENERATE_ARRAY(1, 300000)) AS a CROSS JOIN UNNEST(GENERATE_ARRAY(1, 300000)) AS b WHERE MOD(a * b, 7) = 3"
    got = check_claims(wh, [Claim("slow", "", dict(n=1), slow), Claim("quick", "", dict(n=1), "SELECT 1 AS n"), Claim("many", "", dict(n=1), "SELECT a AS n FROM UNNEST(GENERATE_ARRAY(1, 9)) AS a")], seconds=.3)
    assert [r.status for r in got] == ["FALSE", "TRUE", "FALSE"] and "no answer within 0.3 seconds" in got[0].why

@pytest.mark.parametrize("old,new", [("# value: ", "# worth: "), ("# expires: never", "# expires: soon"), ("# value: {", "# value: {{"), ("```sql\n# claim headline", "# claim headline")])
def test_a_damaged_claim_is_refused(world, old, new):
    "To pass over a claim that cannot be read would be to call it checked."
    h = write_handoff(world, MORNING)
    edit(h.path, old, new)
    with pytest.raises(Refusal, match="claim"): check_handoff(world, h.path)

def test_wrong_files_are_refused(wh, tmp_path):
    for name, content, said in (("a.md", b"# Notes", "holds no claim"), ("b.md", b"\xff\xfe\x00", "not UTF-8"), ("none.md", None, "No file")):
        if content is not None: (tmp_path/name).write_bytes(content)
        with pytest.raises(Refusal, match=said): check_handoff(wh, tmp_path/name)
    assert run("handoff", "--check", str(tmp_path/"a.md"), "--date", "2026-02-11") == 2

def test_the_page_shows_verdict_words_and_proofs(world, capsys):
    "One static page; what people wrote is shown as words, not run."
    assert run("handoff", "--date", str(MORNING), "--no-page", "--json") == 0
    path = json.loads(capsys.readouterr().out)["file"]
    from pathlib import Path
    edit(Path(path), "_What nobody knows yet._", "Some **bold** words, <script>alert(1)</script> ![a chart](http-less)")
    html = run_report("handoff", {"game_date": str(MORNING)})[1].read_text()
    page = assert_quiet(html)
    for word in ("What changed", "What to do", "<script>alert(1)</script>"): assert word in page.text
    assert "<strong>bold</strong>" in html and "a chart" in page.text and "img" not in page.tags
    assert page.tags.count("h1") == 1 and {l[1:] for l in page.links if l != "index.html"} <= set(re.findall(r'id="([^"]+)"', html))

def text_of(world, **kw): return read_text(write_handoff(world, MORNING, **kw).path)

def claims(text: str, start: str) -> dict: return {c.id: c for c in claims_in(text) if c.id.startswith(start)}

def test_models_that_left_service_are_told_for_a_fortnight(world):
    "Fails when a retired, rejected or blocked model is forgotten at once, is told for ever, or one that came back is called gone."
    move = "INSERT INTO nba_predictions.model_registry_history (transition_id, model_id, to_state, reason, actor, is_override, occurred_at, created_at, build_commit_sha) VALUES ('{0}', '{0}', '{1}', 'because {1}', 'ana', FALSE, TIMESTAMP_SUB(@t, INTERVAL {2} HOUR), @t, 'x')"
    for id, state, hours in (("m_old", "retired", 24*15), ("m_gone", "retired", 24*13), ("m_bad", "rejected", 5), ("m_stop", "blocked", 2), ("m_shadow", "blocked", 30), ("m_shadow2", "shadow", 1)): world.sql(move.format(id, state, hours), t=CLOCK)
    world.sql("UPDATE nba_predictions.model_registry_history SET model_id = 'm_shadow' WHERE transition_id = 'm_shadow2'")
    got = claims(text_of(world), "left")
    assert set(got) == {"left-count", "left-m_gone", "left-m_bad", "left-m_stop"} and got["left-count"].value == {"n": 3} and "because blocked" in got["left-m_stop"].text

def test_bias_and_the_fixed_thresholds_stand_with_a_model(world):
    "Fails when the bias is not the mean of prediction minus points of seven days, voids count, or the old state is judged or missing."
    world.sql("UPDATE nba_predictions.prediction_accuracy SET is_voided = TRUE WHERE game_date = @d AND team_abbr = 'ATL'", d=DAY)
    rows = world.sql("SELECT predicted_points, actual_points FROM nba_predictions.prediction_accuracy WHERE model_id = 'm_prod' AND NOT is_voided AND actual_points IS NOT NULL AND game_date BETWEEN @a AND @b", a=DAY - timedelta(days=6), b=DAY)
    c = claims(text_of(world), "models-m_prod")["models-m_prod"]
    want = float((rows["predicted_points"] - rows["actual_points"]).mean())
    assert c.value["graded"] == rows.height > 300 and abs(c.value["bias"] - want) < 1e-5 and f"bias {want:+.2f} points over {rows.height:,}" in c.text
    assert "monitor UNPROVEN on 2026-02-10 (fixed thresholds: BLOCKED)" in c.text and c.value["legacy_state"] == "BLOCKED"

def test_failed_steps_and_endless_overrides_are_told(world):
    "Fails when a step that failed is not told, a mended one is told as open, or an override without expiry is in no list."
    from nbprops.data.runs import Step, ledger_row
    def ran(step: str, state: str, hours: int, k: int):
        with pytest.MonkeyPatch.context() as mp:
            mp.setenv("NBPROPS_NOW", (CLOCK - timedelta(hours=hours)).isoformat())
            world.write("nba_orchestration.run_ledger", ledger_row(Step(f"r{k}", "daily", step, game_date=DAY, started_at=CLOCK - timedelta(hours=hours)), state, error=f"why {step}" if state != "DONE" else None))
    for k, (s, state, hours) in enumerate([("grading", "FAILED", 5), ("grading", "INTERRUPTED", 4), ("features", "FAILED", 9), ("features", "DONE", 3), ("pages", "FAILED", 80), ("phases", "DONE", 1), ("signals", "SKIPPED", 1)]): ran(s, state, hours, k)
    world.sql("UPDATE nba_predictions.model_registry_history SET is_override = TRUE WHERE model_id = 'm_shadow'")
    text = text_of(world)
    got = claims(text, "failed")
    assert set(got) == {"failed-count", f"failed-daily-grading-{DAY}", f"failed-daily-features-{DAY}"}
    assert "2 times" in got[f"failed-daily-grading-{DAY}"].text and "NOT DONE since" in got[f"failed-daily-grading-{DAY}"].text and "worked since" in got[f"failed-daily-features-{DAY}"].text
    over = claims(text, "overrides"); assert len(over) == 2 and any("WITHOUT EXPIRY" in c.text for c in over.values())
    ran("grading", "DONE", 0, 99)
    assert check_handoff(world, write_handoff(world, MORNING).path).verdict == "TRUE"

def test_builds_are_claims_and_git_is_none(world):
    "Fails when rows of a build with uncommitted changes are told without a query, or what only git knows is passed off as a claim."
    world.sql("UPDATE nba_predictions.player_prop_predictions SET build_commit_sha = 'abcdef0123456-dirty' WHERE game_date = @d AND team_abbr = 'ATL'", d=DAY)
    h = write_handoff(world, MORNING); text = read_text(h.path)
    got = claims(text, "builds")
    (dirty,) = [c for c in got.values() if (c.value or {}).get("build") == "abcdef0123456-dirty"]
    n = world.sql("SELECT COUNT(*) AS n FROM nba_predictions.player_prop_predictions WHERE build_commit_sha LIKE '%-dirty' AND build_commit_sha LIKE 'abc%'")["n"][0]
    assert dirty.value["n"] == n > 0 and "with uncommitted changes" in dirty.text
    part = next(p.text for p in pieces(text) if p.name == "deployments")
    loose = [l for l in part.splitlines() if l.startswith("- ") and "`[" not in l]
    assert loose and all("no claim: only the repository can tell" in l or "no healthy deployment" in l or "outside a checkout" in l or "not recorded" in l for l in loose), loose
    world.sql("UPDATE nba_predictions.player_prop_predictions SET build_commit_sha = 'rehearsal' WHERE build_commit_sha LIKE '%-dirty'")
    assert {r.status for r in check_handoff(world, h.path).results if r.claim.id.startswith("builds")} >= {"FALSE"}
