"The retrain reminder: the reference day, the boundaries, silence, and the trace that it leaves."
import json
from datetime import date, timedelta
import polars as pl, pytest
import typer
from typer.testing import CliRunner
from nbprops.model.registry import REGISTRY, Registry
from nbprops.model.reminder import family_rows, overall, remind, reminders, retrain_command, urgency, urgency_expr
from tests.test_predict_monitor import registered

ON = date(2026, 2, 16)
V9, V12 = dict(model="catboost_v9_33features_20260201_011018", training_end_date=date(2026, 1, 8)), dict(model="catboost_v12_50f_huber", state="shadow", family="v12_noveg_mae", training_end_date=date(2026, 1, 31))
ledger = lambda wh: wh.sql("SELECT command, status, game_date, detail_json FROM nba_orchestration.run_ledger").rows()

def test_the_reference_day(wh):
    "Would catch another way of counting days, or a family judged by a model that nobody is served by."
    registered(wh, **V9); registered(wh, **V12)
    registered(wh, "later_but_retired", "retired", training_end_date=date(2026, 2, 10))
    found = reminders(wh, ON)
    assert found.select("model_family", "age_days", "urgency").rows() == [("v9_mae", 39, "URGENT"), ("v12_noveg_mae", 16, "OVERDUE")]
    assert found["production"].to_list() == [V9["model"], None] and found["shadows"].to_list() == [[], [V12["model"]]] and overall(found) == "URGENT"
    assert reminders(Registry(wh, None), ON).equals(found)

@pytest.mark.parametrize("age,said", [(-3, "none"), (0, "none"), (9, "none"), (10, "ROUTINE"), (14, "ROUTINE"), (15, "OVERDUE"), (21, "OVERDUE"), (22, "URGENT"), (400, "URGENT")])
def test_boundaries(age, said):
    "Would catch a boundary that is off by a day, or a column that disagrees with the function."
    rows = pl.DataFrame([("m", "v9_mae", "production", ON - timedelta(age))], schema=["model_id", "model_family", "state", "training_end_date"], orient="row").with_columns(model_trained_at=pl.lit(None, pl.Datetime("us", "UTC")))
    assert urgency(age) == said == family_rows(rows, ON)["urgency"][0] == pl.select(urgency_expr(pl.lit(age))).item()

def test_the_newest_live_model_counts(wh):
    "Would catch a family that nags although its shadow is fresh."
    registered(wh, "old", training_end_date=date(2026, 1, 8)); registered(wh, "fresh", "shadow", training_end_date=date(2026, 2, 12))
    row = reminders(wh, ON).row(0, named=True)
    assert (row["age_days"], row["urgency"], row["newest_model"], row["production"], row["shadows"]) == (4, "none", "fresh", "old", ["fresh"])

def test_silence_is_on_record(wh):
    "Would catch a dead reminder that looks like one with nothing to say."
    registered(wh, training_end_date=ON - timedelta(3))
    found = remind(wh, ON)
    assert found.silent and str(found) == "" and ledger(wh)[0][:3] == ("retrain-reminder", "DONE", ON)

def test_off_season_is_suppressed_and_says_so(wh):
    "Would catch a summer of alarms, and a suppression that cannot be told from a failure."
    registered(wh, **V9)
    found = remind(wh, date(2026, 8, 1))
    assert found.suppressed and found.urgency == "none" and "off season" in str(found) and json.loads(ledger(wh)[0][3])["suppressed"]
    assert remind(wh, date(2026, 6, 19)).urgency == "URGENT" and remind(wh, date(2026, 6, 20)).suppressed

def test_a_family_without_a_model_is_listed_and_does_not_press(wh):
    "Would catch an eternal alarm for a family that was given up."
    registered(wh, "gone", "retired", family="v8_mae", training_end_date=date(2025, 11, 1)); registered(wh, **V12)
    found = remind(wh, ON)
    assert found.urgency == "OVERDUE" and "v8_mae: no model in service" in str(found) and found.families["command"].to_list()[1] is None

def test_a_live_model_of_unknown_age_is_urgent(wh):
    "Would catch a model in service that nobody is ever told to retrain, because nobody knows its age."
    registered(wh, **V12); registered(wh, **V9)
    wh.sql(f"UPDATE {REGISTRY} SET training_end_date = NULL WHERE model_id = @m", m=V9["model"])
    found = remind(wh, ON)
    row = found.families.row(0, named=True)
    assert (row["model_family"], row["age_days"], row["urgency"], row["command"]) == ("v9_mae", None, "URGENT", retrain_command("v9_mae", ON))
    assert found.urgency == "URGENT" and "v9_mae: age unknown (URGENT)" in str(found) and row["command"] in str(found)

def test_the_command_is_one_that_retrain_takes():
    "Would catch a reminder whose command is refused when it is pasted."
    from nbprops.cli import app
    from nbprops.model.families import Family
    words = retrain_command("v12_noveg_q43", ON).split()
    assert words[:2] == ["nbprops", "retrain"] and str(Family.parse(words[words.index("--family") + 1])) == "v12_noveg_q43"
    flags = {o for p in typer.main.get_command(app).commands["retrain"].params for o in p.opts}
    assert {w for w in words if w.startswith("--")} <= flags

def test_the_command_line_speaks_to_programs(wh, monkeypatch):
    "Would catch JSON without the urgency, or an exit code that turns age into failure."
    from nbprops.commands.watch import retrain_reminder
    app = typer.Typer(); app.command()(retrain_reminder)
    monkeypatch.setenv("NBPROPS_DB", str(wh.path))
    registered(wh, **V9)
    out, text = CliRunner().invoke(app, ["--date", str(ON), "--json"]), CliRunner().invoke(app, ["--date", str(ON)])
    said = json.loads(out.output)
    assert out.exit_code == text.exit_code == 0 and said["urgency"] == "URGENT" and said["families"][0]["age_days"] == 39
    assert "nbprops retrain --name V9_MAE_20260216 --family v9_mae --promote" in text.output
