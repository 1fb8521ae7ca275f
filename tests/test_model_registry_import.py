"Import: older rows by their status, outside files by proof; nothing twice, nothing made up."
import json, re
from datetime import date
import polars as pl
import pytest
from nbprops.data.warehouse import statements
from nbprops.model import registry as R
from nbprops.model.predictor import LoadError, save_bundle, sidecar_path
from nbprops.model.scratch import toy_bundle
from nbprops.settings import Refusal, canonical_json
from tests.house import ROOT
from tests.model_toys import bundle
from tests.test_model_registry import enter, everything, migrated, reg, same
from tests.test_model_registry_faults import _verdict

V9, V12, FEB, V902 = "catboost_v9_33features_20260201_011018", "catboost_v12_50f_huber_rsm50_20260205", "catboost_v9_feb_02_retrain", "catboost_v9_2026_02"
OLDER = [ # the older registry after its enrichment
    dict(model_id=V9, model_family="v9_mae", feature_set="v9", loss_function="MAE", status="production", enabled=True, is_production=True, training_start_date="2025-11-02", training_end_date="2026-01-08", training_samples=9993, evaluation_mae=4.82, sha256="5b3a187b" + "0"*56),
    dict(model_id=V12, model_family="v12_noveg_mae", feature_set="v12_noveg", loss_function="Huber:delta=5", status="active", enabled=True, is_production=False, training_end_date="2026-01-31"),
    dict(model_id="catboost_v8_33features_20260108_211817", model_family="v8_mae", feature_set="v8", loss_function="MAE", status="active", enabled=False, is_production=False),
    dict(model_id=FEB, model_family="v9_mae", feature_set="v9", loss_function="MAE", status="deprecated", enabled=False, is_production=False, training_start_date="2025-11-02", training_end_date="2026-01-31", notes="live 51.2% at edge 3+"),
    dict(model_id=V902, model_family="v9_mae", feature_set="v9", loss_function="MAE", status="active", enabled=False, is_production=False, training_start_date="2025-11-02", training_end_date="2026-01-24", evaluation_mae=5.08),
    dict(model_id="catboost_v9_33features_20260125_120000", model_family="v9_mae", feature_set="v9", loss_function="MAE", status="deprecated", enabled=False, is_production=False),
    dict(model_id="catboost_v9_q43_20260211_090000", model_family="v9_q43", feature_set="v9", loss_function="Quantile:alpha=0.43", quantile_alpha=.43, status="active", enabled=False, is_production=False)]
STATES = ["production", "shadow", "candidate", "retired", "candidate", "retired", "candidate"]
FRAME = pl.DataFrame(OLDER, infer_schema_length=None)

def test_seven_rows_by_their_status(reg):
    "Fails when an older row comes in under another state, loses a fact, or gains one that nobody wrote down."
    done = reg.import_rows(FRAME)
    assert str(done) == "7 rows read: 7 imported, 0 already there" and done.rows["state"].to_list() == STATES
    row, other = reg.get(V9), reg.get(V12)
    assert (row["system_id"], row["sha256"], row["training_end_date"], row["training_samples"], row["model_version"]) == ("catboost_v9", OLDER[0]["sha256"], date(2026, 1, 8), 9993, "v9_20260201_011018")
    assert (other["sha256"], other["training_start_date"], other["training_samples"], other["model_trained_at"], other["feature_count"]) == ("unknown", None, None, None, 50)
    for r in reg.rows().to_dicts(): assert (r["status"], r["enabled"], r["is_production"]) == R.DERIVED[r["state"]] and r["created_by"] == "import"
    h = reg.history(V12).row(0, named=True)
    assert (h["from_state"], h["to_state"], h["reason"]) == (None, "shadow", "import: status active, enabled") and "Huber" in h["evidence_json"]

def test_the_queries_of_the_owner_show_the_rows(reg):
    "Fails when the registry's own questions (its state, was the enrichment back-filled, what is a shadow) do not find the imported rows."
    reg.import_rows(FRAME)
    ask = {m[1]: s for n, s in statements((ROOT/"tests"/"owner_queries.sql").read_text()) if (m := re.search(r"\b(F[123])\. ", n))}
    f1, f2, f3 = (reg.wh.sql(ask[k]) for k in ("F1", "F2", "F3"))
    assert f1.height == 7 and sorted(f1["status"]) == ["active"]*4 + ["deprecated"]*2 + ["production"] and f1["model_family"].is_sorted()
    assert f2.height == 7 and f2.filter(pl.col("model_id") == V12).select("model_family", "feature_set", "loss_function", "enabled").row(0) == ("v12_noveg_mae", "v12_noveg", "Huber:delta=5", True)
    assert f3["model_id"].to_list() == [V12]

