"Notices: what they say, that each arrives once, and that no channel waits for another."
import json, logging, os, sys, time
from datetime import date, datetime, timedelta, timezone
from dataclasses import replace
import polars as pl, pytest
from nbprops.core import eastern_date
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.settings import Refusal
from nbprops.ops.notice_content import BEST, TOP, Entry, Notice, Quiet, SlateFacts, drift_notice, grading_notice, notice, picks_notice, restated_notice, transition_notice, validation_notice, why_none
from nbprops.ops.notify import CHANNELS, LOG, Fate, cause, notify
from nbprops.signals.files import publish_day
from nbprops.signals.practice import outcomes, practice, stored
from nbprops.signals.publication import PICKS, fill_results
from nbprops.signals.selection import seed
from nbprops.signals.subset_record import fill_subset_results, subset_record
from nbprops.signals.subsets import SUBSET_PICKS
from tests.forks import Child, script
from tests.post_office import MailServer, Webhook, deaf_port, free_port, mail_url, opened

DAY = date(2025, 12, 6)
MORNING = "2025-12-06T15:00:00Z"
PRED, REGISTRY = "nba_predictions.player_prop_predictions", "nba_predictions.model_registry"
SECRET = "T0SECRETTOKEN"
ALARM = Notice("validation", DAY, "Validation 2025-12-06: 1 grave finding", "ab12", entries=(Entry("pvl", "CRIT pvl: 2.4 points off", "nbprops validate daily"),))
PICKS_ = Notice("picks", DAY, "NBA picks 2025-12-06: no picks", "no_lines", TOP, reason="no book has a line yet")

@pytest.fixture(scope="module")
def practised(tmp_path_factory):
    "The practice league on the morning of a day whose lists are made."
    home = tmp_path_factory.mktemp("notices")
    w = Warehouse(home/"nbprops.duckdb"); w.migrate()
    with pytest.MonkeyPatch.context() as mp:
        mp.setenv("NBPROPS_NOW", MORNING); mp.setenv("NBPROPS_HOME", str(home))
        p = practice(seed=1); stored(w, p)
        publish_day(w, DAY, Store(), Store(str(home/"out")))
    return w.path, p

@pytest.fixture
def morning(practised, tmp_path, monkeypatch):
    import shutil
    (tmp_path/"home").mkdir(exist_ok=True); shutil.copy(practised[0], tmp_path/"home"/"nbprops.duckdb")
    monkeypatch.setenv("NBPROPS_NOW", MORNING)
    return Warehouse(tmp_path/"home"/"nbprops.duckdb")

@pytest.fixture
def post(monkeypatch):
    "Three channels whose servers really receive."
    with opened(Webhook, MailServer, Webhook) as (slack, mail, sms):
        for c, url in zip(CHANNELS, (slack.url(SECRET), mail.url(), sms.url(SECRET))): monkeypatch.setenv(CHANNELS[c], url)
        yield slack, mail, sms

counts = lambda post: [len(s.got) for s in post]
log = lambda wh: wh.sql(f"SELECT * FROM {LOG} ORDER BY sent_at, notification_id")
outcomes_of = lambda wh, c: [json.loads(x)["outcome"] for x in log(wh).filter(pl.col("channel") == c, pl.col("status") != "DUPLICATE")["payload_json"]]

# ---- delivery

