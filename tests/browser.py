"A page as a browser lays it out: headless Chromium measures it inside a frame of the wanted width."
import html, json, re, shutil, subprocess, tempfile
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--allow-file-access-from-files", "--window-size=1300,3200", "--virtual-time-budget=4000", "--enable-logging=stderr"]
OUTER = """<html><body style="margin:0"><iframe id=f src="{url}" style="width:{width}px;height:3000px;border:0"></iframe><pre id=said></pre><script>
document.getElementById('f').onload = function() {{
  const d = this.contentDocument, r = d.documentElement, pictures = [...d.querySelectorAll('figure img, figure svg')], box = e => e.getBoundingClientRect();
  const cut = [...d.querySelectorAll('main *')].filter(e => e.children.length === 0 && e.textContent.trim() && !e.closest('svg, thead') && box(e).width > 0 && (box(e).right > r.clientWidth + 1 || box(e).left < -1));
  const unnamed = pictures.filter(e => !(e.getAttribute('alt') || e.getAttribute('aria-label') || e.querySelector('title') || e.closest('[aria-label]')));
  const style = getComputedStyle(d.body);
  document.getElementById('said').textContent = JSON.stringify({{scroll: r.scrollWidth, client: r.clientWidth, cut: cut.slice(0, 5).map(e => e.textContent.slice(0, 60)), pictures: pictures.length, empty: pictures.filter(e => box(e).width < 40 || box(e).height < 20).length, unnamed: unnamed.length, ink: style.color, paper: style.backgroundColor}});
}}</script></body></html>"""

def seen(page: Path, width: int, # px
         dark: bool) -> dict: # scroll, client (px), cut (texts outside), pictures, empty, unnamed, ink, paper (0-255 each), console
    "What a reader's browser makes of a page."
    with tempfile.TemporaryDirectory() as folder:
        outer = Path(folder)/"outer.html"
        outer.write_text(OUTER.format(url=page.resolve().as_uri(), width=width))
        p = subprocess.run([CHROMIUM, *FLAGS, f"--user-data-dir={folder}/user", f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", outer.as_uri()], capture_output=True, text=True, timeout=120)
    said = json.loads(html.unescape(re.search(r'<pre id="said">(.*?)</pre>', p.stdout, re.S)[1]))
    colour = lambda text: [int(x) for x in re.findall(r"\d+", text)[:3]]
    return said | dict(ink=colour(said["ink"]), paper=colour(said["paper"]), console=[l for l in p.stderr.splitlines() if "CONSOLE" in l])