def test_the_huber_model_keeps_its_family_and_its_contradiction(reg):
    "Fails when a contradiction between family, name and loss is corrected in silence, or not reported."
    done = reg.import_rows(FRAME)
    notes = dict(done.rows.select("model_id", "note").rows())
    assert reg.get(V12)["model_family"] == "v12_noveg_mae" and "the file name says huber" in notes[V12] and "the older row says Huber:delta=5" in notes[V12]
    assert [m for m, note in notes.items() if note] == [V12]

@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
def test_every_form_and_twice(reg, tmp_path, suffix):
    "Fails when a file format changes what comes in, or a second import changes anything."
    path = tmp_path/f"older.{suffix}"
    {"json": lambda: path.write_text(json.dumps(OLDER)), "jsonl": lambda: FRAME.write_ndjson(path), "csv": lambda: FRAME.write_csv(path), "parquet": lambda: FRAME.write_parquet(path)}[suffix]()
    assert reg.import_rows(R.read_rows(path)).rows["state"].to_list() == STATES and reg.get(V9)["training_end_date"] == date(2026, 1, 8)
    before = everything(reg)
    assert str(reg.import_rows(R.read_rows(path))) == "7 rows read: 0 imported, 7 already there"
    after = everything(reg)
    assert before[0].equals(after[0]) and before[1].equals(after[1])
    reg.disable(V12, "no file"); assert reg.import_rows(R.read_rows(path)).counts.present == 7 and reg.get(V12)["state"] == "candidate"

def test_what_cannot_come_in_is_refused_by_name(reg):
    "Fails when a row is dropped without a reason, or two production models of a family come in."
    reg.import_rows(FRAME)
    odd = pl.DataFrame([dict(model_id="xgboost_old", status="active"), dict(model_id=None, status="active"), dict(model_id="catboost_v9_20260301_010101", status="production"), dict(model_id=V9, status="production", sha256="1"*64),
                        dict(model_id="catboost_v12_20260301_010101", status="production"), dict(model_id="catboost_v12_20260302_010101", status="production")], infer_schema_length=None)
    before = everything(reg); done = reg.import_rows(odd); after = everything(reg)
    assert done.counts.set_aside == {"its family is unknown": 1, "it names no model": 1, "a family has one production model": 3, "registered with another hash": 1} and done.counts.written == 0
    assert before[0].equals(after[0]) and before[1].equals(after[1])
    many = pl.DataFrame([dict(model_id=f"catboost_v12_noveg_mae_2026030{i}_010101", model_family="v12_noveg_mae", status="active", enabled=True) for i in range(1, 7)])
    assert reg.import_rows(many).counts.set_aside == {"a family has at most 5 shadows": 2}

def test_an_imported_row_without_a_file_is_never_served(reg):
    "Fails when a model without a file or a hash passes validation, or can be given a role."
    reg.import_rows(FRAME)
    faults = reg.validate()
    assert set(faults["subject"]) == {o["model_id"] for o, s in zip(OLDER, STATES) if s != "retired"} and all("no file" in f or "no hash" in f for f in faults["fault"])
    with pytest.raises(Refusal, match="no sha256|no bundle_sha256"): reg.enable(V902)
    reg.retire(V9, "its file is gone"); reg.disable(V12, "its file is gone"); reg.block(V902, "old")
    assert reg.history(V9)["to_state"].to_list() == ["production", "retired"] and len(reg.listing()) == 7 and reg.store_ls().height == 7
    with pytest.raises(Refusal): reg.rollback("v9_mae", reason="back")

def test_a_file_in_the_store_is_read_back(reg):
    "Fails when an older row's family hides what its file was trained with, or its hash is taken on trust."
    b = toy_bundle(4, "v9_huber"); cbm = f"catboost/v9_mae/{FEB}.cbm"
    reg.store.put(cbm, b.cbm)
    rows = FRAME.filter(pl.col("model_id") == FEB).with_columns(status=pl.lit("active"), loss_function=pl.lit(None, pl.String), sha256=pl.lit("2"*64))
    note = reg.import_rows(rows).rows["note"][0]
    assert "the file hashes to" in note and "the file itself says Huber" in note and reg.get(FEB)["loss_function"].startswith("Huber") and reg.get(FEB)["sha256"] == "2"*64
    assert any("no file" in f for f in reg.validate()["fault"])

def test_an_outside_file_becomes_a_candidate_once(reg, tmp_path):
    "Fails when an outside model enters as more than a candidate, with a verdict, twice, or without its proof."
    path = save_bundle(bundle(1), tmp_path)
    done = reg.import_file(path); row = reg.get(path.stem)
    assert (row["state"], row["gate_verdict"], row["created_by"]) == ("candidate", None, "import") and done.counts.written == 1 and reg.validate().height == 0
    before = everything(reg); assert reg.import_file(path).counts.present == 1 and same(before, everything(reg))
    reg.enable(path.stem)
    for k in (dict(), dict(initial=True, reason="x")):
        with pytest.raises(Refusal): reg.promote(path.stem, **k)
    b = bundle(1, seed=8); save_bundle(b, tmp_path/"other")
    with pytest.raises(Refusal, match="another hash"): reg.import_file(tmp_path/"other"/path.name)

