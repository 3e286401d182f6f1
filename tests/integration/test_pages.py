"""The pages as a browser shows them: nothing is loaded, plots are drawn, and labels stay text."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.reports.commands import page as period_page
from sidecar.reports.noise import noisy_rules
from sidecar.reports.success import success
from tests.servers import find_program
from tests.unit.reports.made import story
from tests.unit.training.history import taught
from training import page
from training.charts import Detail, charts
from training.job import run

BROWSER_SECONDS = 120
EVIL = (
    """<b>x</b><script>document.title='owned'</script>"'><img src=x onerror="document.title='owned'">{{7*7}}</script>"""
)
PLOTS = (
    "tradeoff", "precision-recall", "calibration", "importance", "by-severity", "by-domain", "label-rate", "score-drift",
    "stability",
)  # fmt: skip


class Elements(HTMLParser):
    """Every element with its attributes, and the text of the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        self.inside = tag == "script" and not attrs

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts.append(data)
        self.words.append(data)


@pytest.fixture(scope="module")
def proven(tmp_path_factory) -> Any:
    """A run, and its charts with labels that would like to be more than text."""
    rows, votes, _, at = taught(200)
    rows = [(*row[:4], EVIL if row[4] == "Broken" else row[4], *row[5:]) for row in rows]
    result = run(rows, votes, now=at, folder=tmp_path_factory.mktemp("run") / "artifact", min_votes=50)
    links = (("Dashboard", "https://example.org/d?a=1&b=2"), ("Evil", "javascript:document.title='owned'"))
    known = {str(episode): Detail(EVIL, EVIL, links) for episode in result.proof.validation.episode}
    score = np.full(len(result.proof.validation), 0.9)
    found = charts(
        result.proof._replace(score=score), threshold=0.85, importance=result.report["importance"], details=known
    )
    return result.report, found


@pytest.fixture(scope="module")
def training_page(proven) -> str:
    return page.render(*proven)


@pytest.fixture(scope="module")
def report_page() -> str:
    period = story(*({"name": EVIL, "said": "fp", "at": 60 * at, "instance": EVIL} for at in range(9)), {"name": "B"})
    return period_page(success(period), noisy_rules(period))


@pytest.fixture(params=["training_page", "report_page"])
def any_page(request) -> str:
    return request.getfixturevalue(request.param)


def shown(text: str, place: Path) -> str:
    """The document after its scripts have run, from file://, with every host name unknown."""
    file = place / "page.html"
    file.write_text(text, encoding="utf-8")
    command = [
        find_program("google-chrome", "chromium-browser", "chromium"), "--headless", "--no-sandbox", "--disable-gpu",
        "--disable-background-networking", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={place / 'profile'}", "--virtual-time-budget=10000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=BROWSER_SECONDS, check=True)
    return done.stdout


def test_the_page_loads_nothing(any_page):
    """No element names anything to fetch, and the page's own policy forbids it; only links that people click lead away."""
    elements = Elements(any_page)

    loading = [
        (tag, attributes) for tag, attributes in elements.found if "src" in attributes or tag in {"link", "iframe"}
    ]
    assert loading == []
    assert {tag for tag, attributes in elements.found if "href" in attributes} <= {"a"}
    assert not re.search(r"@import|url\(", any_page.split("</style>")[0])
    policy = next(a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")


def test_only_the_pages_own_scripts_may_run(training_page):
    """Plotly's script is inlined, and each script's hash is in the policy."""
    elements = Elements(training_page)
    policy = next(a["content"] for _, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")

    assert len(elements.scripts) == 3
    assert "plotly.js v" in elements.scripts[0][:200]
    for script in elements.scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "unsafe" not in policy.split("script-src")[1]


def test_labels_are_text(any_page):
    """Markup, templates and script in an alertname, instance or domain are shown as they were written."""
    elements = Elements(any_page)

    assert [tag for tag, _ in elements.found if tag in {"img", "b"}] == []
    assert [a for _, a in elements.found for name in a if name.startswith("on")] == []
    assert EVIL in "".join(elements.words)
    assert all(a["href"].startswith("https://example.org/") for tag, a in elements.found if tag == "a")


def test_a_browser_draws_every_plot(training_page, tmp_path):
    """From file:// and without a network, each of the nine places holds a drawing with something in it; labels are text."""
    seen = shown(training_page, tmp_path)
    places = dict.fromkeys(re.findall(r'class="plot[^"]*" id="([a-z-]+)"|id="([a-z-]+)" class="plot', seen))
    names = {one or other for one, other in places}
    assert names == set(PLOTS)
    pieces = re.split(r'<div class="plot[^"]*" id="', seen)[1:]

    for piece in pieces:
        name = piece.split('"')[0]
        drawn = piece.split("</section>")[0]
        assert 'class="main-svg"' in drawn, name
        assert re.search(r'<path class="js-line"|class="point"><path|class="points"><path', drawn), name
    assert "<title>Training report fp-" in seen
    assert "owned'</title>" not in seen
    assert "<title>owned" not in seen
    domain = next(piece for piece in pieces if piece.startswith("by-domain"))
    assert "&lt;b&gt;x&lt;/b&gt;" in domain
    assert not re.search(r"<(img|b|a)[ >]", domain.split("</section>")[0])


def test_a_browser_makes_tables_sortable(report_page, tmp_path):
    """Headings become buttons; without the script they are plain headings above the same rows."""
    assert "<button" not in report_page.split("<script>")[0]

    seen = shown(report_page, tmp_path)
    assert seen.count('<button type="button">') >= 6
    assert "<title>owned" not in seen


def test_a_refused_run_has_a_page_without_plots(tmp_path):
    """Reasons instead of numbers that were never measured, and no Plotly in it."""
    rows, votes, _, at = taught(10)
    result = run(rows, votes, now=at, folder=tmp_path / "artifact", min_votes=50)
    text = page.render(result.report, None)

    assert "too few: 10 voted episodes" in text
    assert len(text) < 50_000


def test_drift_alarms_and_own_floors_are_on_the_page_and_stay_text(proven):
    """Each alarm with its alertname, what was compared, and the floor of each name or that there is none."""
    check = {"kind": "label rate", "before": 0.9, "newest": 0.2, "observations": [200, 40], "p": 1e-9}
    names = {EVIL: {"checks": [check], "alarms": ["20% false in the newest week, 90% before"]}}
    counted = {"samples": 120, "incidents": 90, "noise": 88, "bound": 0.94}
    floors = {
        "usual": 0.85,
        "min_samples": 100,
        "names": {EVIL: {"floor": 0.62, **counted}, "B": {"floor": None, **counted}},
    }
    report = proven[0] | {
        "drift": {"at": 1.0, "tests": 2, "alpha": 0.005, "all": {"checks": [check], "alarms": []}, "names": names},
        "floors": floors,
    }
    text = page.render(report, None)
    words = " ".join(" ".join(Elements(text).words).split())
    assert "20% false in the newest week, 90% before" in words
    assert "0.900 0.200 200 40 1e-09" in words
    assert "0.62 120 90 88" in words
    assert "none: told 120" in words
    assert "<script>document.title" not in text
