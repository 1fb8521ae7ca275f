"Small models, rows and leagues for the tests of the model wing."
from datetime import date, datetime, timedelta, timezone
import numpy as np
import polars as pl
from nbprops.features.catalogue import FEATURES, contract
from nbprops.model.families import Family, model_stem
from nbprops.model.gates import Case
from nbprops.model.predictor import Transformer, make_bundle, transform

def feature_rows(n=1200, days=40, seed=0) -> pl.DataFrame:
    "Made-up training rows: values inside each feature's range, points that follow the season average."
    rng = np.random.default_rng(seed)
    x = {f.name: np.round(f.low + (f.high - f.low)*rng.beta(2, 3, n), 3) for f in FEATURES}
    avg = 4 + 24*rng.beta(2, 3, n)
    line = np.floor(avg + rng.normal(0, 1, n)) + .5
    x |= {"points_avg_season": avg, "vegas_points_line": line, "pct_three": np.where(rng.random(n) < .1, np.nan, x["pct_three"])}
    keys = dict(game_date=[date(2025, 11, 4) + timedelta(int(d)) for d in np.sort(rng.integers(0, days, n))], game_id=[f"g{i//20:04d}" for i in range(n)], player_lookup=[f"p{i:05d}" for i in range(n)])
    return pl.DataFrame({**keys, **x, "line": line, "actual": np.clip(np.round(avg + rng.normal(0, 6, n)), 0, None), "season_avg": avg})

def scored_rows(n=1400, days=28, skill=1.0, noise=2.6, seed=0, bias=0.0, seeds=3, rival=3.2, price=-110) -> pl.DataFrame:
    "Made-up scored rows with a known truth: the line is off by a gap of which the model knows the share `skill`."
    rng = np.random.default_rng(seed)
    avg, gap, d = 3 + 25*rng.beta(2, 3, n), rng.normal(0, 1.5, n), np.sort(np.arange(n) % days)
    line, shared = np.floor(avg) + .5, rng.normal(0, noise, n)
    predict = lambda own: np.clip(line + bias + skill*gap + shared + own, 0, 60)
    cols = dict(game_date=[date(2026, 2, 1) + timedelta(int(i)) for i in d], game_id=[f"g{i:03d}" for i in d], player_lookup=[f"p{i:05d}" for i in range(n)], season_avg=avg, line=line,
                over_price_american=price, under_price_american=price, actual=np.clip(np.round(line + gap + rng.normal(0, 6, n)), 0, None), predicted=predict(0))
    cols |= {f"seed_{42 + k}": predict(0 if k == 0 else rng.normal(0, .1, n)) for k in range(seeds)}
    return pl.DataFrame(cols | {"incumbent": line + rng.normal(0, rival, n)}, schema_overrides={"over_price_american": pl.Int64, "under_price_american": pl.Int64})

COVER = pl.DataFrame(dict(feature=["a", "b"], required=[True, False], train=[1.0, .3], evaluation=[1.0, .3], constant=[False, False]))

def case(rows: pl.DataFrame | None = None, **facts) -> Case:
    "A case whose facts are all in order."
    return Case(scored_rows() if rows is None else rows, **dict(dict(family="v9_mae", train_start=date(2025, 11, 2), train_end=date(2026, 1, 31), coverage=COVER, incumbent="catboost_v9_old"), **facts))

WINDOW = dict(start="2025-11-02", end="2026-01-31")

def bundle(minute=0, family="v9_mae", seed=0, **facts):
    "A complete bundle around a model of five trees."
    from catboost import CatBoost, Pool
    f, rng = Family.parse(family), np.random.default_rng(seed)
    c = contract(f.feature_set)
    x = transform(Transformer.of(c), pl.DataFrame({g.name: g.low + (g.high - g.low)*rng.random(150) for g in c.features}))
    model = CatBoost(dict(loss_function="MAE", iterations=5, depth=3, thread_count=1, verbose=False, allow_writing_files=False, random_seed=seed)).fit(Pool(x, x["points_avg_season"].to_numpy()/2))
    at = datetime(2026, 2, 16, 14, minute, tzinfo=timezone.utc)
    spec = dict(windows=dict(requested=WINDOW, effective=WINDOW, evaluation=dict(start="2026-02-01", end="2026-02-28")), seeds=[42], trees={"42": 5}, params={}, options=dict(refit=True, ensemble=False, half_life=None),
                line_as_of="tip", edge_scale="points", quantile_alpha=None, data_snapshot_hash=f"{minute:064d}", params_hash="0"*64, git_commit="0"*40, trained_at=at.isoformat(), training_samples=150,
                expected_offset=0.0, evaluation=dict(mae=4.9, hr_1=52.0, hr_3=55.0, hr_5=None, n_3=60), residuals=[-1.0, 0.0, 1.0])
    return make_bundle(model, c, x, "MAE", model_stem(f, c.count, date(2025, 11, 2), date(2026, 1, 31), at), family, **{**spec, **facts})
