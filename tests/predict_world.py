"A small served world for the tests of the predict wing: sixty simulated days, one production model, one shadow."
import shutil
from datetime import date, datetime, timezone
import polars as pl
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.features.feeds import FULL

DAY, LAST = date(2025, 12, 18), date(2025, 12, 19) # two slates of the light league
PRED = "nba_predictions.player_prop_predictions"
utc = lambda y, m, d, h=0, mi=0: datetime(y, m, d, h, mi, tzinfo=timezone.utc)

def tiny_model(wh, store, end: date, minute: int, family: str = "v9_mae", system_id: str | None = None, profile: str = FULL) -> str:
    "Train a few trees on the days until `end`, register and enable them; returns the model id."
    from catboost import CatBoost, Pool
    from nbprops.features.catalogue import contract
    from nbprops.model.families import Family, model_stem
    from nbprops.model.predictor import Transformer, make_bundle, transform
    from nbprops.model.registry import Registry
    rows = wh.sql("""SELECT s.*, p.points FROM nba_predictions.ml_feature_store_v2 AS s JOIN nba_analytics.player_game_summary AS p ON p.game_id = s.game_id AND p.player_lookup = s.player_lookup
        WHERE s.is_training_ready AND NOT p.is_dnp ORDER BY s.game_date, s.player_lookup""")
    f, train, held = Family.parse(family), rows.filter(pl.col("game_date") <= end), rows.filter(pl.col("game_date") > end)
    c = contract(f.feature_set, profile)
    t = Transformer.of(c)
    x = transform(t, train)
    model = CatBoost(dict(loss_function="MAE", iterations=30, thread_count=1, verbose=False, allow_writing_files=False)).fit(Pool(x, train["points"].to_numpy()))
    at, w = utc(2025, 12, 19, 1, minute), dict(start="2025-11-04", end=str(end))
    b = make_bundle(model, c, x, "MAE", model_stem(f, c.count, date(2025, 11, 4), end, at), family, windows=dict(requested=w, effective=w, evaluation=None), seeds=[42], trees={"42": 30}, params={}, options=dict(refit=True, ensemble=False, half_life=None),
        line_as_of="tip", edge_scale="points", quantile_alpha=None, data_snapshot_hash=f"{minute:064d}", params_hash="0"*64, git_commit="0"*40, trained_at=at.isoformat(), training_samples=train.height, evaluation=dict(mae=4.9, hr_3=52.0, n_3=60),
        residuals=sorted((held["points"].to_numpy() - model.predict(transform(t, held))).round(2).tolist()), expected_offset=0.0)
    reg = Registry(wh, store)
    reg.register(b, reg.upload(b))
    reg.enable(b.model_id, reason="test")
    if system_id == "catboost_v9": wh.sql("UPDATE nba_predictions.model_registry SET state = 'production', status = 'production', is_production = TRUE, system_id = 'catboost_v9' WHERE model_id = @m", m=b.model_id)
    elif system_id: wh.sql("UPDATE nba_predictions.model_registry SET system_id = @s WHERE model_id = @m", s=system_id, m=b.model_id)
    return b.model_id

def light_league(path) -> Warehouse:
    "A warehouse with the light league and its features up to the second slate."
    from nbprops.data.league import simulate
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import land
    from nbprops.features.facts import Facts
    from nbprops.features.store import build, write_features
    wh, span = Warehouse(path), (date(2025, 11, 4), LAST)
    wh.migrate(); land(simulate(light=True), wh); build_reference(wh)
    write_features(wh, build(Facts.read(wh, *span), *span))
    return wh

def build_world(home, league: Warehouse | None = None) -> None:
    "The light league (a copy of one that was built already, when given) and two tiny models."
    if league: shutil.copy(league.path, home/"nbprops.duckdb")
    wh, store = Warehouse(home/"nbprops.duckdb") if league else light_league(home/"nbprops.duckdb"), Store(str(home/"models"))
    tiny_model(wh, store, date(2025, 12, 1), 0, system_id="catboost_v9")
    tiny_model(wh, store, date(2025, 12, 8), 1, system_id="catboost_v9_shadow")

def copy_world(source, home):
    "A private copy of the built world: warehouse, store, worker."
    from nbprops.predict.worker import Worker
    shutil.copytree(source, home, dirs_exist_ok=True)
    wh, store = Warehouse(home/"nbprops.duckdb"), Store(str(home/"models"))
    return wh, store, lambda **k: Worker.from_registry(wh, store, quiet=True, **k)

def dump(wh) -> dict[str, list]:
    "Every row of the tables that the wing writes, to compare before and after."
    names = ("player_prop_predictions", "prediction_versions", "slate_publications", "prediction_accuracy", "prediction_worker_runs")
    return {n: wh.sql(f"SELECT * FROM nba_predictions.{n}").sort(pl.first()).rows() for n in names}
