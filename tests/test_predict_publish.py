"Writing a slate: one active row, versions, all or nothing, and a chain that notices edits."
import shutil
from datetime import date, datetime, timedelta
import polars as pl, pytest
from hypothesis import given, settings, strategies as st
from nbprops.data.warehouse import DuckTransaction as Transaction
from nbprops.predict import publish as P
from nbprops.predict.publish import PUBLICATIONS, broken_links, digest, distribution, json_rows, publish
from nbprops.settings import Broken
from tests.predict_world import PRED, dump, utc

D0, T0 = date(2026, 2, 2), utc(2026, 2, 2, 12)

def slate(run, lines, systems=("alpha", "beta"), at=T0, day=D0):
    "Rows of some systems for some players: {player: line}."
    base = dict(game_id=f"{day:%Y%m%d}_NYK_BOS", game_date=day, team_abbr="BOS", opponent_team_abbr="NYK", line_source="ACTUAL_PROP", prediction_run_mode="SAME_DAY", run_id=run, model_version="v1", model_family="baseline", model_load_source="CODE", attribution_source="recorded",
        feed_profile="box", build_commit_sha="c", deployment_revision="local", confidence_score=.5, is_active=True, is_actionable=False, prediction_made_before_game=True, predicted_at=at, created_at=at, updated_at=at, filter_reasons=["low_edge"], recommendation="PASS")
    return pl.DataFrame([base | dict(prediction_id=f"{s}-{p}-{run}-{day}", system_id=s, model_id=s, player_lookup=p, predicted_points=10.25, line_value=l, has_prop_line=l is not None, line_margin=None if l is None else 10.25 - l) for s in systems for p, l in lines.items()],
                        schema_overrides={"line_value": pl.Float64, "line_margin": pl.Float64})

def put(wh, rows, run):
    with wh.transaction() as tx: return publish(tx, rows, {d: run for d in rows["game_date"].unique()})

def rows_of(wh, where="TRUE"): return wh.sql(f"SELECT * FROM {PRED} WHERE {where}")

@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    from nbprops.data.warehouse import Warehouse
    w = Warehouse(tmp_path_factory.mktemp("empty")/"w.duckdb")
    w.migrate()
    return w

@settings(max_examples=10)
@given(runs=st.lists(st.tuples(st.sampled_from([("alpha",), ("beta",), ("alpha", "beta")]), st.dictionaries(st.sampled_from(["ann", "bob"]), st.sampled_from([None, 20.0, 20.5, 24.5, 25.0]), min_size=1), st.integers(-2, 3)), min_size=1, max_size=5))
def test_exactly_one_row_is_active(empty, runs, tmp_path_factory):
    "Would catch a deactivation that forgets the system, or lines that collide in the key."
    from nbprops.data.warehouse import Warehouse
    wh = Warehouse(tmp_path_factory.mktemp("active")/"w.duckdb")
    shutil.copy(empty.path, wh.path)
    sent, last = set(), {}
    for i, (systems, lines, hours) in enumerate(runs):
        put(wh, slate(f"r{i}", lines, systems, T0 + timedelta(hours=hours)), f"r{i}")
        sent |= {(s, p, l) for s in systems for p, l in lines.items()}
    rows = rows_of(wh)
    assert set(rows.select("system_id", "player_lookup", "line_value").iter_rows()) == sent and rows.height == len(sent)
    groups = rows.group_by("system_id", "player_lookup").agg(pl.col("is_active").sum(), newest=pl.col("predicted_at").max(), shown=pl.col("predicted_at").filter("is_active").first(), by=pl.col("superseded_by").drop_nulls().n_unique())
    assert groups["is_active"].eq(1).all() and groups["newest"].equals(groups["shown"]) and groups["by"].le(1).all()
    assert rows.filter("is_active")["superseded_by"].null_count() == rows.filter("is_active").height
    versions = wh.sql("SELECT COUNT(*) AS n FROM nba_predictions.prediction_versions").item()
    assert versions + rows.height == sum(len(s)*len(l) for s, l, _ in runs)
    with wh.transaction() as tx: assert broken_links(tx, D0, D0) == []