def test_every_channel_receives_once(morning, post):
    "Fails when a channel does not get the notice, gets it twice, or gets another channel's form."
    n = picks_notice(morning, DAY)
    assert notify(morning, n).status() == dict(slack="SENT", email="SENT", sms="SENT") and counts(post) == [1, 1, 1]
    slack, mail, sms = (s.got[0] for s in post)
    assert "OVER 26.5" in slack["message"] and slack["title"] == n.title and sms["message"].startswith("NBA 12-06") and sms["message"].isascii()
    parts = {p.get_content_type(): p.get_content() for p in mail.walk() if not p.is_multipart()}
    assert set(parts) == {"text/plain", "text/html"} and mail["Subject"] == n.title
    for text in parts.values(): assert all(p.player in text for p in n.picks)
    again = notify(morning, n)
    assert set(again.status().values()) == {"DUPLICATE"} and again.exit_code == 0 and counts(post) == [1, 1, 1]
    rows = log(morning)
    assert rows["status"].sort().to_list() == ["DUPLICATE"]*3 + ["SENT"]*3 and rows["idempotency_key"].n_unique() == 3
    assert rows.filter(channel="slack", status="SENT")["idempotency_key"].to_list() == [f"{DAY}|picks:{TOP}|1|slack"]
    assert json.loads(rows.filter(channel="slack", status="SENT")["payload_json"][0])["text"] == slack["message"]

def test_missing_settings_are_skipped_and_logged(wh):
    "Fails when a channel without settings is an error, or leaves no row."
    told = notify(wh, PICKS_)
    assert set(told.status().values()) == {"SKIPPED_NO_CONFIG"} and told.exit_code == 0 and "Nobody was told" in repr(told)
    assert log(wh)["status"].to_list() == ["SKIPPED_NO_CONFIG"]*3 and log(wh)["error"].str.contains("is not set").all()

def test_one_failure_stops_nobody_and_is_tried_again(wh, post, monkeypatch):
    "Fails when an unreachable channel holds up the others, counts as sent, or is given up for ever."
    slack, mail, sms = post
    monkeypatch.setenv(CHANNELS["email"], mail_url(free_port(), "me:PASSWORD1@")); slack.answer = 500
    told = notify(wh, PICKS_)
    assert told.status() == dict(slack="FAILED", email="FAILED", sms="SENT") and told.exit_code == 1
    assert (told.attempts["slack"].error, told.attempts["email"].error) == ("the server answered 500", "the connection was refused")
    monkeypatch.setenv(CHANNELS["email"], mail.url()); slack.answer = 200
    assert notify(wh, PICKS_).status() == dict(slack="SENT", email="SENT", sms="DUPLICATE")
    assert outcomes_of(wh, "slack") == ["failed", "sent"] and len(sms.got) == 1 and len(mail.got) == 1

def test_a_slow_channel_is_given_up_and_not_repeated(wh, post, monkeypatch):
    "Fails when a slow channel delays the others or the command, or is sent a second time although it may have arrived."
    slack, mail, sms = post
    slack.wait = 8
    with deaf_port() as port:
        monkeypatch.setenv(CHANNELS["email"], mail_url(port))
        notify(wh, replace(PICKS_, version="warm"), seconds=.01) # the library is loaded
        began = time.monotonic(); told = notify(wh, PICKS_, seconds=1.5)
    assert time.monotonic() - began < 6 and told.status() == dict(slack="FAILED", email="FAILED", sms="SENT")
    assert all("may have arrived" in told.attempts[c].error for c in ("slack", "email")) and told.exit_code == 1
    slack.wait, before = 0, len(slack.got)
    second = notify(wh, PICKS_)
    assert second.status()["slack"] == "DUPLICATE" and len(slack.got) == before and second.exit_code == 1 and "--again" in second.attempts["slack"].error
    assert notify(wh, PICKS_, again=True).status()["slack"] == "SENT" and len(slack.got) == before + 1

def test_a_service_that_never_ends_its_answer_is_given_up(wh, post, monkeypatch):
    "Fails when the library's own time limit is the only one: an answer without end has none."
    monkeypatch.setattr("nbprops.ops.notify.send_one", lambda sender, message: time.sleep(6) or Fate("sent"))
    began = time.monotonic(); told = notify(wh, PICKS_, seconds=.5)
    assert time.monotonic() - began < 5 and set(told.status().values()) == {"FAILED"}

