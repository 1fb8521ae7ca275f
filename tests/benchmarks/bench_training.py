"What a default training costs beside the same CatBoost fits done bare, on the same rows, in one run."
import os, time
import polars as pl
from nbprops.features.catalogue import contract
from nbprops.model.families import Family, catboost_params, resolve_params
from nbprops.model.training import seed_list, train, validation_start
from tests.model_toys import feature_rows

def bare(rows: pl.DataFrame, names: list[str], family: Family, params: dict) -> None:
    "Early stopping and refit for each seed, one after the other, all cores each."
    from catboost import CatBoost, Pool
    y, early = rows["actual"].cast(pl.Float64).to_numpy(), (rows["game_date"] < validation_start(rows["game_date"])).to_numpy()
    x = rows.select(names)
    for s in seed_list():
        p = {**catboost_params(family, params, s), "thread_count": os.cpu_count()}
        m = CatBoost({**p, "early_stopping_rounds": params["early_stopping_rounds"]}).fit(Pool(x.filter(early), y[early]), eval_set=Pool(x.filter(~early), y[~early]))
        CatBoost({**p, "iterations": m.get_best_iteration() + 1}).fit(Pool(x, y))

def seconds(f, *a) -> float:
    t = time.perf_counter(); f(*a); return time.perf_counter() - t

def main(rounds: int = 3) -> float:
    "Print and return the ratio; each round runs both, so that the machine's mood hits both."
    rows, c, family, params = feature_rows(10_000, 90), contract("v9"), Family.parse("v9_mae"), resolve_params()
    pairs = [(seconds(train, rows, c, family, params), seconds(bare, rows, c.names, family, params)) for _ in range(rounds)]
    house, plain = (min(p[k] for p in pairs) for k in (0, 1))
    print(f"training, 5 seeds, early stopping and refit, 10,000 rows: {house:.2f} s, bare fits {plain:.2f} s, ratio {house/plain:.2f} (limit 1.3)")
    return house/plain

if __name__ == "__main__": main()
