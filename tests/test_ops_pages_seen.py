"Every report is opened in a browser: at desktop and phone width, by day and by night."
import re
import pytest
from nbprops.ops.reports import available
from tests.browser import CHROMIUM, seen
from tests.player import run

pytestmark = [pytest.mark.full, pytest.mark.skipif(CHROMIUM is None, reason="install Debian's chromium to look at the pages")]
MADE = {"daily_validation": "report daily-validation --date 2026-02-10", "handoff": "handoff --date 2026-02-11", "daily_signal": "report daily-signal --date 2026-02-10", "weekly_performance": "report weekly --date 2026-02-10",
        "window_investigation": "investigate window --base 2025-11-02:2026-01-08 --wide 2025-11-02:2026-01-31 --budget 60s --light"}

@pytest.fixture(scope="module")
def shelf(played, tmp_path_factory):
    "Reports of every kind: name -> page."
    from nbprops.data.warehouse import Warehouse
    from nbprops.signals.practice import outcomes, practice, stored
    home, said = played
    for words in MADE.values():
        out = run(home, *words.split())
        assert out.returncode in (0, 1) and "Traceback" not in out.stderr, out.stderr[-2000:]
    other = tmp_path_factory.mktemp("practice")/"home"; other.mkdir()
    w, league = Warehouse(other/"nbprops.duckdb"), practice(seed=1); w.migrate(); stored(w, league, outcomes(league.predictions, 5))
    out = run(other, "signals", "backtest", "--start", "2025-11-08", "--end", "2025-12-19"); assert out.returncode == 0, out.stderr[-2000:]
    found = {n: sorted(f.rglob(f"{n}*.html")) for n in available() for f in (home/"reports", other/"reports") if list(f.rglob(f"{n}*.html"))}
    return {n: p[-1] for n, p in found.items()} | {"index": home/"reports"/"index.html"}

@pytest.mark.parametrize("width", [1100, 400])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", [*available(), "index"])
def test_a_page_can_be_read(shelf, name, dark, width):
    "Fails when a page scrolls sideways, cuts text, shows an empty or nameless picture, is unreadable at night, asks the network, or writes an error to the console."
    p = seen(shelf[name], width, dark)
    assert p["console"] == [] and p["scroll"] <= p["client"] and p["cut"] == [] and p["empty"] == 0 and p["unnamed"] == 0, p
    light = lambda c: (.2126*c[0] + .7152*c[1] + .0722*c[2])/255
    assert (light(p["paper"]) < .2 < .7 < light(p["ink"])) if dark else (light(p["ink"]) < .3 < .8 < light(p["paper"])), p
    assert not re.search(r'(src|href)="https?://|<script', shelf[name].read_text())

def test_pictures_are_there(shelf):
    "Fails when a report that lives by its pictures has none."
    for name in ("daily_validation", "gate_card", "window_investigation", "signal_backtest", "daily_signal"): assert seen(shelf[name], 1100, False)["pictures"] >= 1, name