def test_two_addresses_are_one_channel(wh, post, monkeypatch):
    "Fails when one dead address of two makes the other hear everything twice."
    slack, *_ = post
    monkeypatch.setenv(CHANNELS["slack"], f"{slack.url('a')} json://127.0.0.1:{free_port()}/b, {slack.url('c')}")
    told = notify(wh, PICKS_)
    assert told.status()["slack"] == "SENT" and told.attempts["slack"].error.startswith("1 of 3 addresses") and sorted(x["path"] for x in slack.got) == ["/a", "/c"]
    assert notify(wh, PICKS_).status()["slack"] == "DUPLICATE" and len(slack.got) == 2

def test_the_library_does_not_repeat_by_itself(wh, post, monkeypatch):
    "Fails when an address can switch on repetition behind the back of the claim."
    monkeypatch.setenv(CHANNELS["slack"], post[0].url("x?retry=3&wait=0.1")); post[0].answer = 503
    assert notify(wh, PICKS_).status()["slack"] == "FAILED" and len(post[0].got) == 1

def test_an_address_that_cannot_be_read_is_a_failure(wh, post, monkeypatch):
    "Fails when a mistyped address is a traceback, or is shown."
    monkeypatch.setenv(CHANNELS["slack"], f"slak://{SECRET}/x")
    told = notify(wh, PICKS_)
    assert told.status() == dict(slack="FAILED", email="SENT", sms="SENT") and SECRET not in repr(told)

# ---- races and crashes

CHILD = """
import os, sys
from datetime import date
from nbprops.data.warehouse import Warehouse
from nbprops.ops import notify as N
from nbprops.ops.notice_content import Notice
n = Notice("picks", date(2025, 12, 6), "NBA picks 2025-12-06: no picks", "no_lines", "v9_high_edge_top5", reason="no book has a line yet")
die = sys.argv[1]
if die == "before": N.send_all = lambda *a, **k: os._exit(9)
if die == "after": N.finish = lambda *a, **k: os._exit(9)
print(N.notify(Warehouse(), n).status())
"""
def child(how: str, **env) -> Child: return script(CHILD, how, **env)

def test_racing_senders_send_once(wh, post):
    "Fails when two processes that begin together both send."
    racers = [child("never") for _ in range(3)]
    said = [p.end(120) for p in racers]
    assert [p.returncode for p in said] == [0]*3, said
    assert counts(post) == [1, 1, 1] and sum("SENT" in p.stdout for p in said) >= 1
    rows = log(wh)
    for c in CHANNELS: assert rows.filter(channel=c)["status"].sort().to_list() == ["DUPLICATE", "DUPLICATE", "SENT"]

@pytest.mark.parametrize("how, arrived", [("before", 0), ("after", 1)])
def test_a_crash_between_claim_and_record_never_sends_twice(wh, post, monkeypatch, how, arrived):
    "Fails when a process that died between its claim and its record makes the next one send again, or is forgotten."
    assert child(how).end(120).returncode == 9 and counts(post)[0] == arrived
    first = log(wh).filter(channel="slack")
    assert first["status"].to_list() == ["FAILED"] and "may have arrived" in first["error"][0]
    soon = notify(wh, PICKS_)
    assert soon.status()["slack"] == "DUPLICATE" and "another process began" in soon.attempts["slack"].error
    monkeypatch.setenv("NBPROPS_NOW", f"{datetime.now(timezone.utc) + timedelta(minutes=20):%Y-%m-%dT%H:%M:%SZ}")
    late = notify(wh, PICKS_)
    assert late.status()["slack"] == "DUPLICATE" and "whose process died" in late.attempts["slack"].error and late.exit_code == 1 and counts(post)[0] == arrived
    assert notify(wh, PICKS_, again=True).status()["slack"] == "SENT" and counts(post)[0] == arrived + 1
    assert notify(wh, PICKS_).status()["slack"] == "DUPLICATE" and counts(post)[0] == arrived + 1

def test_a_claim_that_cannot_be_written_sends_nothing(wh, post, monkeypatch):
    "Fails when something is sent that is not on record."
    monkeypatch.setattr("nbprops.ops.notify.Attempt.row", lambda a: (_ for _ in ()).throw(Refusal("no row")))
    with pytest.raises(Refusal, match="no row"): notify(wh, PICKS_)
    assert counts(post) == [0, 0, 0]

