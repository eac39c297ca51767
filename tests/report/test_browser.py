"""The page in a headless Chromium: nothing is fetched, nothing fails, all can be read."""

import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium, chromium-browser or google-chrome on the path (apt-get install chromium): "
    "the page was not tried in a browser",
)

# What the page tells of itself, once it stands. Contrast as in WCAG 2.2, 1.4.3.
MEASURE = """
const channels = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map(c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  return .2126 * x + .7152 * y + .0722 * z;
};
function ground(element) {
  for (; element; element = element.parentElement) {
    const found = channels(getComputedStyle(element).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found;
  }
  return [255, 255, 255];
}
function contrasts() {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(channels(style.color)), light(ground(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const where = walker.currentNode.textContent.slice(0, 40);
    found.push([ratio, `${element.tagName} ${element.className} ${style.color} ${where}`]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, 3);
}
function sorted() {
  const table = document.querySelector("#table-claims");
  const [head, button] = [table.tHead.rows[0].cells[0], table.tHead.querySelector("button")];
  const names = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
  button.click();
  const [up, once] = [names(), head.getAttribute("aria-sort")];
  button.click();
  return {up, once, down: names(), twice: head.getAttribute("aria-sort"), tab: button.tabIndex};
}
addEventListener("load", () => setTimeout(() => {
  document.querySelectorAll("details").forEach(part => part.open = true);
  const root = document.documentElement;
  const wide = [...document.querySelectorAll("body *")].filter(
    element => element.getBoundingClientRect().right > root.clientWidth + 1
      && !element.closest(".scroll, pre, .skip"));
  const told = {
    width: innerWidth, scroll: root.scrollWidth, wide: wide.map(e => e.tagName + "." + e.className).slice(0, 5),
    images: [...document.images].map(image => image.naturalWidth),
    fetched: performance.getEntriesByType("resource").map(entry => entry.name)
      .filter(name => !name.startsWith("data:")),
    contrasts: contrasts(), csv: csv(document.querySelector("#table-claims")), sorted: sorted(),
    buttons: [...document.querySelectorAll("button.csv")].every(button => !button.hidden),
  };
  const out = document.createElement("pre");
  out.id = "told";
  out.textContent = JSON.stringify(told);
  document.body.append(out);
  parent.postMessage(out.textContent, "*");
}, 200));
"""
# A window of a browser without a head is at least 500 px wide, so a phone is a frame in one.
FRAME = """<!doctype html><iframe src="page.html" style="width:{width}px;height:800px;border:0"></iframe>
<script>addEventListener("message", event => {{
  const out = document.createElement("pre"); out.id = "told"; out.textContent = event.data; document.body.append(out);
}});</script>"""


def opened(page, folder, width=None, dark=False):
    """(what the page tells of itself, the browser's own messages)."""
    html = page.read_text(encoding="utf-8")
    assert html.count("</body>") == 1
    folder.joinpath("page.html").write_text(
        html.replace("</body>", f"<script>{MEASURE}</script></body>"), encoding="utf-8"
    )
    start = folder / "page.html"
    if width:
        start = folder / "frame.html"
        start.write_text(FRAME.format(width=width))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        + ["--disable-background-networking", "--disable-component-update", "--window-size=1200,900"]
        + [
            f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        ]
        + ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000", "--dump-dom", start.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)
    assert told, done.stderr[-2000:]
    text = told[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(text), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def seen(pages, tmp_path_factory):
    """Every view of the page, opened once: (language, width or None, dark) -> what opened() returns."""
    views = [("en", None, False), ("en", 380, True), ("zh", 380, False), ("zh", None, True)]
    return {
        view: opened(pages[view[0]][0], tmp_path_factory.mktemp("view"), width=view[1], dark=view[2])
        for view in views
    }


def test_no_messages_on_the_console_and_no_requests(seen):
    for view, (told, console) in seen.items():
        assert console == [], view
        assert told["fetched"] == [], view


def test_every_figure_is_drawn(seen, study):
    _, facts = study
    for told, _ in seen.values():
        assert len(told["images"]) == len(facts["figures"])
        assert all(width > 0 for width in told["images"])


def test_a_phone_needs_no_sideways_scrolling(seen):
    for (_, width, _), (told, _) in seen.items():
        assert told["width"] == (width or 1200)
        assert told["scroll"] <= told["width"] and told["wide"] == []


def test_text_stands_out_from_its_ground(seen):
    for view, (told, _) in seen.items():
        ratio, where = told["contrasts"][0]
        assert ratio >= 4.5, (view, where)


def test_tables_sort_by_button_and_say_so(seen):
    told = seen["en", None, False][0]["sorted"]
    assert (told["once"], told["twice"], told["tab"]) == ("ascending", "descending", 0)
    assert told["up"] == sorted(told["up"]) and told["down"] == told["up"][::-1]


def test_tables_are_given_as_csv_with_raw_numbers(seen, study):
    import csv
    import io

    from sparse_continual import tables

    root, _ = study
    told = seen["zh", None, True][0]
    rows = list(csv.DictReader(io.StringIO(told["csv"])))
    source = tables.read(root / "statistics" / "claims.csv").set_index("claim")
    assert told["buttons"] and len(rows) == len(source)
    for row in rows:
        assert row["verdict"] == source.verdict[row["claim"]]
        if row["mean"]:
            assert float(row["mean"]) == pytest.approx(source["mean"][row["claim"]])
