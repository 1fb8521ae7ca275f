"Replaying the policies on the past."
import json
import polars as pl
from nbprops.data.artifacts import Store
from nbprops.model import replay as R
from nbprops.model.gates import run_gates
from nbprops.model.registry import Registry
from tests.model_toys import bundle, case, scored_rows

def entered(wh, tmp_path, n):
    reg = Registry(wh, Store(str(tmp_path/"store")))
    made = [bundle(k) for k in range(n)]
    for b in made: reg.register(b, reg.upload(b))
    return reg, [b.model_id for b in made]

def test_every_policy_gives_its_own_verdict(wh, tmp_path, monkeypatch):
    "Fails when a policy is asked about other rows than the next one, or a model without games is left out silently."
    reg, ids = entered(wh, tmp_path, 3)
    cases = {ids[0]: case(scored_rows(skill=3.0, noise=.5)), ids[1]: case(scored_rows(bias=-2.3, skill=.5, noise=1.5))}
    real = R.case_of
    monkeypatch.setattr(R, "case_of", lambda wh, r, row, a, b: cases[row["model_id"]] if row["model_id"] in cases else real(wh, r, row, a, b))
    found = {r["model_id"]: r for r in R.replay(reg).to_dicts()}
    for m, c in cases.items():
        for p in ("default", "incident-2026-02"): assert found[m][p] == run_gates(c, p).verdict
    assert found[ids[2]]["default"].startswith("no verdict:") and len(found) == 3
    assert {r["policy"]: r["judged"] for r in R.rates(R.replay(reg)).to_dicts()} == {"default": 2, "incident-2026-02": 2}

def test_a_replay_is_kept_and_promotes_nobody(wh, tmp_path):
    "Fails when the rates are lost, or a replay counts as a verdict of a model."
    reg, ids = entered(wh, tmp_path, 1)
    before = reg.newest_verdict(ids[0])
    id_ = R.log_replay(reg, pl.DataFrame(dict(model_id=ids, model_family=["v9_mae"], state=["candidate"], **{"default": ["PROMOTE"], "incident-2026-02": ["REJECT"]})))
    kept = json.loads(wh.sql("SELECT results_json FROM nba_predictions.ml_experiments WHERE experiment_id = @e", e=id_)["results_json"][0])
    assert {r["policy"]: r["PROMOTE"] for r in kept["rates"]} == {"default": 1, "incident-2026-02": 0} and len(kept["policies"]["default"]["points"]) == 64
    assert reg.newest_verdict(ids[0]) == before
