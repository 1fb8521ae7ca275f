"A remembered translation never changes what SQL is run."
import os, subprocess, sys
import pytest
from hypothesis import given, settings, strategies as st
from nbprops.data import dialect
from nbprops.data.dialect import MOST, keep, key_of, line_of, recall, to_duckdb, translate
from nbprops.settings import Refusal

ASKED = ["SELECT COUNTIF(x > 1) AS n FROM t", "SELECT SAFE_DIVIDE(a, b) AS q FROM t", "SELECT DATE_DIFF(a, b, DAY) AS d, '\"é\\n' AS s FROM t"]

@pytest.fixture(autouse=True)
def alone(monkeypatch):
    "The memory that the test run shares is not looked at."
    monkeypatch.delenv("NBPROPS_TRANSLATIONS", raising=False)

@pytest.fixture
def memory(wh):
    "An empty memory beside a warehouse, in a process that remembers nothing."
    _forget()
    wh.path.with_suffix(".translations").unlink(missing_ok=True)
    yield wh.path.with_suffix(".translations")
    _forget()

def _forget():
    "What a fresh process knows."
    to_duckdb.cache_clear(); dialect._lines.cache_clear()

def _asked_again() -> list[str]:
    _forget()
    return [to_duckdb(s) for s in ASKED]

def test_a_second_process_loads_no_translator(memory):
    "Would catch a memory that is written and never found, and a translation that differs after the way through the file."
    fresh = [to_duckdb(s) for s in ASKED]
    code = f"import sys\nfrom nbprops.data.dialect import to_duckdb\nprint([to_duckdb(s) for s in {ASKED!r}] == {fresh!r}, 'sqlglot' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["True", "False"] and fresh == [translate(s) for s in ASKED]

@settings(max_examples=150)
@given(data=st.data())
def test_no_damage_changes_what_runs(tmp_path_factory, data):
    "Would catch a half line, a flipped byte or two lines grown together that is taken for a translation."
    path = tmp_path_factory.mktemp("m")/"m.translations"
    text = bytearray(b"".join(line_of(key_of(s), translate(s)) for s in ASKED))
    for _ in range(data.draw(st.integers(1, 4))):
        at, n = data.draw(st.integers(0, len(text) - 1)), data.draw(st.integers(0, 40))
        text[at:at + n] = data.draw(st.binary(max_size=40))
    path.write_bytes(bytes(text)); dialect._lines.cache_clear()
    assert all(recall(path, key_of(s)) in (None, translate(s)) for s in ASKED)

def test_a_translation_under_another_key_is_not_taken(memory):
    "Would catch a seal that proves the translation and not which statement it belongs to."
    line = line_of(key_of(ASKED[0]), translate(ASKED[0]))
    memory.write_bytes(line.replace(key_of(ASKED[0]).encode(), key_of(ASKED[1]).encode()))
    assert _asked_again() == [translate(s) for s in ASKED]

def test_another_version_of_the_translator_begins_anew(memory, monkeypatch):
    "Would catch a translation of an older sqlglot that is run after an upgrade."
    old = key_of(ASKED[0])
    monkeypatch.setattr(dialect, "translator", lambda: "another")
    assert key_of(ASKED[0]) != old
    monkeypatch.setattr(dialect, "translator", lambda: None)
    _asked_again()
    assert not memory.exists() # a version that cannot be read is never remembered

@pytest.mark.parametrize("spoil", [lambda p: p.mkdir(), lambda p: p.write_bytes(b"\0\xff"*5000), lambda p: (p.write_bytes(b""), p.chmod(0)), lambda p: p.symlink_to(p.parent/"no"/"where")], ids=["folder", "noise", "unreadable", "dangling"])
def test_a_memory_that_cannot_be_used_is_done_without(memory, spoil):
    "Would catch a query that fails because its translation could not be kept."
    spoil(memory)
    assert _asked_again() == [translate(s) for s in ASKED]

def test_a_full_disk_costs_nothing(memory):
    "Would catch a file that may not grow taking the query with it."
    code = f"import resource\nfrom nbprops.data.dialect import to_duckdb\nresource.setrlimit(resource.RLIMIT_FSIZE, (90, 90))\nprint(len([to_duckdb(s) for s in {ASKED!r}]))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["3"]
    assert memory.stat().st_size <= 90 and _asked_again() == [translate(s) for s in ASKED]

def test_processes_that_write_at_once_lose_nothing(memory):
    "Would catch lines of two writers mixed into each other, and a lock that one of them waits for."
    code = "import sys\nfrom nbprops.data.dialect import to_duckdb\nfor i in range(40): to_duckdb(f'SELECT {i} AS c{sys.argv[1]}, COUNTIF(TRUE) AS n')"
    running = [subprocess.Popen([sys.executable, "-c", code, str(k)]) for k in range(3)]
    assert [p.wait() for p in running] == [0, 0, 0]
    dialect._lines.cache_clear()
    found = [recall(memory, key_of(f"SELECT {i} AS c{k}, COUNTIF(TRUE) AS n")) for k in range(3) for i in range(40)]
    assert None not in found and len(set(found)) == 120

def test_a_memory_stays_small(memory):
    "Would catch a file that grows for as long as analysts ask new questions."
    for i in range(12): keep(memory, key_of(str(i)), "x"*(MOST//5))
    assert memory.stat().st_size <= MOST + MOST//5 + 200
    assert recall(memory, key_of("11")) is not None

def test_nothing_is_made_where_there_is_no_warehouse(tmp_path):
    "Would catch a question that leaves a folder or a file behind, so that a restore finds its place taken."
    _forget()
    to_duckdb("SELECT 'nowhere' AS x")
    assert not os.path.exists(os.environ["NBPROPS_HOME"])

def test_homes_may_share_a_memory(tmp_path, monkeypatch):
    "Would catch a setting that is not listened to, and one that makes a home where there is none."
    monkeypatch.setenv("NBPROPS_TRANSLATIONS", str(tmp_path/"shared"))
    assert _asked_again() == [translate(s) for s in ASKED] and (tmp_path/"shared").stat().st_size > 200
    monkeypatch.setattr(dialect, "translate", lambda sql: 1/0)
    assert len(_asked_again()) == 3 and not os.path.exists(os.environ["NBPROPS_HOME"])
    _forget()

def test_a_refusal_is_not_remembered(memory):
    "Would catch SQL that cannot be read becoming a line."
    for _ in range(2):
        with pytest.raises(Refusal, match="cannot be read"): to_duckdb("SELECT FROM WHERE")
    assert not memory.exists()
