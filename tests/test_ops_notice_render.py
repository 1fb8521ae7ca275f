"Rendering: every field that is there is said, none that is missing leaves a hole, and the mail is readable in the dark."
import re
from dataclasses import fields, replace
from datetime import date
from html.parser import HTMLParser
import pytest
from hypothesis import given, strategies as st
from nbprops.ops.notice_content import Colour, Entry, Model, Notice, Offer, Pick, Record, Term
from nbprops.ops.notice_render import INKS, SMS_LENGTH, mail_html, mail_text, render, slack_text, sms_text

DAY = date(2026, 2, 1)
TERMS = tuple(Term(f"feature_{i}", round(1.9 - .3*i, 2), 20.5 + i) for i in range(5))
PICK = Pick(1, "Nikola Jokić", "OVER", 27.4, 22.5, 4.9, "draftkings", -115, "DEN", "GSW", Offer(21.5, -110, "betmgm", .204), .58, .07, -138, .081, TERMS, "m1", "tip_moved")
MODEL = Model("m1", "catboost_v9_20260131.cbm", date(2025, 10, 21), date(2026, 1, 28), 4.71, 56.2, True)
RECORD = Record(date(2026, 1, 9), date(2026, 1, 31), 14, 9, 1, 2)
FULL = Notice("picks", DAY, "NBA picks 2026-02-01: 1 pick", "3", "v9_high_edge_top5", Colour("RED", 6.3, "only 6.3 % OVER"), (PICK,), None, (MODEL,), RECORD)
BARE = Notice("picks", DAY, "NBA picks 2026-02-01: 1 pick", "3", "v9_high_edge_top5", picks=(Pick(1, "Nikola Jokić", "OVER", 27.4, 22.5, 4.9),))
NONE = Notice("picks", DAY, "NBA picks 2026-02-01: no picks", "no_lines", "v9_high_edge_top5", reason="no book has a line yet")
NEWS = Notice("validation", DAY, "Validation 2026-02-01: 2 grave findings", "ab", entries=(Entry("pvl", "CRIT pvl: <2.4> points & more", "nbprops validate daily --date 2026-02-01"), Entry("x", "ERROR x")))
CHANNELS = ("slack", "email", "sms")
EVERYTHING = ["2026-02-01", "v9_high_edge_top5", "version 3", "RED: reduce by half or skip", "6.3 %", "Nikola Jokić", "DEN - GSW", "OVER 22.5", "-115 draftkings", "predicted 27.4", "edge +4.9", "best on offer 21.5", "-110 betmgm", "expected value +0.20", "P(over) 58 %", "P(push) 7 %",
    "fair odds -138", "expected value +0.08", *(f"{t.feature} {t.value:g} ({t.shap:+.2f})" for t in TERMS), "tip moved", "catboost_v9_20260131.cbm (unproven)", "2025-10-21 to 2026-01-28", "MAE 4.71", "hit rate 56.2 %", "14-9-1", "60.9 % [40.8, 77.8] of N = 23", "2 picks name no model"]

class Words(HTMLParser):
    "The text of a page, and its tags."
    def __init__(self, page: str):
        super().__init__(); self.text, self.tags, self.open = [], [], []
        self.feed(page); self.close()
    def handle_starttag(self, tag, attrs): self.tags.append((tag, dict(attrs))); self.open += [tag] if tag not in ("meta", "br") else []
    def handle_endtag(self, tag): assert self.open.pop() == tag, f"</{tag}> closes nothing"
    def handle_data(self, data): self.text += [data] if "style" not in self.open else []

said = lambda n, channel: "\n".join(filter(None, ((m := render(n, channel)).title, m.text, "\n".join(Words(m.html).text) if m.html else "")))
def whole(text: str) -> None:
    "No hole where something is missing."
    for hole in ("None", "nan", "()", "[]", ", ,", ",,", ": ,", "  (", " ,", "( ", " )", "at :", "at ,", "+-", "{", "}"): assert hole not in text, (hole, text)
    assert not re.search(r"[,:;]\s*$", text, re.M), text

@pytest.mark.parametrize("words", EVERYTHING)
def test_everything_is_said(words):
    "Fails when a field of section 5 is left out of Slack, of the mail's text or of its HTML."
    for shown in (slack_text(FULL), mail_text(FULL), "\n".join(Words(mail_html(FULL)).text)): assert words in shown

def test_a_telephone_hears_the_pick_and_its_offer_only():
    "Fails when the SMS says more than pick, best offer and expected value."
    assert sms_text(FULL) == "NBA 02-01\nNikola Jokic O22.5, best 21.5 -110 betmgm EV+0.20"

optional = lambda cls: [f.name for f in fields(cls) if f.default is not f.default_factory]
def lacking() -> list:
    "The full notice with one optional field missing at a time."
    empty = lambda o, name: replace(o, **{name: {f.name: f.default for f in fields(o)}[name]})
    out = {name: replace(FULL, picks=(empty(PICK, name),)) for name in optional(Pick)} | {f"offer.{name}": replace(FULL, picks=(replace(PICK, offer=empty(PICK.offer, name)),)) for name in optional(Offer)}
    out |= {f"model.{name}": replace(FULL, models=(empty(MODEL, name),)) for name in optional(Model)} | {f"notice.{name}": empty(FULL, name) for name in optional(Notice)}
    out |= {"colour.why": replace(FULL, colour=Colour("RED", 6.3)), "record.none": replace(FULL, record=Record(DAY, DAY, 0, 0)), "term.value": replace(FULL, picks=(replace(PICK, terms=(Term("f", -.5),)),)), "record.model": replace(FULL, record=replace(RECORD, no_model=0))}
    return [pytest.param(n, id=k) for k, n in out.items()]