# ---- limits

def test_an_alarm_that_lasts_is_told_every_six_hours(wh, post, monkeypatch):
    "Fails when the same alarm floods a channel, or is told once and never again; another alarm is told at once."
    at = lambda t: monkeypatch.setenv("NBPROPS_NOW", t)
    heard = []
    for t in ("2025-12-07T06:00:00Z", "2025-12-07T06:01:00Z", "2025-12-07T11:59:00Z", "2025-12-07T12:01:00Z", "2025-12-07T12:30:00Z"): at(t); heard.append(notify(wh, ALARM).status()["slack"])
    assert heard == ["SENT", "DUPLICATE", "DUPLICATE", "SENT", "DUPLICATE"]
    assert notify(wh, replace(ALARM, version="cd34")).status()["slack"] == "SENT" and len(post[0].got) == 3

def test_picks_are_never_told_again(wh, post, monkeypatch):
    "Fails when the limit of alarms lets picks through a second time; a new version is news."
    monkeypatch.setenv("NBPROPS_NOW", MORNING); notify(wh, PICKS_)
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-09T15:00:00Z")
    assert notify(wh, PICKS_).status()["slack"] == "DUPLICATE"
    assert notify(wh, replace(PICKS_, version="1")).status()["slack"] == "SENT" and notify(wh, replace(PICKS_, subset="v9_high_edge_top10")).status()["slack"] == "SENT"

def test_news_is_told_entry_by_entry(wh, post):
    "Fails when a second transition of a day repeats the first."
    one, two = Entry("t1", "m1: new -> candidate"), Entry("t2", "m1: candidate -> shadow")
    n = Notice("transition", DAY, "Registry", "t1", entries=(one,))
    assert notify(wh, n).status()["slack"] == "SENT" and notify(wh, n).status()["slack"] == "DUPLICATE"
    assert notify(wh, replace(n, version="t2", entries=(one, two))).status()["slack"] == "SENT"
    assert "t2" not in post[0].got[0]["message"] and "new ->" not in post[0].got[1]["message"] and "candidate -> shadow" in post[0].got[1]["message"]

# ---- secrets

def test_no_secret_is_stored_logged_or_printed(wh, post, monkeypatch, caplog, capsys):
    "Fails when a token or a password stands in the log table, in the ledger, on the terminal or in any log, at any level."
    caplog.set_level(logging.DEBUG)
    slack, mail, sms = post
    notify(wh, PICKS_)
    monkeypatch.setenv(CHANNELS["slack"], f"json://me:{SECRET}@127.0.0.1:{free_port()}/{SECRET}"); monkeypatch.setenv(CHANNELS["email"], mail_url(mail.port, f"me:{SECRET}@")); monkeypatch.setenv(CHANNELS["sms"], f"nosuch://{SECRET}")
    told = notify(wh, replace(PICKS_, version="2"))
    sms.answer = 403; monkeypatch.setenv(CHANNELS["sms"], sms.url(SECRET))
    told3 = notify(wh, replace(PICKS_, version="3"))
    everything = repr((told, told3, told.attempts, log(wh).to_dicts(), wh.read("nba_orchestration.run_ledger").to_dicts())) + caplog.text + "".join(capsys.readouterr())
    assert SECRET not in everything and "FAILED" in everything and told3.status()["sms"] == "FAILED"

def test_the_library_is_needed_only_to_send(wh, post, monkeypatch):
    "Fails when a missing extra is a traceback, leaves a claim behind, or is missed by somebody who sends nothing."
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(Refusal, match="apprise is not installed") as e: notify(wh, PICKS_)
    assert "nbprops[notify]" in str(e.value) and log(wh).is_empty()
    for v in CHANNELS.values(): monkeypatch.delenv(v)
    assert set(notify(wh, PICKS_).status().values()) == {"SKIPPED_NO_CONFIG"}

