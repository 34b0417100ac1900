"""The page of `ltxtui report`: one small file that asks for nothing, shows all of a run, and interprets none of it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from ltxtui.html_report.page import Reported, page
from ltxtui.panels.chart_specs import CHARTS
from recorder.archive.writer import ArchiveWriter
from replay.model.run import Run
from replay.page import png, svg
from replay.sources.open import load
from tests import recorded
from tests.chromium import PROGRAM, chromium
from tests.ltxtui import fake
from tests.waiting import PATIENCE_SECONDS

NAME = "20261122-143015-red-disc"
HOSTILE = '</script><script>document.title="owned"</script><img src=x onerror=alert(1)>\x1b[2J\u202e"\''


class Page(HTMLParser):
    """Elements, their attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def run_of(tmp_path: Path, name: str = NAME, **more: Any) -> Run:
    return load(recorded.archive(tmp_path, name, **more))


def test_a_page_has_the_verdict_every_chart_frames_and_pictures(tmp_path: Path) -> None:
    run = run_of(tmp_path, stages=2, steps=12, shocks=2)
    for step in range(12):
        picture = {"shape": [3, 2, 4, 3], "frames": [0, 1, 2], "fit": 0, "data": bytes(range(72))}
        run.feed({"t": "preview", "stage": 0, "stream": "video", "step": step, **picture})
    found = page([Reported(run)])
    read = Page(found)
    said = " ".join(read.said)
    assert NAME in said and "a red ball moving left" in said and "shock 1" in said
    assert all(title in said for title in ("Overview", "Drift", "Frequency", "Guidance", "Signal", "Events"))
    recorded_metrics = {m for stage in run.stages for s in stage.streams.values() for m in s.metrics}
    shown = [c for c in CHARTS if any(line.metric in recorded_metrics for line in c.lines)]
    for chart in shown:
        assert re.search(rf"<figcaption>{re.escape(chart.title)}", found), chart.id
    assert "Identity of each frame" in said and len(read.all("image")) >= 2, "heat maps"
    pictures = [str(i["src"]) for i in read.all("img")]
    assert len(pictures) == 8 and all(src.startswith("data:image/png;base64,") for src in pictures)
    groups = json.loads(re.search(r'id="data">(.*?)</script>', found)[1])  # type: ignore[index]
    sigma = run.stages[0].streams["video"].series("sigma")
    assert groups[0]["rows"]["σ"][:12] == pytest.approx([float(f"{v:.4g}") for v in sigma])
    assert len(groups[0]["x"]) == 24 and all(len(line) == 24 for chart in groups[0]["charts"] for line in chart)