def test_half_and_whole_lines_do_not_collide(wh):
    "Would catch a key that casts 24.5 and 25.0 to one integer."
    put(wh, slate("r1", {"ann": 24.5}), "r1")
    put(wh, slate("r2", {"ann": 25.0}), "r2")
    assert sorted(rows_of(wh, "system_id = 'alpha'")["line_value"]) == [24.5, 25.0]

class Kill(BaseException): pass

def test_a_kill_between_any_two_statements_writes_nothing(wh, monkeypatch):
    "Would catch a slate that is half written."
    put(wh, slate("r1", {"ann": 20.5, "bob": 11.5}), "r1")
    before, calls = dump(wh), dict(n=0, stop=None)
    real_sql, real_write = Transaction.sql, Transaction.write
    def count(real):
        def call(self, *a, **k):
            calls["n"] += 1
            if calls["n"] == calls["stop"]: raise Kill
            return real(self, *a, **k)
        return call
    monkeypatch.setattr(Transaction, "sql", count(real_sql)); monkeypatch.setattr(Transaction, "write", count(real_write))
    attempt = lambda: put(wh, slate("r2", {"ann": 20.5, "bob": 12.5}, at=T0 + timedelta(hours=1)), "r2")
    stop = 1
    while True:
        calls.update(n=0, stop=stop)
        try: attempt()
        except Kill:
            calls["stop"] = None
            assert dump(wh) == before
            stop += 1
            continue
        break
    calls["stop"] = None
    assert stop > 8 and rows_of(wh)["run_id"].value_counts().sort("run_id").rows() == [("r1", 2), ("r2", 4)]

def test_a_wrong_count_rolls_back(wh, monkeypatch):
    "Would catch rows that vanish between staging and table."
    put(wh, slate("r1", {"ann": 20.5}), "r1")
    before = dump(wh)
    real = P.activate
    monkeypatch.setattr(P, "activate", lambda tx, rows: (real(tx, rows), tx.sql(f"DELETE FROM {PRED} WHERE run_id = 'r2' AND system_id = 'beta'")))
    with pytest.raises(Broken, match="arrived"): put(wh, slate("r2", {"ann": 21.5}), "r2")
    assert dump(wh) == before

def test_rows_that_break_a_rule_are_quarantined_and_counted(wh):
    "Would catch bad rows that are lost, or that take the good ones with them."
    bad = slate("r1", {"ann": 20.5, "bob": 11.5}).with_columns(predicted_points=pl.when(pl.col("player_lookup") == "bob").then(99.0).otherwise("predicted_points"))
    got = put(wh, bad, "r1").counts
    assert (got.read, got.written, got.quarantined) == (4, 2, 2) and set(rows_of(wh)["player_lookup"]) == {"ann"}
    assert wh.sql("SELECT COUNT(*) FROM nba_orchestration.quarantine WHERE table_name LIKE '%player_prop_predictions'").item() == 2
    before = dump(wh)
    with pytest.raises(Broken, match="Every row"): put(wh, slate("r2", {"ann": 20.5}).with_columns(predicted_points=pl.lit(-1.0)), "r2")
    assert dump(wh) == before

@pytest.mark.parametrize("edit, finding", [(f"UPDATE {PRED} SET line_value = 19.5 WHERE player_lookup = 'ann' AND system_id = 'alpha'", "no longer give the digest"), (f"DELETE FROM {PRED} WHERE player_lookup = 'bob' AND system_id = 'beta'", "no longer give the digest"),
    (f"DELETE FROM {PUBLICATIONS} WHERE game_date = '2026-02-02'", "is gone"), (f"UPDATE {PUBLICATIONS} SET slate_digest = 'f' WHERE game_date = '2026-02-03'", "no longer give the digest")])
def test_the_chain_notices_an_edit(wh, edit, finding):
    "Would catch an edit of published rows, or of the chain itself, that goes unseen."
    other = D0 + timedelta(days=1)
    put(wh, slate("r1", {"ann": 20.5, "bob": 11.5}), "r1")
    put(wh, slate("r2", {"ann": 20.5}, day=other), "r2")
    with wh.transaction() as tx: assert broken_links(tx, D0, other) == []
    wh.sql(edit)
    with wh.transaction() as tx: assert any(finding in f for f in broken_links(tx, D0, other))

