"A short part of the diagnosis benchmark: each fault is named first in a league of its own, and clean leagues are left alone. The whole table is `python -m tests.benchmarks.diagnosis judge`."
from dataclasses import replace
import pytest
from nbprops.model.window import examine
from nbprops.model.window_case import SKETCH
from tests.benchmarks import diagnosis as d

def answer(names: tuple, seed: int):
    "The verdict with fewer seeds and redraws than the benchmark uses."
    return examine(d.study(names, seed, replace(SKETCH, seeds=4, replicates=4)))

@pytest.mark.parametrize("name, seed", [(n, d.BUILDING + 500 + k) for k, n in enumerate(d.FAULTS)])
def test_the_first_named_cause_is_the_planted_one(name, seed, monkeypatch):
    monkeypatch.setattr("nbprops.model.window.explaining", lambda s, fixes=frozenset(): {}) # explaining arms do not name a cause that a guard found
    assert answer((name,), seed).verdict.code in d.FAULTS[name][2]

def test_two_faults_are_both_named(monkeypatch):
    monkeypatch.setattr("nbprops.model.window.explaining", lambda s, fixes=frozenset(): {})
    assert set(answer(("null_lines", "default_fill"), d.BUILDING + 520).verdict.named[:3]) >= {"line_provenance", "default_contamination"}

@pytest.mark.parametrize("seed", range(d.BUILDING + 530, d.BUILDING + 534))
def test_a_clean_league_is_left_alone(seed): assert answer((), seed).verdict.code == "no_real_difference"

def test_the_published_table_is_complete_and_was_not_built_on():
    "Fails when a case of the published table is missing, judged twice, or of a league that the method was built on."
    import json
    results = json.loads((d.HERE/"diagnosis.json").read_text())["results"]
    assert [(tuple(r["faults"]), r["seed"]) for r in results] == d.cases(d.JUDGED)
    assert not {r["seed"] for r in results} & {*range(d.BUILDING, d.BUILDING + 2000), *d.PLANTING}