@pytest.mark.parametrize("what, why", [("sha256", "sha256"), ("loss", "trained with MAE, the sidecar says Quantile"), ("semantic", "semantic_id"), ("name", "sidecar belongs to"), ("truncated", "sha256"), ("missing", "does not exist"), ("golden", "golden")])
def test_an_outside_file_that_lies_is_refused(reg, tmp_path, what, why):
    "Fails when an outside file passes although its sidecar describes another model."
    path = save_bundle(bundle(2), tmp_path); side = tmp_path/sidecar_path(path.name); spec = json.loads(side.read_text())
    edit = {"sha256": dict(sha256="3"*64), "loss": dict(resolved_loss="Quantile:alpha=0.43"), "semantic": dict(semantic_id="4"*64), "golden": dict(golden={**spec["golden"], "expected": [9.0]*len(spec["golden"]["expected"])})}
    if what in edit: side.write_text(canonical_json(spec | edit[what]))
    elif what == "name": path = path.rename(tmp_path/"catboost_v9_other.cbm")
    elif what == "truncated": path.write_bytes(path.read_bytes()[:-50])
    else: side.unlink()
    before = everything(reg)
    with pytest.raises(Refusal, match=why): reg.import_file(path, side)
    assert same(before, everything(reg))

def test_a_conflict_of_an_outside_file_is_reported(reg, tmp_path):
    "Fails when a model of one loss enters a family of another without a word."
    b = bundle(3); spec = json.loads(b.sidecar()) | dict(model_family="v9_huber")
    path = tmp_path/f"{b.model_id}.cbm"; path.write_bytes(b.cbm); (tmp_path/sidecar_path(path.name)).write_text(canonical_json(spec))
    note = reg.import_file(path).rows["note"][0]
    assert "the family v9_huber means Huber" in note and reg.get(b.model_id)["notes"] == note and reg.get(b.model_id)["model_family"] == "v9_huber"

def test_an_imported_verdict_is_a_note(reg):
    "Fails when what an older row says of its gates counts as a judgement here."
    b = bundle(4); reg.upload(b)
    old = dict(model_id=b.model_id, model_family="v9_mae", status="active", enabled=True, gate_policy="default", gate_verdict="PROMOTE", training_end_date="2026-01-31", git_commit="c"*40, notes="old")
    reg.import_rows(pl.DataFrame([old])); row = reg.get(b.model_id)
    assert (row["gate_policy"], row["gate_verdict"], row["notes"]) == ("import", None, "old; judged elsewhere: PROMOTE under default")
    assert reg.newest_verdict(b.model_id)["gate_verdict"] is None and reg.standing(b.model_id) == "unproven"
    with pytest.raises(Refusal, match="newest verdict is none"): reg.promote(b.model_id)

@pytest.mark.parametrize("where", ["sidecar", "experiment", "registry"])
def test_a_rejected_file_enters_rejected(reg, tmp_path, where):
    "Fails when importing a file is a way around the gates that rejected it."
    b = bundle(5, **(dict(gates=dict(policy="default", verdict="REJECT")) if where == "sidecar" else {}))
    if where == "experiment": _verdict(reg, b.model_id, "REJECT")
    if where == "registry":
        other = b.with_spec(model_id=b.model_id + "_b"); reg.register(other, reg.upload(other), "rejected", gate_policy="default", gate_verdict="REJECT")
    assert reg.import_file(save_bundle(b, tmp_path)).rows["state"].to_list() == ["rejected"]
    with pytest.raises(Refusal, match="cannot move a rejected"): reg.enable(b.model_id)
    assert reg.validate().filter(pl.col("subject") == b.model_id).height == 0

def test_a_sidecar_that_is_none_is_refused_in_a_sentence(reg, tmp_path):
    "Fails when a sidecar without an object, or without a part that is needed, ends in a crash."
    b = bundle(6); path = save_bundle(b, tmp_path); side = tmp_path/sidecar_path(path.name); spec = json.loads(side.read_text()); before = everything(reg)
    lacking = [canonical_json({k: v for k, v in spec.items() if k != gone}).encode() for gone in spec if gone not in ("schema_version", "training_quantiles", "expected_offset", "residuals", "line_as_of")]
    lacking = [x for x in lacking if b'"model_id"' in x] + [canonical_json(spec | {k: v}).encode() for k, v in (("contract", []), ("golden", {}), ("golden", 3), ("windows", {}), ("windows", None), ("library_versions", {}), ("sha256", 5), ("transformer", {}))]
    for text in [b"null", b"[1, 2]", b"7", b"\xff\xfe", b'{"sha256": "x"}', *lacking]:
        side.write_bytes(text)
        with pytest.raises(LoadError) as e: reg.import_file(path)
        assert e.value.exit_code == 2 and "\n" not in e.value.what, text[:60]
    assert same(before, everything(reg))