def test_the_chain_notices_a_forged_vector(wh):
    "Would catch a stored feature vector that was exchanged after publication."
    rows = P.json_rows(pl.DataFrame({"x": [1.5]*2}))
    put(wh, slate("r1", {"ann": 20.5}).with_columns(features_snapshot_json=rows, feature_hash=P.hashes(rows)), "r1")
    wh.sql(f"UPDATE {PRED} SET features_snapshot_json = '{{\"x\":2.5}}' WHERE system_id = 'alpha'")
    with wh.transaction() as tx: assert any("vector" in f for f in broken_links(tx, D0, D0))

def test_blocking_a_model_does_not_look_like_an_edit(wh):
    "Would catch a false alarm after a legitimate block."
    put(wh, slate("r1", {"ann": 20.5}), "r1")
    wh.sql(f"UPDATE {PRED} SET is_active = FALSE, invalidation_reason = 'model blocked', invalidated_at = CURRENT_TIMESTAMP(), updated_at = CURRENT_TIMESTAMP() WHERE system_id = 'alpha'")
    with wh.transaction() as tx: assert broken_links(tx, D0, D0) == []

def test_a_withdrawn_row_does_not_come_back(wh):
    "Would catch a blocked prediction, or the one before it, that is active again because the new row was quarantined."
    put(wh, slate("r1", {"ann": 19.5, "bob": 11.5}), "r1")
    put(wh, slate("r2", {"ann": 20.5}, at=T0 + timedelta(hours=1)), "r2")
    wh.sql(f"UPDATE {PRED} SET is_active = FALSE, invalidation_reason = 'model blocked', invalidated_at = CURRENT_TIMESTAMP() WHERE system_id = 'alpha' AND is_active")
    bad = pl.when((pl.col("player_lookup") == "ann") & (pl.col("system_id") == "alpha")).then(99.0).otherwise("predicted_points")
    assert put(wh, slate("r3", {"ann": 21.5, "bob": 11.5}, at=T0 + timedelta(hours=2)).with_columns(predicted_points=bad), "r3").counts.quarantined == 1
    live = rows_of(wh, "is_active").sort("system_id", "player_lookup")
    assert live.select("system_id", "player_lookup", "run_id").rows() == [("alpha", "bob", "r3"), ("beta", "ann", "r3"), ("beta", "bob", "r3")] and live["invalidated_at"].null_count() == 3

def margins(values): return pl.DataFrame({"game_date": [D0]*len(values), "system_id": ["s"]*len(values), "line_margin": values, "recommendation": ["OVER" if v >= 1 else "UNDER" if v <= -1 else "PASS" for v in values]}, schema_overrides={"line_margin": pl.Float64, "system_id": pl.String, "recommendation": pl.String, "game_date": pl.Date})

@pytest.mark.parametrize("values, centre, verdict", [([-3.0, -2.5]*15, 0.0, "REFUSE"), ([-3.0, -2.5]*14, 0.0, "WARN"), ([-3.0, -2.5]*15, -1.3, "WARN"), ([-1.1, -2.9]*15, 0.0, "WARN"), ([-4.0, 4.0, 2.0]*12, 0.0, "OK"), ([0.2, -0.3]*20, 0.0, "OK"), ([], 0.0, None)])
def test_the_slate_check(values, centre, verdict):
    "Would catch the night on which nine in ten were UNDER and two points off, and alarms on honest nights."
    got = distribution(margins(values), {"s": centre})
    assert (got["verdict"][0] if got.height else None) == verdict

def test_a_recommendation_against_its_edge_is_refused():
    "Would catch a sign error before it is published."
    assert distribution(margins([2.0]).with_columns(recommendation=pl.lit("UNDER")), {})["verdict"].to_list() == ["REFUSE"]

@given(st.lists(st.fixed_dictionaries(dict(a=st.none() | st.floats(-1e6, 1e6), b=st.none() | st.text(max_size=8), c=st.booleans(), d=st.lists(st.text(max_size=3), max_size=2))), min_size=1, max_size=4))
def test_json_of_a_frame_is_canonical(rows):
    "Would catch two spellings of one row, and so two hashes."
    import json
    frame = pl.DataFrame(rows, schema={"a": pl.Float64, "b": pl.String, "c": pl.Boolean, "d": pl.List(pl.String)})
    assert [json.loads(t) for t in json_rows(frame)] == rows and all(list(json.loads(t)) == ["a", "b", "c", "d"] for t in json_rows(frame))
