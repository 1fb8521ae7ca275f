"A warehouse that an older build left behind."
from datetime import datetime, timezone
import polars as pl
from nbprops.data.artifacts import Store
from nbprops.data.tables import table
from nbprops.model.registry import HISTORY, REGISTRY, Registry
from nbprops.model.states import derived
from tests.model_toys import bundle

def test_moves_of_an_older_build_come_before_new_ones(wh, tmp_path):
    "Fails when ids of older builds (model id and number) sort after today's: the history would end in a state of the past."
    reg = Registry(wh, Store(str(tmp_path/"store")))
    ids = []
    for k, minute in enumerate((0, 1)):
        b = bundle(minute)
        reg.register(b, reg.upload(b)); ids.append(b.model_id)
        wh.sql(f"DELETE FROM {HISTORY} WHERE model_id = @m", m=b.model_id)
        path = [None, "candidate", "shadow", "production", "retired"]
        moves = [dict(transition_id=f"{b.model_id}.{n:04d}", model_id=b.model_id, from_state=a, to_state=z, reason="older build", actor="someone", sha256=b.sha256, is_override=False,
                      occurred_at=datetime(2026, 2, 10 + 5*(1 - k), 10, n, tzinfo=timezone.utc)) for n, (a, z) in enumerate(zip(path, path[1:]), 1)]
        wh.write(HISTORY, pl.DataFrame(moves, schema={c: t for c, t in table(HISTORY).schema().items() if c in moves[0]}), mode="append")
        wh.write(REGISTRY, pl.DataFrame([dict(reg.get(b.model_id), state="retired", **derived("retired"))], schema={c.name: c.frame for c in table(REGISTRY).columns if c.name in reg.get(b.model_id)}))
    assert reg.previous_production("v9_mae") == ids[0] # production later, although its id sorts first
    reg.rollback("v9_mae", reason="back")
    assert reg.history(ids[0])["to_state"].to_list() == ["candidate", "shadow", "production", "retired", "production"]
    assert reg.validate().height == 0