@pytest.mark.parametrize("words, outcome", [("Connection refused", "failed"), ("Failed to resolve 'x'", "failed"), ("ConnectTimeoutError(timed out)", "failed"), ("unauthorized, error=401.", "failed"), ("bad gateway, error=502.", "unknown"), ("Read timed out.", "unknown"), ("Connection aborted", "unknown"), ("(535, b'no')", "failed"), ("(550, b'no such user')", "failed"), ("", "unknown")])
def test_only_a_definite_no_may_be_repeated(words, outcome):
    "Fails when a doubt counts as a no."
    assert cause([words]).outcome == outcome

# ---- what is said

@pytest.mark.parametrize("f, code", [(SlateFacts(), "no_games"), (SlateFacts(5, halted="x"), "halted"), (SlateFacts(5, 60, 30, 30, 30, withdrawn=True), "withdrawn"), (SlateFacts(5, 60), "no_lines"), (SlateFacts(5, 60, 0, 60, run="completed"), "no_lines"), (SlateFacts(5), "run_missing"), (SlateFacts(5, 60, 30), "run_missing"), (SlateFacts(5, 60, 30, run="started"), "run_open"), (SlateFacts(5, 60, 30, run="refused", error="lopsided"), "gate_blocked"),
    (SlateFacts(5, 60, 30, run="failed", asked=60, stopped="alert_red"), "gate_blocked"), (SlateFacts(5, 60, 30, run="failed", error="no model"), "run_failed"), (SlateFacts(5, 60, 30, 60, 0, run="completed"), "no_lines"), (SlateFacts(5, 60, 30, 60, 30), "not_chosen"), (SlateFacts(5, 60, 30, 60, 30, 2, 1, chosen=True, begun=True), "begun"), (SlateFacts(5, 60, 30, 60, 30, 2, 0, chosen=True), "none_passed")])
def test_the_reason_of_a_day_without_picks(f, code):
    "Fails when another reason than the one furthest upstream is told."
    got, words = why_none(f, 5.0)
    assert got == code and words and not words.endswith(".") and "None" not in words

def test_a_list_for_another_colour_says_so():
    "Fails when a list for green days is empty on a red one and calls that 'none passed'."
    f = SlateFacts(5, 60, 30, 60, 30, 4, 4, chosen=True)
    assert why_none(f, 5.0, "GREEN", "RED") == ("colour", "the list asks for a GREEN day, and this one has RED") and why_none(f, 3.0, "GREEN_OR_YELLOW", "YELLOW")[0] == "none_passed"

def run_row(wh, status, error=None, day=DAY):
    wh.write("nba_predictions.prediction_execution_log", pl.DataFrame([dict(execution_id=f"e-{status}", system_id="catboost_v9", status=status, prediction_run_mode="SAME_DAY", build_commit_sha="x", deployment_revision="r", error_message=error, game_date=day, execution_start_timestamp=datetime(2025, 12, 6, 12, tzinfo=timezone.utc), players_requested=30, players_predicted=0, rows_written=0, rows_superseded=0, error_count=0, bypassed_checks=[])], schema_overrides={"error_message": pl.String, "bypassed_checks": pl.List(pl.String)}))

