"Deliveries by the clock, faults that strike them or the stored rows, and days that are played: nothing of the future is there, and a fault spoils its own dates only."
from datetime import date, datetime, timedelta
import polars as pl, pytest
from nbprops.data.artifacts import Store
from nbprops.data.faults import KINDS, Fault
from nbprops.data.landing import AT, BOX, GAME_LINES, NEWS, OWN_TIME, PLAYED, REPORTS, SCHEDULE, SHOTS, TEAM_BOX, arrivals, bad_news, deliver, delivered
from nbprops.data.league import simulate
from nbprops.data.tables import table
from nbprops.data.warehouse import Warehouse
from nbprops.model.states import paths
from nbprops.ops.checks import validate_daily
from nbprops.ops.drill import BY_NIGHT, FULL, NIGHT, NOON, Drill, at, catch_up, open_drill, play_day, rehearse, tasks_of
from nbprops.ops.rehearsal import CLOCK, DAY, rehearse as healthy
from nbprops.ops.strikes import STRIKES, leaked_form, overwrite, strike, swap_files, targets
from nbprops.settings import ET, Refusal, clock, now
from tests.predict_world import copy_world

D = date(2025, 12, 1)
ON = dict(start=D, end=D)
LINES = "nba_raw.odds_api_player_points_props"

@pytest.fixture(scope="module")
def season(): return simulate(light=True)

@pytest.fixture(scope="module")
def feeds(season): return arrivals(season)

def night(hour: int, days: int = 0) -> datetime: return datetime(D.year, D.month, D.day, hour, tzinfo=ET) + timedelta(days=days)

# ---- deliveries

def test_everything_comes_once(season, feeds):
    "Fails when a delivery loses, invents or changes a row of the season."
    whole = delivered(feeds)
    for name, f in whole.items(): assert f.sort(table(name).key).equals(season[name].sort(table(name).key)), name

@pytest.mark.parametrize("hour", [3, 12, 19, 23])
def test_nothing_of_the_future_is_there(feeds, hour):
    "Fails when a result, a report or a line is delivered before it can be known."
    t = night(hour)
    got, utc = delivered(feeds, t), pl.lit(t.astimezone(now().tzinfo))
    begun = got[SCHEDULE].filter(pl.col("game_start_utc") + PLAYED > utc)
    assert begun.height and (begun["game_status"] == 1).all() and begun["home_team_score"].null_count() == begun.height and (got[SCHEDULE].filter(pl.col("game_start_utc") + PLAYED <= utc)["game_status"] == 3).all()
    for name in (BOX, TEAM_BOX, SHOTS): assert not set(got[name]["game_id"]) & set(begun["game_id"]), name
    for name, c in OWN_TIME.items(): assert got[name].filter(pl.col(c) > utc).is_empty() and got[name].height, name

def test_many_deliveries_are_one(feeds, tmp_path):
    "Fails when the hours of delivery change what the warehouse holds in the end, or a delivery that is repeated writes a row."
    a, b = Warehouse(tmp_path/"a.duckdb"), Warehouse(tmp_path/"b.duckdb")
    for w in (a, b): w.migrate()
    stops = [night(12, k) for k in (-20, -7, -1, 0)] + [night(23)]
    for since, until in zip([None, *stops], stops): deliver(feeds, a, until, since)
    deliver(feeds, b, stops[-1])
    again = deliver(feeds, b, stops[-1])
    assert again.written == 0 and again.read == again.present > 1000
    for name in (SCHEDULE, BOX, LINES, REPORTS, GAME_LINES, "nba_reference.nba_schedule", "nba_reference.nba_players_registry"):
        rows = [w.read(name, columns=table(name).content).sort(table(name).key) for w in (a, b)]
        assert rows[0].equals(rows[1]), name

# ---- faults of the feeds

def changed(bad, good, until): return {n for n, f in delivered(good, until).items() if not delivered(bad, until)[n].equals(f)}

@pytest.mark.parametrize("name", NEWS)
def test_a_fault_spoils_its_own_dates_only(feeds, name):
    "Fails when a fault does nothing, is heard before its day, or touches rows of other dates."
    bad = bad_news(Fault(name, **ON), feeds)
    assert not changed(bad, feeds, night(0, -1)), "heard too early"
    assert changed(bad, feeds, night(20, 1)) if name not in ("late_feed",) else changed(bad, feeds, night(6, 1)), "does nothing"
    spread = D + timedelta(days=2 if name == "traded_player" else 0)
    for n in delivered(feeds):
        day = "report_date" if n == REPORTS else "game_date"
        other = lambda f: f.filter(pl.col(day) < date(2025, 12, 18)).filter(~pl.col(day).is_between(D - timedelta(days=1) if n == REPORTS else D, spread)).filter(pl.col("game_id").str.starts_with("2025")).sort(table(n).key)
        assert other(delivered(bad)[n]).equals(other(delivered(feeds)[n])), n
    assert bad_news(Fault("dnp_zeros"), feeds) is feeds

