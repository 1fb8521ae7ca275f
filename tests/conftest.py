"Shared fixtures: a fresh home, a fresh warehouse, real feeds when there are any."
import os, tempfile
from pathlib import Path
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.load_profile("house")

def pytest_addoption(parser):
    parser.addoption("--backend", default="duckdb", choices=["duckdb", "bigquery"], help="where the warehouses of the tests lie; bigquery is the emulator on loopback")

def pytest_configure(config):
    config.addinivalue_line("markers", "bigquery: runs on the BigQuery emulator")
    config.addinivalue_line("markers", "embedded: is about the embedded warehouse as a file, and has no meaning elsewhere")
    if not os.environ.get("NBPROPS_TRANSLATIONS"): # one memory for the hundreds of homes of a run; processes of the run inherit it
        config.translations = tempfile.TemporaryDirectory()
        os.environ["NBPROPS_TRANSLATIONS"] = f"{config.translations.name}/run.translations"
    config.addinivalue_line("markers", "full: long checks that `make test-full` runs")
    config.addinivalue_line("markers", "real: needs the folder of real feeds named by NBPROPS_DATA")

def pytest_unconfigure(config):
    if hasattr(config, "translations"): os.environ.pop("NBPROPS_TRANSLATIONS"); config.translations.cleanup()

def pytest_collection_modifyitems(items):
    items.sort(key=lambda i: ("played" not in getattr(i, "fixturenames", ()), i.path.stem != "test_notebooks")) # the longest first
    if items and items[0].config.getoption("--backend") == "bigquery":
        for item in items:
            if "embedded" in item.keywords: item.add_marker(pytest.mark.skip(reason="about the embedded warehouse"))
    data = os.environ.get("NBPROPS_DATA", "")
    if data and Path(data).is_dir(): return
    for item in items:
        if "real" in item.keywords: item.add_marker(pytest.mark.skip(reason="set NBPROPS_DATA to the folder of real feeds"))

@pytest.fixture(scope="session")
def bigquery(tmp_path_factory):
    "A running emulator of BigQuery; every project that is named begins as an empty, migrated one."
    from tests.emulators import bigquery as B
    if why := B.install(): pytest.skip(why)
    with B.running(tmp_path_factory.mktemp("bigquery")/"data") as e: yield e

@pytest.fixture(scope="session", autouse=True)
def everything_in_bigquery(request):
    "With --backend bigquery, a warehouse at a path is a project of the emulator."
    if request.config.getoption("--backend") == "duckdb": yield; return
    from tests.emulators.bigquery import instead_of_files
    with instead_of_files(request.getfixturevalue("bigquery")): yield

@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    "Every test has a home of its own and no inherited clock."
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home"))
    for name in ("NBPROPS_NOW", "NBPROPS_DB", "MODEL_STORE_URI", "NBPROPS_REPORTS", "STORAGE_EMULATOR_HOST", "CATBOOST_V9_MODEL_PATH", "BUILD_COMMIT_SHA", "NBPROPS_SLACK_URL", "NBPROPS_EMAIL_URL", "NBPROPS_SMS_URL"): monkeypatch.delenv(name, raising=False)

@pytest.fixture
def say(capsys):
    "The command line in this process: a line -> exit code, output, errors."
    import shlex
    from nbprops.cli import main
    def run(line: str) -> tuple[int, str, str]:
        code = 0
        try: main(shlex.split(line)[1:])
        except SystemExit as e: code = e.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err
    return run

@pytest.fixture
def wh(tmp_path):
    "A migrated, empty warehouse."
    from nbprops.data.warehouse import Warehouse
    w = Warehouse(tmp_path/"home"/"nbprops.duckdb")
    w.migrate()
    return w

@pytest.fixture(scope="session")
def league(tmp_path_factory):
    "The light league with its features, to be copied by whoever writes."
    from tests.predict_world import light_league
    return light_league(tmp_path_factory.mktemp("league")/"league.duckdb")

@pytest.fixture(scope="session")
def light_home(tmp_path_factory, league):
    "A home with the light league, one production model and one shadow; built once a process, to be copied by whoever writes."
    from tests.predict_world import build_world
    home = tmp_path_factory.mktemp("light")/"home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as mp:
        mp.setenv("NBPROPS_HOME", str(home))
        build_world(home, league)
    return home

@pytest.fixture(scope="session")
def played(tmp_path_factory, worker_id):
    "One played demo on the simulated league, shared by all tests: home folder, summary. Processes share one play, and each has a copy."
    import json, shutil
    from filelock import FileLock
    from tests.player import run_installed
    base = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    first, said = base/"played"/"home", base/"played"/"said.json"
    with FileLock(base/"played.lock"):
        if not said.exists():
            out = run_installed(first, "demo", "--json")
            assert out.returncode == 0, out.stderr[-3000:]
            said.write_text(out.stdout)
    home = tmp_path_factory.mktemp("demo")/"home"
    shutil.copytree(first, home)
    return home, json.loads(said.read_text())
