"A second, slow implementation of many features in plain Python, compared on random rows of the simulated and the real league."
import random
import statistics
from datetime import date, timedelta
import polars as pl
import pytest
from nbprops.features.context import CONTEXT
from nbprops.features.facts import Facts
from nbprops.features.store import STORE, build
from tests.features_toys import light, real_facts

def minutes(text):
    if text is None: return 0.
    if ":" in text: m, s = text.split(":"); return int((int(m)*60 + int(s))/6 + .5)/10
    return int(float(text)*10 + .5 + 1e-9)/10

class Slow:
    "Plain loops over box rows; nothing shared with the builder."
    def __init__(self, f: Facts):
        self.games = {g["game_id"]: g for g in f.schedule.iter_rows(named=True) if g["game_status"] == 3}
        self.by_player, self.by_team = {}, {}
        for r in f.box.iter_rows(named=True):
            g = self.games.get(r["game_id"])
            if g is None: continue
            m, away = minutes(r["minutes"]), r["team_abbr"] == g["away_team_tricode"]
            opp = g["home_team_tricode"] if away else g["away_team_tricode"]
            self.by_player.setdefault(r["player_lookup"], []).append(r | {"m": m, "opp": opp, "season": g["season"], "played": r["player_status"] == "active" and m > 0 and r["points"] is not None})
        for rows in self.by_player.values(): rows.sort(key=lambda r: (r["game_date"], r["game_id"]))
        for g in self.games.values():
            for t in (g["home_team_tricode"], g["away_team_tricode"]): self.by_team.setdefault((t, g["season"]), []).append(g)

    def features(self, who, team, opp, day, season):
        rows = [r for r in self.by_player.get(who, []) if r["game_date"] < day]
        games = [r for r in rows if r["played"] and r["season"] == season]
        pts, mins = [r["points"] for r in games], [r["m"] for r in games]
        ago = lambda n: [r for r in games if r["game_date"] >= day - timedelta(days=n)]
        mean = lambda x, least: statistics.fmean(x) if len(x) >= least else None
        out = {"points_avg_last_3": mean(pts[-3:], 3), "points_avg_last_5": mean(pts[-5:], 3), "points_avg_last_10": mean(pts[-10:], 5), "points_avg_season": mean(pts, 3),
               "points_std_last_10": statistics.stdev(pts[-10:]) if len(pts) >= 5 else None, "minutes_avg_last_10": mean(mins[-10:], 5),
               "ppm_avg_last_10": sum(pts[-10:])/sum(mins[-10:]) if len(pts) >= 5 else None, "games_in_last_7_days": len(ago(7)), "minutes_load_last_7d": sum(r["m"] for r in ago(7)),
               "days_rest": min(10, (day - games[-1]["game_date"]).days) if games else None}
        ft = [r["ft_makes"] for r in games[-10:]]
        out["pct_free_throw"] = min(.5, sum(ft)/sum(pts[-10:])) if len(pts) >= 5 and None not in ft and sum(pts[-10:]) else None
        ys = pts[-10:]; out["pts_slope_10g"] = self.slope(ys) if len(ys) >= 5 else None
        ys = pts[-7:]; out["scoring_trend_slope"] = self.slope(ys) if len(ys) >= 4 else None
        d = (pts[-1] + pts[-2])/2 - (pts[-3] + pts[-4] + pts[-5])/3 if len(pts) >= 5 else None
        out["recent_trend"] = None if d is None else sum(d >= k - 1e-12 for k in (2, 5)) - sum(d <= -k + 1e-12 for k in (2, 5))
        sixty = [r["points"] for r in ago(60)]
        m60, s60 = (statistics.fmean(sixty), statistics.stdev(sixty)) if len(sixty) >= 5 else (None, None)
        out["deviation_from_avg_last3"] = max(-4, min(4, (statistics.fmean(pts[-3:]) - m60)/s60)) if s60 else None
        run = 0
        for p in reversed(pts[-20:]):
            if m60 is None or not p < m60: break
            run += 1
        out["consecutive_games_below_avg"] = run if m60 is not None else None
        versus = [r["points"] for r in rows if r["played"] and r["opp"] == opp and r["game_date"] >= day - timedelta(days=365)]
        out["games_vs_opponent"], out["avg_points_vs_opponent"] = len(versus), mean(versus, 1)
        out["games_since_structural_change"] = self.role(games, team, day)
        theirs = [g["game_date"] for g in self.by_team.get((opp, season), []) if g["game_date"] < day]
        rest = (day - games[-1]["game_date"]).days if games else None
        out["rest_advantage"] = max(-2, min(2, rest - (day - max(theirs)).days)) if theirs and games else None
        scored = [g for g in self.by_team.get((team, season), []) if g["game_date"] < day and g["home_team_score"] is not None and g["away_team_score"] is not None]
        wins = [(g["home_team_score"] > g["away_team_score"]) == (g["home_team_tricode"] == team) for g in scored]
        out["team_win_pct"] = mean([float(w) for w in wins], 5)
        return out

    @staticmethod
    def slope(ys):
        xs = range(len(ys)); mx, my = statistics.fmean(xs), statistics.fmean(ys)
        return sum((x - mx)*(y - my) for x, y in zip(xs, ys))/sum((x - mx)**2 for x in xs)

    @staticmethod
    def role(games, team, day):
        n, t, d = 0, team, day
        for r in reversed(games):
            if r["team_abbr"] != t or (d - r["game_date"]).days > 14: break
            n, t, d = n + 1, r["team_abbr"], r["game_date"]
        return min(30, n)

def compare(facts: Facts, start: date, end: date, n: int):
    built, slow = build(facts, start, end), Slow(facts)
    seasons = built[CONTEXT].select("player_lookup", "game_date", "season")
    rows = built[STORE].join(seasons, on=["player_lookup", "game_date"]).sort("game_date", "player_lookup").rows(named=True)
    broken = {(r["player_lookup"], r["game_date"], r["field"]) for r in built["breaches"].iter_rows(named=True)}
    for r in random.Random(7).sample(rows, n):
        for name, want in slow.features(r["player_lookup"], r["team_abbr"], r["opponent_team_abbr"], r["game_date"], r["season"]).items():
            if (r["player_lookup"], r["game_date"], name) in broken: continue
            got = r[name]
            assert (got is None) == (want is None) and (want is None or got == pytest.approx(want, abs=1e-9)), (r["player_lookup"], r["game_date"], name, got, want)

def test_simulated_rows_equal_the_slow_way():
    "A window, a minimum, an order or an off-by-one of 22 features, on rows that nobody picked."
    compare(light(), date(2025, 11, 4), date(2025, 12, 19), 300)

@pytest.mark.real
def test_real_rows_equal_the_slow_way():
    "The same on real box scores, with their trades, gaps and missing shots."
    compare(real_facts(), date(2023, 11, 7), date(2026, 2, 28), 400)