def test_reasons_from_what_is_stored(morning):
    "Fails when the reason does not follow from the tables: step by step a day is taken back to nothing."
    why = lambda name=TOP, day=DAY: (lambda n: (n.version, n.reason, n.picks))(picks_notice(morning, day, name))
    assert why()[:2] == ("1", None) and len(why()[2]) == 3
    assert why("v9_high_edge_balanced")[0] == "colour" and "RED" in why("v9_high_edge_balanced")[1]
    morning.sql(f"DELETE FROM {SUBSET_PICKS} WHERE subset_id = '{TOP}'")
    morning.sql(f"UPDATE {PRED} SET is_actionable = FALSE WHERE game_date = @d", d=DAY); assert why()[0] == "none_passed" and "3 have an edge of 5" in why()[1] and "0 of these" in why()[1]
    assert why(day=date(2025, 12, 8))[0] in ("not_chosen", "no_games")
    morning.sql(f"DELETE FROM {PRED} WHERE game_date = @d", d=DAY); assert why()[0] == "run_missing"
    run_row(morning, "started"); assert why()[0] == "run_open"
    morning.sql("DELETE FROM nba_predictions.prediction_execution_log WHERE TRUE"); run_row(morning, "refused", "93.1 % of 40 picks in one direction"); assert why()[0] == "gate_blocked" and "93.1 %" in why()[1]
    morning.sql("UPDATE nba_analytics.upcoming_player_game_context SET has_prop_line = FALSE WHERE game_date = @d", d=DAY); assert why()[0] == "no_lines"
    morning.sql("DELETE FROM nba_reference.nba_schedule WHERE game_date = @d", d=DAY); assert why()[0] == "no_games"
    assert picks_notice(morning, DAY).title == "NBA picks 2025-12-06: no picks"

def test_a_blocked_model_without_a_successor_is_a_halt(light_home, tmp_path, monkeypatch):
    "Fails when a system whose model was blocked is told as a missing run."
    import shutil
    shutil.copytree(light_home, tmp_path/"home", dirs_exist_ok=True)
    wh = Warehouse(tmp_path/"home"/"nbprops.duckdb")
    wh.sql(f"UPDATE {REGISTRY} SET state = 'blocked', status = 'blocked', enabled = FALSE, is_production = FALSE WHERE system_id = 'catboost_v9'")
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T15:00:00Z")
    n = picks_notice(wh, date(2025, 12, 19))
    assert n.version == "halted" and "halted" in n.reason

def test_the_notice_says_what_the_model_said(light_home, tmp_path, monkeypatch):
    "Fails when price, chances, terms, the model's window or what it is expected to do are not those of the stored rows and of the published file."
    from tests.predict_world import LAST, copy_world
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T15:00:00Z")
    wh, store, worker = copy_world(light_home, tmp_path/"home")
    worker().predict(LAST, mode="SAME_DAY")
    with wh.transaction() as tx: seed(tx)
    wh.sql("UPDATE nba_predictions.dynamic_subset_definitions SET min_edge = 0.5 WHERE TRUE") # a tiny model has no strong opinion
    wh.sql(f"UPDATE {PRED} SET is_actionable = TRUE WHERE recommendation IN ('OVER', 'UNDER')")
    publish_day(wh, LAST, store, Store(str(tmp_path/"out")))
    n = picks_notice(wh, LAST, store=store)
    assert n.picks and n.models[0].unproven and n.models[0].file.endswith(".cbm") and n.models[0].trained_to == date(2025, 12, 1) and n.models[0].expected_mae == 4.9 and n.models[0].expected_hit_rate == 52.0
    for p in n.picks:
        row = wh.sql(f"SELECT * FROM {PRED} AS p JOIN nba_reference.nba_players_registry AS r ON r.player_lookup = p.player_lookup WHERE p.game_date = @d AND p.is_active AND p.system_id = 'catboost_v9' AND r.player_name = @n", d=LAST, n=p.player).row(0, named=True)
        side = "over" if p.direction == "OVER" else "under"
        assert (p.direction, p.line, p.sportsbook, p.price, p.fair_odds) == (row["recommendation"], row["line_value"], row["sportsbook"], row[f"{side}_price_american"], row["fair_price_american"])
        assert p.prediction == pytest.approx(row["predicted_points"], abs=.01) and p.p_over == pytest.approx(row["p_over"], abs=1e-4) and p.expected_value == pytest.approx(row["expected_value"], abs=1e-4)
        assert len(p.terms) == 5 and [abs(t.shap) for t in p.terms] == sorted((abs(t.shap) for t in p.terms), reverse=True)
        assert p.offer.line == row["best_line"] and p.offer.price == row["best_price_american"] and p.offer.sportsbook == row["best_sportsbook"] and p.offer.expected_value is not None
    (tmp_path/"home"/"models").rename(tmp_path/"gone") # the files are lost: terms and offer value go, the notice stays
    poor = picks_notice(wh, LAST, store=Store(str(tmp_path/"home"/"models")))
    assert [p.player for p in poor.picks] == [p.player for p in n.picks] and not poor.picks[0].terms and poor.picks[0].offer.expected_value is None