def test_the_same_seed_hits_the_same(feeds):
    "Fails when a fault depends on the order of the rows or on chance, or when another seed hits the same."
    turned = {k: f.reverse() for k, f in feeds.items()}
    for name in ("moved_tip", "postponed_game", "double_name", "ladder_as_main", "stat_correction"):
        one, two = (delivered(bad_news(Fault(name, **ON), f)) for f in (feeds, turned))
        assert all(one[n].sort(table(n).key).equals(two[n].sort(table(n).key)) for n in one), name
    ladder = lambda seed: delivered(bad_news(Fault("ladder_as_main", **ON, seed=seed), feeds))[LINES]["points_line"]
    assert not ladder(0).equals(ladder(1))

def test_a_late_feed_comes_later_and_whole(feeds):
    "Fails when a late feed loses rows, or hours are not what was asked for."
    late = bad_news(Fault("late_feed", strength=12, **ON), feeds)
    box = lambda f, t: delivered(f, t)[BOX].filter(pl.col("game_date") == D).height
    tips = feeds[SCHEDULE].filter(pl.col("game_date") == D)["game_start_utc"]
    assert box(late, tips.min() + PLAYED + timedelta(hours=12, minutes=-1)) == 0 and box(feeds, tips.max() + PLAYED) == box(late, tips.max() + PLAYED + timedelta(hours=12)) > 0

def test_a_postponed_game_is_announced_anew(feeds):
    "Fails when a postponed game is played, is final, or is not found under its new date."
    bad, last = delivered(bad_news(Fault("postponed_game", **ON), feeds)), feeds[SCHEDULE]["game_date"].max()
    gone = bad[SCHEDULE].filter(pl.col("game_date") == D, pl.col("game_status") == 1)
    anew = bad[SCHEDULE].filter(pl.col("game_date") == last, pl.col("game_status") == 1)
    assert gone.height == anew.height == 1 and gone["nba_game_id"].item() == anew["nba_game_id"].item() and gone["game_id"].item() != anew["game_id"].item()
    assert not set(bad[BOX]["game_id"]) & {gone["game_id"].item(), anew["game_id"].item()}

def test_a_correction_comes_after_grading_and_adds_up(feeds):
    "Fails when corrected players, their teams and the final scores disagree."
    bad = bad_news(Fault("stat_correction", **ON), feeds)
    early, late = delivered(bad, night(12, 1)), delivered(bad, night(16, 1))
    points = lambda f: f[BOX].filter(pl.col("game_date") == D)["points"].sum()
    assert points(late) - points(early) == 4 and early[BOX].height == late[BOX].height
    team = late[TEAM_BOX].filter(pl.col("game_date") == D)["points"].sum(); score = late[SCHEDULE].filter(pl.col("game_date") == D)
    assert points(late) == team == score["home_team_score"].sum() + score["away_team_score"].sum()

# ---- strikes

@pytest.fixture(scope="module")
def world(tmp_path_factory): return healthy(tmp_path_factory.mktemp("strike")/"r.duckdb")

class Undo(Exception): pass

@pytest.mark.parametrize("name", [k for k in STRIKES if k != "wrong_unit"]) # the rehearsed warehouse has no shares by zone
def test_a_strike_is_heard_and_hits_its_dates_only(world, name, monkeypatch):
    "Fails when a strike misses its table, spills over to another date, falls twice on the same rows, or no check that is responsible hears it."
    f = Fault(name, strength={"duplicate_rows": .3, "wrong_book": .5}.get(name), start=DAY, end=DAY)
    other = lambda w: {t: w.sql(f"SELECT COUNT(*) AS n, COUNT(DISTINCT {table(t).partition}) AS d FROM {t} WHERE {table(t).partition} <> @d", d=DAY).row(0) for t in targets(f)}
    was = other(world)
    monkeypatch.setenv("NBPROPS_NOW", CLOCK.isoformat())
    with pytest.raises(Undo):
        with world.transaction() as tx:
            stamps = [t for n in targets(f) for t in tx.sql(f"SELECT MIN(updated_at) AS a, MAX(updated_at) AS b FROM {n}").row(0)]
            assert strike(tx, f, DAY, DAY, since=max(stamps)) == 0
            assert strike(tx, f, DAY - timedelta(days=3), DAY + timedelta(days=1), since=min(stamps) - timedelta(seconds=1)) > 0
            assert other(tx) == was and strike(tx, Fault(name, start=DAY + timedelta(days=9)), DAY, DAY) == 0
            from nbprops.ops.judge import CHECKS, ask, situation
            answers = {c: ask(tx, CHECKS[c], situation(tx, DAY, at=CLOCK)).verdict for c in f.checks}
            assert set(answers.values()) & {"CRIT", "WARN"}, answers
            raise Undo()