@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("n", [*lacking(), pytest.param(BARE, id="bare"), pytest.param(NONE, id="none"), pytest.param(NEWS, id="news")])
def test_nothing_missing_leaves_a_hole(n, channel):
    "Fails when an absent field is shown as None, as empty brackets or as a stray comma, or takes another field with it."
    text = said(n, channel)
    whole(text)
    if n.picks: assert ("Jokic" if channel == "sms" else "predicted 27.4") in text

maybe = lambda s: st.none() | s
prices, evs, chance = st.integers(-900, -100) | st.integers(100, 900), st.floats(-1, 2), st.floats(0, 1)
offers = st.builds(Offer, st.integers(1, 80).map(lambda x: x/2), maybe(prices), maybe(st.sampled_from(["betmgm", "fanduel"])), maybe(evs))
picks = st.builds(Pick, st.integers(1, 9), st.sampled_from(["Luka Dončić", "Karl-Anthony Towns Jr.", "Šarūnas Żó"]), st.sampled_from(["OVER", "UNDER"]), st.floats(0, 60), st.integers(1, 80).map(lambda x: x/2), st.floats(-9, 9), maybe(st.just("draftkings")), maybe(prices), maybe(st.just("DEN")), maybe(st.just("GSW")), maybe(offers), maybe(chance), maybe(chance), maybe(prices), maybe(evs), st.just(()) | st.just(TERMS), maybe(st.just("m1")), maybe(st.just("late_scratch")))
@given(st.lists(picks, min_size=1, max_size=12), st.sampled_from(CHANNELS))
def test_any_mixture_renders(ps, channel):
    "Fails when some combination of missing fields breaks a channel, or an SMS grows out of two messages or out of ASCII."
    text = said(replace(FULL, picks=tuple(ps)), channel)
    whole(text)
    if channel == "sms": assert text.isascii() and len(text) <= SMS_LENGTH

def test_each_channel_has_its_number_of_picks():
    "Fails when Slack shows other than five, the mail other than ten, a telephone other than three; or hides that there are more."
    many = replace(FULL, picks=tuple(replace(PICK, rank=i, player=f"Player {i:02d}") for i in range(1, 13)))
    shown = lambda text: len(set(re.findall(r"Player \d\d", text)))
    assert [shown(slack_text(many)), shown(mail_text(many)), shown(mail_html(many)), shown(sms_text(many))] == [5, 10, 10, 3]
    assert "and 7 more" in slack_text(many) and "and 2 more" in mail_text(many) and "and 2 more" in mail_html(many)

def test_a_day_without_picks_says_why():
    "Fails when a channel is silent about the reason."
    for c in CHANNELS: assert "no picks because no book has a line yet" in said(NONE, c).replace("No picks", "no picks")

def test_the_mail_fetches_nothing_and_is_well_formed():
    "Fails when the HTML asks the network for anything, or a name could bring in markup of its own."
    evil = replace(FULL, picks=(replace(PICK, player='<img src=x onerror="a">', sportsbook="</p><script>"),), title="<b>t</b>")
    for n in (FULL, BARE, NONE, NEWS, evil):
        page = mail_html(n); w = Words(page)
        assert not w.open and not re.search(r"https?:|//|url\(|@import|javascript:", page.replace("<!DOCTYPE html>", ""))
        assert {t for t, _ in w.tags} <= {"html", "head", "meta", "title", "style", "body", "h1", "p", "div", "code"}
        assert all(set(a) <= {"lang", "charset", "name", "content", "class"} for _, a in w.tags)
    assert "<img" not in mail_html(evil) and "&lt;img" in mail_html(evil)

def contrast(a: str, b: str) -> float:
    "WCAG contrast of two colours."
    def light(c): return sum(k*(x/12.92 if x <= .03928 else ((x + .055)/1.055)**2.4) for k, x in zip((.2126, .7152, .0722), (int(c[i:i + 2], 16)/255 for i in (1, 3, 5))))
    hi, lo = sorted((light(a), light(b)), reverse=True)
    return (hi + .05)/(lo + .05)

def test_the_mail_is_readable_in_dark_and_light():
    "Fails when an accent is too faint on white or on a dark ground, or the page fixes a ground of its own."
    page = mail_html(FULL)
    for name, (day, night) in INKS.items(): assert contrast(day, "#ffffff") >= 4.5 and contrast(night, "#202124") >= 4.5, name
    assert 'name="color-scheme" content="light dark"' in page and "prefers-color-scheme:dark" in page and "background" not in page
    style = re.search(r"<style>(.*)</style>", page)[1]
    body = re.search(r"body\{(.*?)\}", style)[1]
    assert "color" not in body

def test_the_text_part_that_is_made_from_the_html_says_everything():
    "Fails when the sender's conversion of the HTML loses a field or joins two lines."
    convert = pytest.importorskip("apprise.conversion").html_to_text
    text = convert(mail_html(FULL))
    assert [w for w in EVERYTHING if w not in text] == [] and "color" not in text
    assert len(text.strip().splitlines()) >= 9

def test_slack_calls_nobody():
    "Fails when a text can wake a whole channel."
    text = slack_text(replace(NEWS, entries=(Entry("a", "because: <!channel> @here <@U1>"),)))
    assert "!channel" not in text and "@here" not in text and "@U1" not in text
