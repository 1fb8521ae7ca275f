"BigQuery on loopback: an environment for the emulator, a template of a migrated project, a server for a module."
import os, shutil, subprocess, sys, time, urllib.request
from contextlib import contextmanager
from pathlib import Path
from filelock import FileLock
from tests import house
from tests.post_office import free_port

HERE = Path(__file__).parent
ENV = house.ROOT/".venv-emulator"

def python313() -> str | None:
    "A Python 3.13, which the emulator asks for."
    if sys.version_info[:2] == (3, 13): return sys.executable
    return shutil.which("python3.13")

def install() -> str | None: # why not; None when it is there
    "Make the emulator's environment, once."
    if not (base := python313()): return "the BigQuery emulator needs Python 3.13, and none was found"
    with FileLock(f"{ENV}.lock"):
        wanted = (HERE/"bigquery-requirements.txt").read_text()
        if (ENV/"made").exists() and (ENV/"made").read_text() == wanted: return None
        shutil.rmtree(ENV, ignore_errors=True)
        python = ENV/"bin"/"python"
        uv = Path(sys.executable).with_name("uv")
        pip = [str(uv), "pip", "install", "--quiet", "--python", str(python)] if uv.exists() else [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        mine = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} # pip keeps its own settings under the user's HOME
        for cmd, env in (([base, "-m", "venv", str(ENV)], mine), ([*pip, "-r", str(HERE/"bigquery-requirements.txt")], mine), ([str(python), str(HERE/"bigquery_server.py"), "extensions"], None)):
            done = subprocess.run(cmd, env=env or _env(), capture_output=True, text=True)
            if done.returncode: return f"the BigQuery emulator could not be installed: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}"
        (ENV/"made").write_text(wanted)

def _env() -> dict[str, str]:
    "The emulator looks for its extensions under HOME."
    (ENV/"home").mkdir(parents=True, exist_ok=True)
    return {**{k: v for k, v in os.environ.items() if not k.startswith(("NBPROPS", "PYTHON", "BIGQUERY"))}, "HOME": str(ENV/"home")}

class Emulator:
    "A running emulator."
    def __init__(self, folder: Path, project: str = "nbtest"):
        self.folder, self.project, self.port, self.grpc = folder, project, free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.start()
    def start(self) -> None:
        args = ["--port", str(self.port), "--grpc-port", str(self.grpc), "--project", self.project, "--data-dir", str(self.folder)]
        self.log = open(self.folder.with_suffix(".log"), "ab")
        self.process = subprocess.Popen([str(ENV/"bin"/"python"), str(HERE/"bigquery_server.py"), *args], env=_env(), stdout=self.log, stderr=self.log)
        for _ in range(600):
            if self.process.poll() is not None: raise RuntimeError(f"the emulator ended: {self.folder.with_suffix('.log').read_text()[-500:]}")
            try: urllib.request.urlopen(f"http://127.0.0.1:{self.port}/bigquery/v2/projects", timeout=5).close(); return
            except OSError: time.sleep(.05)
        raise RuntimeError("the emulator did not begin to answer")
    def kill(self) -> None: self.process.kill(); self.process.wait(); self.log.close()
    def settings(self, project: str | None = None) -> dict[str, str]:
        "What a command must be told."
        return {"NBPROPS_BACKEND": "bigquery", "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{self.port}", "NBPROPS_BQ_STORAGE_HOST": f"127.0.0.1:{self.grpc}", "NBPROPS_BQ_PROJECT": project or self.project, "NBPROPS_BQ_PATIENCE": "3"}

def template() -> Path: # folder with one migrated project of that name
    "Migrate a project once per shape of the tables."
    import pytest
    from nbprops.data.bigquery import BigQueryWarehouse, shape
    folder = ENV/f"template-{shape()}"
    with FileLock(f"{ENV}.lock"):
        if (folder/"template.lake").exists(): return folder
        for old in ENV.glob("template-*"): shutil.rmtree(old, ignore_errors=True)
        part = ENV/"making"
        shutil.rmtree(part, ignore_errors=True)
        e = Emulator(part, "template")
        try:
            with pytest.MonkeyPatch.context() as mp:
                for k, v in e.settings().items(): mp.setenv(k, v)
                BigQueryWarehouse().migrate()
        finally: e.process.terminate(); e.process.wait(); e.kill()
        subprocess.run([str(ENV/"bin"/"python"), "-c", "import duckdb, sys\nfor p in sys.argv[1:]: duckdb.connect(p).execute('CHECKPOINT')", str(part/"template.ducklake"), str(part/"emulator.duckdb")], env=_env(), check=True)
        os.rename(part/"template.ducklake", part/"template.lake"); os.rename(part, folder)
    return folder

@contextmanager
def running(folder: Path):
    "An emulator in which every new project is migrated already."
    shutil.copytree(template(), folder)
    e = Emulator(folder)
    try: yield e
    finally: e.kill()

def project_of(path: Path) -> str:
    "The project that stands for a warehouse file."
    from nbprops.settings import sha256_of
    return f"p{sha256_of(str(Path(path).resolve()))[:16]}"

@contextmanager
def instead_of_files(e: Emulator):
    "Let every warehouse at a path be a project of the emulator, in this process."
    import pytest
    from dataclasses import replace
    from nbprops.data import bigquery as bq, warehouse
    from nbprops.settings import db_path
    class InProject(bq.BigQueryWarehouse):
        "A project in the place of a file."
        def __init__(self, path):
            self.at = Path(path)
            super().__init__(where=replace(bq.place(), project=project_of(self.at)))
        @property
        def path(self): return self.at
        def migrate(self, dry_run=False): return [] if bq._label(self.jobs) == bq.shape() else super().migrate(dry_run)
    with pytest.MonkeyPatch.context() as mp:
        for k, v in e.settings().items(): mp.setenv(k, v)
        mp.setattr(warehouse.Warehouse, "__new__", lambda cls, path=None: InProject(path or db_path()))
        yield
