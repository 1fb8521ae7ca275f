"Signals: every rule fires where it must, is silent where it must, and says so where it cannot tell."
import random
from datetime import date
import polars as pl, pytest
from hypothesis import given, strategies as st
from nbprops.settings import Refusal
from nbprops.signals import rules as R
from nbprops.signals.combos import COMBOS, Combo, check_combos, combo_rows, combos_of, match_combos
from nbprops.signals.inputs import INPUTS
from nbprops.signals.rules import SIGNALS, evaluate, missing_inputs, registry_version, strength
from tests.signal_toys import CASES, NEUTRAL, O, SCHEMA, STRENGTHS, U, rows, slow

def test_all_twenty_three_are_declared_and_have_a_case():
    "Fails when a signal is lost, or added without a fixture."
    assert len(SIGNALS) == 23 and set(CASES) == set(SIGNALS)

@pytest.mark.parametrize("tag", CASES)
def test_a_signal_fires_is_silent_and_cannot_tell(tag):
    "Fails when a threshold, a direction or a missing input is read differently from its description."
    side, fires, silent, absent = CASES[tag]
    edge = NEUTRAL["edge"] if side == O else -NEUTRAL["edge"]
    base = dict(recommendation=side, edge=edge)
    assert evaluate(rows([base | fires]))[tag].to_list() == [True]
    if silent is None: return
    assert evaluate(rows([base | silent]))[tag].to_list() == [False]
    found = evaluate(rows([base | fires | {absent: None}]))
    assert found[tag].to_list() == [None] and absent in missing_inputs(found, [tag])[0]

@pytest.mark.parametrize("tag", CASES)
def test_a_signal_never_makes_a_direction(tag):
    "Fails when a rule speaks for the other side, or for a pick without a side."
    side, fires, *_ = CASES[tag]
    other = evaluate(rows([dict(recommendation=s) | fires for s in (O, U, "PASS", "NO_LINE")]))[tag].to_list()
    assert [x for s, x in zip((O, U, "PASS", "NO_LINE"), other) if s not in SIGNALS[tag].directions] == [False]*(4 - len(SIGNALS[tag].directions))

@pytest.mark.parametrize("tag, want", STRENGTHS.items())
def test_confidence_of_a_case(tag, want):
    "Fails when a confidence formula or its clamp is not the one that was written down."
    side, fires, *_ = CASES[tag]
    r = rows([dict(recommendation=side, edge=NEUTRAL["edge"] if side == O else -NEUTRAL["edge"]) | fires, dict(recommendation="PASS") | fires]).select(strength(SIGNALS[tag])).to_series().to_list()
    assert r[0] == pytest.approx(want, abs=1e-9) and r[1] is None

def any_row(rng: random.Random) -> dict:
    "A random pick in which any input may be missing."
    draw = dict(edge=rng.choice([-6.5, -5.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0, 6.5]), v12_edge=rng.choice([-4.0, -3.0, 0.0, 3.0, 4.0]), confidence=rng.choice([.69, .70, .85, .88, .89, .90, .91]), minutes_last_3=rng.choice([29., 33., 38.]), minutes_last_5=rng.choice([30., 33.]), minutes_season=rng.choice([30., 35.]), previous_minutes=rng.choice([24., 29., 30.]),
        points_last_3=rng.choice([18., 20., 23.]), points_last_5=rng.choice([18., 19.]), three_attempts_last_3=rng.choice([3., 5.]), three_attempts_season=rng.choice([3., 4.]), three_pct_last_3=rng.choice([.2, .26, .36]), three_pct_sd=rng.choice([0., .1]), fg_pct_last_3=rng.choice([.30, .39, .47]), fg_pct_sd=rng.choice([0., .08]), days_rest=rng.choice([1., 2., 3.]), opponent_days_rest=rng.choice([1., 2.]), home=rng.choice([True, False]),
        underdog=rng.choice([True, False]), position=rng.choice(["G", "F-C", "C"]), under_streak=rng.choice([0., 3.]), team_pace=rng.choice([99., 100.]), opponent_pace=rng.choice([100., 104.]), correct_streak=rng.choice([0., 2., 3.]), wrong_streak=rng.choice([0., 2.]), last_outcome=rng.choice([O, U]), recommendation=rng.choice([O, U, "PASS"]))
    return {k: None if k != "recommendation" and rng.random() < .12 else v for k, v in (NEUTRAL | draw).items()}

def test_the_set_based_rules_agree_with_rules_row_by_row():
    "Fails when an expression and its description differ on any of 4,000 picks, missing inputs included."
    rng = random.Random(7); cases = [any_row(rng) for _ in range(4000)]
    found = evaluate(pl.DataFrame(cases, schema_overrides=SCHEMA, infer_schema_length=None))
    for tag in SIGNALS: assert found[tag].to_list() == [slow(tag, c) for c in cases], tag
    assert all(found[t].null_count() for t in SIGNALS if t != "model_health") and all(found[t].sum() for t in SIGNALS)

