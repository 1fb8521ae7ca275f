"Words, clock and receipts."
import os
from datetime import date, datetime, timezone
import polars as pl
import pytest
from hypothesis import given, strategies as st
from nbprops import core
from nbprops.settings import Broken, Counts, Refusal, canonical_json, now, one_or_none, parse_instant, today

edges = st.one_of(st.none(), st.floats(-40, 40).map(lambda x: round(x*2)/2), st.floats(-40, 40))

@given(st.lists(edges, min_size=1, max_size=30))
def test_direction_agrees_with_the_sign_of_the_edge(es):
    "Catches a recommendation against its own edge, and a plain function that differs from its column twin."
    picks = pl.DataFrame({"e": es}, schema={"e": pl.Float64}).select(core.recommend_expr(pl.col("e"))).to_series().to_list()
    assert picks == [core.recommend(e) for e in es]
    assert all(e >= 1 if p == "OVER" else e <= -1 if p == "UNDER" else abs(e) < 1 for p, e in zip(picks, es) if e is not None)

@given(st.lists(st.one_of(st.none(), st.floats(0, 40)), min_size=1, max_size=30))
def test_tier_twins(avgs):
    assert pl.DataFrame({"a": avgs}, schema={"a": pl.Float64}).select(core.tier_expr(pl.col("a"))).to_series().to_list() == [core.tier(a) for a in avgs]

prices = st.one_of(st.integers(-2000, -100), st.integers(100, 2000))

@given(prices, prices)
def test_no_vig_is_a_probability_and_symmetric(o, u):
    p = core.no_vig(o, u)
    assert 0 < p < 1 and abs(p + core.no_vig(u, o) - 1) < 1e-12
    row = pl.DataFrame({"o": [o], "u": [u]}).select(core.no_vig_expr(pl.col("o"), pl.col("u"))).item()
    assert abs(row - p) < 1e-12

def test_no_vig_worked_examples():
    "Fails when the vig is not divided out: bettorstack.com/no-vig-calculator (-110 both ways: 52.38 + 52.38 = 104.76, 50 each) and thecalcs.com no-vig calculator (60 and 45: 57.14)."
    assert round(100*core.implied_probability(-110), 2) == 52.38 and core.no_vig(-110, -110) == .5
    under = 100*(1/.45 - 1) # the price that implies 45 %
    assert round(100*core.implied_probability(-150), 6) == 60 and round(100*core.no_vig(-150, under), 2) == 57.14

@given(st.floats(.05, .95))
def test_the_fair_price_has_no_expected_value(p):
    "The fair price is rounded to whole odds, so the value left over is small, not zero."
    assert abs(core.expected_value(p, 0.0, core.fair_american(p))) < .006

def test_a_push_returns_the_stake():
    assert core.expected_value(.5, .1, 100) == pytest.approx(.1)

def test_eastern_date_on_both_sides_of_a_clock_change():
    "A fixed offset of five hours would put the second one on the wrong date."
    ts = [datetime(2026, 3, 8, 4, 30, tzinfo=timezone.utc), datetime(2026, 3, 9, 4, 30, tzinfo=timezone.utc), datetime(2025, 11, 2, 4, 30, tzinfo=timezone.utc), datetime(2025, 11, 3, 4, 30, tzinfo=timezone.utc)]
    want = [date(2026, 3, 7), date(2026, 3, 9), date(2025, 11, 2), date(2025, 11, 2)]
    assert [core.eastern_date(t) for t in ts] == want
    assert pl.DataFrame({"t": ts}).select(core.eastern_date_expr(pl.col("t"))).to_series().to_list() == want

def test_names_lose_accents_and_punctuation():
    names = ["Luka Dončić", "P.J. Washington", "Karl-Anthony Towns", "Dāvis Bertāns", "OG Anunoby"]
    assert pl.DataFrame({"n": names}).select(core.lookup_expr(pl.col("n"))).to_series().to_list() == ["lukadoncic", "pjwashington", "karlanthonytowns", "davisbertans", "oganunoby"]

def test_the_clock_can_be_replaced(monkeypatch):
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-01T03:30:00Z")
    assert now() == datetime(2026, 2, 1, 3, 30, tzinfo=timezone.utc) and today() == date(2026, 1, 31)

def test_a_wrong_clock_is_refused(monkeypatch):
    monkeypatch.setenv("NBPROPS_NOW", "yesterday")
    with pytest.raises(Refusal, match="no ISO time"): now()

@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_a_lost_row_is_noticed(w, q, p, lost):
    assert Counts(w + q + p, w, q, p).check().accounted() == w + q + p
    with pytest.raises(Broken): Counts(w + q + p + lost, w, q, p).check()

def test_canonical_json_refuses_nan():
    with pytest.raises(ValueError): canonical_json({"x": float("nan")})

def test_two_rows_are_not_one():
    with pytest.raises(Refusal, match="2 rows"): one_or_none(pl.DataFrame({"a": [1, 2]}))