def test_the_page_asks_for_nothing_and_runs_only_its_own_script(tmp_path: Path) -> None:
    found = page([Reported(run_of(tmp_path)), Reported(run_of(tmp_path, "other"))])
    read = Page(found)
    for tag, attributes in read.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
        assert "style" not in attributes and not any(a.startswith("on") for a in attributes), (tag, attributes)
    policy = str(next(m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy"))
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    for tag in ("style", "script"):
        for inside in re.findall(rf"<{tag}>(.*?)</{tag}>", found, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "http:" not in found and "https:" not in found and "@import" not in found and "url(" not in found
    assert "prefers-color-scheme: dark" in found and "@media print" in found


def test_text_of_a_run_is_shown_and_never_interpreted(tmp_path: Path) -> None:
    messages = recorded.whole(NAME)
    for message in messages:
        if message["t"] == "header":
            message["run"] = HOSTILE
            message["metadata"] = {**message["metadata"], "model": HOSTILE, HOSTILE: [HOSTILE]}
        elif message["t"] == "stage":
            message["metadata"] = {**message["metadata"], "prompt": HOSTILE, "seed": HOSTILE}
        elif message["t"] == "event":
            message["text"] = HOSTILE
    writer = ArchiveWriter(path := tmp_path / "x.zarr")
    for message in messages:
        writer.feed(message)
    run = load(path)
    for runs in ([run], [run, run_of(tmp_path)]):
        found = page([Reported(one) for one in runs])
        assert "onerror" not in {a for _, attributes in Page(found).elements for a in attributes}
        assert found.count("<script") == 2 and "\x1b" not in found and "\u202e" not in found
    card = run._repr_html_()
    assert "<script" not in card and not [t for t, a in Page(card).elements if "onerror" in a]


def test_two_runs_are_compared_and_settings_that_differ_are_listed(tmp_path: Path) -> None:
    a, b = run_of(tmp_path, "a"), run_of(tmp_path, "b", shocks=0)
    b.stages[0].metadata["seed"] = 12345
    said = " ".join(Page(page([Reported(a), Reported(b)])).said)
    assert "A against B" in said and "not a fair pair" in said and "seed 12345" in said and "B − A" in said
    three = " ".join(Page(page([Reported(a), Reported(b), Reported(a)])).said)
    assert "3 runs" in three and "C has the same rows as A" in three
    empty = Run()
    empty.feed(recorded.whole("e")[0])
    assert "Not compared" in page([Reported(a), Reported(empty)])


@pytest.mark.slow
def test_a_page_of_forty_steps_is_small_and_one_of_thousands_too(tmp_path: Path) -> None:
    assert len(page([Reported(run_of(tmp_path, steps=40))]).encode()) <= 300_000
    run = Run()
    for message in fake.messages(5000, name="long"):
        if message["t"] != "preview":
            run.feed(message)
    found = page([Reported(run, lost=True)])
    assert len(found.encode()) <= 1_500_000
    groups = json.loads(re.search(r'id="data">(.*?)</script>', found)[1])  # type: ignore[index]
    assert len(groups[0]["x"]) == 500 and groups[0]["x"][-1] == 4999


@pytest.mark.parametrize("cut", [1, 2, 3, 8, 30])
def test_what_has_only_begun_is_shown_as_far_as_it_is(cut: int) -> None:
    run = Run()
    for message in recorded.whole(NAME)[:cut]:
        run.feed(message)
    assert NAME in page([Reported(run, lost=True)]) and NAME in run._repr_html_()


def test_the_command_writes_the_file_and_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    import webbrowser

    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.chdir(tmp_path)
    recorded.archive(tmp_path / "runs", NAME)
    done = CliRunner().invoke(cli, ["report", "red-disc", "--open"])
    assert done.exit_code == 0 and done.output.strip() == f"{NAME}.html", done.output
    assert opened == [(tmp_path / f"{NAME}.html").as_uri()]
    again = CliRunner().invoke(cli, ["report", "red-disc", "-o", "x/y.html"])
    assert again.exit_code == 1 and again.output.count("\n") == 1 and "cannot be written" in again.output
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    without = CliRunner().invoke(cli, ["report", "red-disc", "--open"])
    assert without.exit_code == 1 and "no browser was found; open" in without.output


def test_the_page_is_written_through_links_and_into_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorded.archive(tmp_path / "runs", NAME)
    Path("page.html").write_text("old")
    Path("link.html").symlink_to("page.html")
    assert CliRunner().invoke(cli, ["report", "red-disc", "-o", "link.html"]).exit_code == 0
    assert Path("link.html").is_symlink() and "<html" in Path("page.html").read_text()
    os.mkfifo("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE) as reader:
        try:
            assert CliRunner().invoke(cli, ["report", "red-disc", "-o", "pipe"]).exit_code == 0
            assert Path("pipe").is_fifo(), "as a device would, it stays what it is"
            assert reader.communicate(timeout=PATIENCE_SECONDS)[0] == Path("page.html").read_bytes()
        finally:
            reader.kill()


# -- charts and pictures


def test_a_thinned_line_keeps_its_extremes_and_gaps() -> None:
    values = np.sin(np.arange(20_000) / 50)
    values[7777], values[9999], values[123] = 40.0, -40.0, np.nan
    kept = svg.thinned(values)
    assert {0, 7777, 9999, 123, 19_999} <= set(kept) and len(kept) <= 3 * svg.MOST_POINTS


def test_single_points_and_gaps_are_drawn() -> None:
    drawn = svg.draw(svg.SvgPlot(np.arange(5.0), [svg.SvgLine("x", np.array([1, np.nan, 2, 3, np.nan]))]))
    (data,) = re.findall(r' d="([^"]*)"', drawn)
    assert data.count("M") == 2 and data.count("h1") == 1 and data.count("L") == 1
    for values in ([], [np.nan], [5.0], [1e-40, 1e-40], [3e38, -3e38], [0.0, 0.0]):
        text = svg.draw(svg.SvgPlot(np.arange(float(len(values))), [svg.SvgLine("x", np.array(values))]))
        assert "nan" not in text and "inf" not in text


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (1e-9, 2e-9), (-1e30, 1e30), (5, 5), (1, 0)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = list(svg.ticks(low, high, 4))
    assert len(found) <= 6 and all(low - 1e-9 * abs(low) <= t <= high + 1e-9 * abs(high) for t in found)
    assert bool(found) == (high > low)


def test_pictures_are_png() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    data = base64.b64decode(png.data_uri(pixels).removeprefix("data:image/png;base64,"))
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data[16:24] == b"\0\0\0\7\0\0\0\5"
    at = data.index(b"IDAT")
    raw = zlib.decompress(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")])
    np.testing.assert_array_equal(np.frombuffer(raw, np.uint8).reshape(5, 22)[:, 1:].reshape(5, 7, 3), pixels)
    assert png.colours(np.array([[0.0, 1.0, np.nan]]), 0, 1).tolist() == [[[68, 1, 84], [253, 231, 37], [128] * 3]]


# -- in a browser


@pytest.mark.skipif(PROGRAM is None, reason="no headless Chromium is installed")
def test_in_a_browser_the_cursor_is_shared_and_nothing_is_asked_for(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, steps=20), run_of(tmp_path, "other", steps=16, shocks=0)]
    runs[0].header["run"] = HOSTILE
    path = tmp_path / "run.html"
    path.write_text(page([Reported(run) for run in runs]), "utf-8")
    with chromium() as browser:
        browser.open(path)
        browser.point("figure svg", 0.5)
        visible = "document.querySelectorAll('.cursor[visibility=visible]').length"
        figures = browser.value("document.querySelectorAll('figure svg').length")
        assert figures > 20 and browser.value(visible) == figures
        bar = "document.getElementById('cursor').textContent"
        assert re.match(r"step \d+", browser.value(bar)), browser.value(bar)
        before = int(browser.value(bar).split()[1])
        for kind in ("keyDown", "keyUp"):
            browser.ask("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight")
        assert int(browser.value(bar).split()[1]) == before + 1
        filled = "[...document.querySelectorAll('output')].filter(o => o.textContent).length"
        assert browser.value(filled) == browser.value("document.querySelectorAll('output').length")
        browser.point("article:last-of-type figure svg", 0.9)
        assert "σ 0." in browser.value(bar)
        assert browser.value("document.title").startswith("</script>"), "shown, not run"
        assert {url.partition(":")[0] for url in browser.requests()} <= {"file", "data"}
        assert [url for url in browser.requests() if url.startswith("file:")] == [path.as_uri()]
        assert browser.complaints() == []