def test_a_rule_cannot_look_at_what_is_known_after_the_game():
    "Fails when a post-game column becomes an input: the record's best signal was made of one."
    after = {"points", "actual_points", "minutes_played", "starter_flag", "result", "win_flag", "over_under_result", "margin", "plus_minus"}
    assert not after & set(INPUTS) and all(set(s.inputs) <= set(INPUTS) for s in SIGNALS.values())
    with pytest.raises(Refusal, match="known only after the game"): R.signal("x", R.OVER, "prototype", pl.col("starter_flag"), .5)

@pytest.mark.parametrize("change, word", [(dict(mode="live"), "mode"), (dict(tag="high_edge"), "twice")])
def test_a_wrong_declaration_is_refused(change, word):
    "Fails when a misspelt mode or a name that is taken goes unnoticed until a slate is due."
    with pytest.raises(Refusal, match=word): R.signal(**(dict(tag="new", directions=R.OVER, mode="prototype", rule=pl.col("edge") > 1, confidence=.5) | change))
    assert "new" not in SIGNALS

def test_a_version_changes_with_every_rule_and_mode():
    "Fails when a changed threshold or mode keeps the digest that tags are stored under."
    from dataclasses import replace
    was, s = registry_version(SIGNALS), SIGNALS["high_edge"]
    changed = [replace(s, rule=pl.col("edge").abs() >= 5.5), replace(s, mode="watch"), replace(s, version=2), replace(s, directions=R.OVER)]
    assert len({was, *(registry_version(SIGNALS | {"high_edge": c}) for c in changed)}) == 5

tags = {t: False for t in SIGNALS}
combo_case = lambda **k: rows([dict(recommendation=k.pop("side", O), home=k.pop("home", False), position=k.pop("position", "G"), days_rest=k.pop("days_rest", 2.))]).with_columns(**{t: pl.lit(v) for t, v in (tags | k).items()})

@pytest.mark.parametrize("case, want", [
    (dict(edge_spread_optimal=True, high_edge=True, minutes_surge=True, side=U), "edge_spread_optimal+high_edge+minutes_surge"), (dict(high_edge=True, minutes_surge=True), "high_edge+minutes_surge"), (dict(high_edge=True, minutes_surge=True, side=U), None),
    (dict(cold_snap=True, home=True), "cold_snap"), (dict(cold_snap=True), None), ({"3pt_bounce": True, "home": True}, "3pt_bounce"), ({"3pt_bounce": True, "home": True, "position": "F"}, None), (dict(blowout_recovery=True), "blowout_recovery"), (dict(blowout_recovery=True, position="C"), None), (dict(blowout_recovery=True, days_rest=1.), None),
    (dict(edge_spread_optimal=True, high_edge=True), "edge_spread_optimal+high_edge"), (dict(high_edge=True), "high_edge"), (dict(high_edge=True, dual_agree=True), None), (dict(high_edge=True, cold_continuation_2=True), "high_edge"), (dict(cold_snap=True, blowout_recovery=True, home=True), "cold_snap"), (dict(cold_snap=True, home=None), None)])
def test_a_combo_matches_by_its_rules(case, want):
    "Fails when direction, condition, exactness, prototypes or the order of entries are taken differently."
    assert match_combos(combo_case(**case), COMBOS, SIGNALS)["matched_combo_id"][0] == want

def test_ties_between_combos_are_decided():
    "Fails when equal entries are picked by the order of the registry."
    same = [Combo(("high_edge", "minutes_surge"), "SYNERGISTIC", "WATCH", "BOTH", 1, 0, 3.0), Combo(("cold_snap", "high_edge"), "ANTI_PATTERN", "BLOCKED", "BOTH", 0, 1, -1.0), Combo(("dual_agree", "high_edge"), "SYNERGISTIC", "WATCH", "BOTH", 1, 0, 3.0)]
    row = combo_case(high_edge=True, minutes_surge=True, cold_snap=True, dual_agree=True)
    for order in (same, same[::-1]):
        assert match_combos(row, order, SIGNALS)["matched_combo_id"][0] == "cold_snap+high_edge"
        assert match_combos(row, [c for c in order if c.classification != "ANTI_PATTERN"], SIGNALS)["matched_combo_id"][0] == "dual_agree+high_edge"

def test_unknown_words_in_a_combo_are_one_sentence():
    "Fails when a combo of a signal that nobody declared is quietly never matched."
    for c, word in ((Combo(("moon",), "SYNERGISTIC", "WATCH", "BOTH", 0, 0, 1.), "moon"), (Combo(("high_edge",), "SYNERGISTIC", "WATCH", "BOTH", 0, 0, 1., (("raining", True),)), "raining"), (Combo(("high_edge",), "SYNERGISTIC", "WATCH", "UP", 0, 0, 1.), "UP")):
        with pytest.raises(Refusal, match=word): check_combos([c], SIGNALS)

def test_the_registry_survives_the_table():
    "Fails when conditions, exactness or counts are lost between code and table; the impossible 88.9 % of 17 is 16-2."
    again = combos_of(combo_rows(COMBOS))
    assert sorted(map(repr, again)) == sorted(map(repr, COMBOS)) and {c.combo_id: c.conditions for c in again} == {c.combo_id: tuple(sorted(c.conditions)) for c in COMBOS} and [c.exact for c in again] == [c.combo_id == "high_edge" for c in again]
    assert next((c.wins, c.losses) for c in again if len(c.signals) == 3) == (16, 2)