def test_leaked_form_is_the_form_with_the_game_in_it(world):
    "Fails when the leak is not the mean of the last five games, tonight's included."
    with world.transaction() as tx:
        form = leaked_form(tx, DAY)
        rows = tx.sql("SELECT player_lookup, game_date, points FROM nba_analytics.player_game_summary WHERE game_date <= @d AND NOT is_dnp ORDER BY game_date", d=DAY)
    want = {who: f["points"].tail(5).mean() for (who,), f in rows.partition_by("player_lookup", as_dict=True).items() if f["game_date"].max() == DAY}
    assert {r["player_lookup"]: pytest.approx(r["l5"]) for r in form.iter_rows(named=True)} == want and len(want) > 50

def test_an_exchanged_file_is_another_file(light_home, tmp_path, monkeypatch):
    "Fails when the exchanged bytes are still accepted."
    home = tmp_path/"home"; wh, store, _ = copy_world(light_home, home)
    monkeypatch.setenv("NBPROPS_HOME", str(home))
    from nbprops.model.registry import Registry
    row = Registry(wh, store).rows("is_production").row(0, named=True)
    rel = paths(row)[0]
    assert store.get(rel, row["sha256"]) and swap_files(wh, store) == [row["model_id"]]
    with pytest.raises(Refusal, match="not the file that was registered"): store.get(rel, row["sha256"])

# ---- days

def test_a_day_of_a_drill(tmp_path, monkeypatch, feeds):
    "Fails when a day's jobs see the evening, a feed fault is not heard, or a step of the drill stands in a day without faults."
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home"))
    drill = open_drill(Warehouse(), Store(), light=True, faults=(Fault("late_feed", **ON),), pages=False)
    assert [t.name for t in tasks_of(drill)] == [t.name for t in tasks_of(drill) if not t.name.startswith("after")]
    assert "after predictions" in [t.name for t in tasks_of(Drill(drill.wh, drill.store, {}, (Fault("line_plus_2"),)), BY_NIGHT)]
    catch_up(drill, D)
    run, noon = play_day(drill, D)
    assert run.exit_code == 0 and all(s.status != "FAILED" for s in run.steps) and drill.landed == at(D, FULL)
    assert drill.wh.sql("SELECT MAX(snapshot_timestamp) AS t FROM nba_raw.odds_api_player_points_props")["t"][0] <= at(D, FULL)
    assert drill.wh.sql("SELECT COUNTIF(game_status = 3) AS n FROM nba_reference.nba_schedule WHERE game_date >= @d", d=D)["n"][0] == 0
    play_day(drill, D + timedelta(days=1))
    heard = drill.wh.sql("SELECT created_at, verdict, value FROM nba_orchestration.validation_results WHERE game_date = @d AND check_id = 'box_games' ORDER BY created_at", d=D).filter(pl.col("verdict") != "NOT_APPLICABLE")
    assert heard["verdict"][0] == "CRIT" and heard["value"][1] < heard["value"][0] and [t.astimezone(ET).time() for t in heard["created_at"]] == [NIGHT, FULL]

@pytest.mark.parametrize("given, says", [(dict(start=date(2025, 11, 1)), "outside of what can be played"), (dict(days=0), "no number of days"), (dict(faults=("eval_overlap",)), "strikes no day"), (dict(faults=("late_fed",)), "No fault is called"), (dict(start=date(2026, 4, 10)), "outside")])
def test_a_drill_that_cannot_be_is_refused(tmp_path, monkeypatch, given, says):
    "Fails when a drill begins that could not end, or leaves something behind."
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home"))
    with pytest.raises(Refusal, match=says): rehearse(**given)
    assert not (tmp_path/"home").exists()

def test_a_drill_never_mixes_with_a_story(light_home, tmp_path, monkeypatch):
    "Fails when a drill begins in a home that holds games."
    home = tmp_path/"home"; wh, store, _ = copy_world(light_home, home)
    monkeypatch.setenv("NBPROPS_HOME", str(home))
    with pytest.raises(Refusal, match="holds a story already"): open_drill(wh, store, light=True)