def test_the_record_is_the_published_one(morning, practised, monkeypatch):
    "Fails when the record counts other picks than the lists held, or results make an old notice new."
    before = picks_notice(morning, DAY)
    stored(morning, practised[1], outcomes(practised[1].predictions, 5))
    assert fill_subset_results(morning, DAY, DAY).written and fill_results(morning, DAY, DAY)
    assert picks_notice(morning, DAY).version == before.version == "1" and picks_notice(morning, DAY).picks == before.picks
    later = picks_notice(morning, DAY + timedelta(days=1)).record
    want = subset_record(morning, DAY, DAY).filter(subset_id=TOP).row(0, named=True)
    assert (later.wins, later.losses, later.pushes, later.n) == (want["wins"], want["losses"], want["pushes"], 3) and later.interval == pytest.approx((100*want["low"], 100*want["high"]))
    assert picks_notice(morning, DAY + timedelta(days=30)).record.n == 0
    best = picks_notice(morning, DAY + timedelta(days=1), BEST).record
    assert best.n == morning.sql(f"SELECT COUNT(*) AS n FROM {PICKS} WHERE result IN ('WIN', 'LOSS')").item()

def test_a_retracted_pick_is_told(morning, post):
    "Fails when a pick that was published and taken back is not told, or told twice, or still stands in the picks."
    assert isinstance(restated_notice(morning, DAY), Quiet)
    rows = morning.read(PICKS, DAY, DAY)
    morning.write(PICKS, rows.with_columns(publication_version=pl.lit(2), is_retracted=pl.lit(True), retraction_reason=pl.lit("late_scratch")))
    n = restated_notice(morning, DAY)
    assert n.version == "2" and "was retracted: the player was ruled out late" in n.entries[0].text
    assert notify(morning, n).status()["slack"] == "SENT" and notify(morning, n).status()["slack"] == "DUPLICATE"
    assert picks_notice(morning, DAY, BEST).version == "2" and "withdrawn" in picks_notice(morning, DAY, BEST).reason
    morning.write(PICKS, rows.with_columns(publication_version=pl.lit(3), warning_tags=pl.lit(["tip_moved"], pl.List(pl.String))))
    assert "stands and was stated again: its tip-off moved" in restated_notice(morning, DAY).entries[0].text

def test_grading_is_told_when_it_is_complete(morning, practised):
    "Fails when half a day is told, or the counts are not those of the graded rows."
    assert isinstance(grading_notice(morning, DAY), Quiet)
    stored(morning, practised[1], outcomes(practised[1].predictions, 5))
    n = grading_notice(morning, DAY)
    got = morning.sql("SELECT COUNT(CASE result WHEN 'WIN' THEN 1 END) AS w, COUNT(CASE result WHEN 'LOSS' THEN 1 END) AS l FROM nba_predictions.prediction_accuracy WHERE game_date = @d AND system_id = 'catboost_v9'", d=DAY).row(0)
    assert f"catboost_v9: {got[0]}-{got[1]}-0-0" in next(e.text for e in n.entries if e.id == "catboost_v9")
    morning.sql("UPDATE nba_predictions.prediction_accuracy SET grade_version = 2 WHERE game_date = @d AND system_id = 'catboost_v9'", d=DAY)
    assert grading_notice(morning, DAY).version != n.version
    one = morning.sql("SELECT MIN(game_id) AS g FROM nba_predictions.prediction_accuracy WHERE game_date = @d", d=DAY).item()
    morning.sql("DELETE FROM nba_predictions.prediction_accuracy WHERE game_id = @g", g=one)
    assert "1 of 2 games" in grading_notice(morning, DAY).why

def test_the_registry_tells_its_moves(light_home, tmp_path):
    "Fails when a transition is not told with its reason, or another day's is."
    import shutil
    shutil.copytree(light_home, tmp_path/"home", dirs_exist_ok=True)
    wh = Warehouse(tmp_path/"home"/"nbprops.duckdb")
    day = wh.sql("SELECT MAX(occurred_at) AS t FROM nba_predictions.model_registry_history").item()
    n = transition_notice(wh, eastern_date(day))
    assert len(n.entries) == 4 and "candidate -> shadow" in n.entries[-1].text and "because: test" in n.entries[-1].text
    assert isinstance(transition_notice(wh, date(2020, 1, 1)), Quiet)

def test_drift_and_validation(wh):
    "Fails when a service of another build is silent, or a finding below CRIT is told."
    assert isinstance(drift_notice(wh, DAY), Quiet) and "no healthy deployment" in drift_notice(wh, DAY).why
    row = lambda id, sha, h: dict(deployment_id=id, service="prediction-worker", commit_sha=sha, deployment_revision=id, deployed_by="x", model_env_json="{}", is_healthy=True, deployed_at=datetime(2025, 12, 6, h, tzinfo=timezone.utc))
    wh.write("nba_orchestration.deployments", pl.DataFrame([row("d1", "b"*40, 1), row("d2", "a"*40, 2)]))
    assert [e.id for e in drift_notice(wh, DAY).entries] == ["prediction-worker"] and "UNKNOWN_COMMIT" in drift_notice(wh, DAY).entries[0].text
    assert [e.id for e in notice(wh, "deployment", date(2025, 12, 5)).entries] == ["d1", "d2"] # Eastern evening
    with pytest.raises(Refusal, match="No date has been validated"): validation_notice(wh)
    check = lambda id, verdict, run="v2": dict(validation_run_id=run, check_id=id, verdict=verdict, game_date=DAY, value=1.0, n=1, detail_json='{"reason": "r"}')
    wh.write("nba_orchestration.validation_results", pl.DataFrame([check("pvl", "WARN", "v1")])); assert isinstance(validation_notice(wh), Quiet)
    wh.write("nba_orchestration.validation_results", pl.DataFrame([check("pvl", "CRIT"), check("tip_guard", "ERROR"), check("edge_spread", "WARN")])); assert {e.id for e in validation_notice(wh).entries} == {"pvl", "tip_guard"}

# ---- the command

def test_the_command(morning, post, say):
    "Fails when the command does not answer with the state of every channel, or a dry run sends."
    code, out, _ = say("nbprops notify picks --dry-run"); assert code == 0 and "--- sms" in out and log(morning).is_empty() and counts(post) == [0, 0, 0]
    code, out, _ = say("nbprops notify picks --json"); got = json.loads(out)
    assert code == 0 and {c: got[c] for c in CHANNELS} == dict(slack="SENT", email="SENT", sms="SENT") and got["notice"]["picks"]
    assert json.loads(say(f"nbprops notify picks --date {DAY} --subset v9_top5 --json")[1])["slack"] == "DUPLICATE" and "no picks" in say("nbprops notify picks --date 2026-07-01")[1]
    for kind in ("reminder", "drift", "deployment", "transition", "grading", "restated"): assert say(f"nbprops notify {kind}")[0] == 0
    post[0].answer = 500; assert say("nbprops notify picks --subset best_bets")[0] == 1

@pytest.mark.parametrize("line, word", [("nbprops notify gossip", "is no kind of notice"), ("nbprops notify picks --subset nosuch", "is no subset"), ("nbprops notify drift --subset v9_top5", "only picks come in lists"), ("nbprops notify picks --date 6.12.", "YYYY-MM-DD"), ("nbprops notify validation", "No date has been validated"), ("nbprops notify validation --date 2025-01-01", "has not been validated")])
def test_bad_input_is_one_sentence(wh, say, line, word):
    "Fails when a mistake is a traceback, or a success."
    code, out, err = say(line); assert code == 2 and word in err and len(err.strip().splitlines()) == 1
