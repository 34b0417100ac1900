"""Metrics that no panel names: declared by a run, shown all the same, in the words of the run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ltxtui.app import Dashboard, Options
from ltxtui.panels import chart_plots, other_metrics, readout
from ltxtui.panels.board import Board
from ltxtui.panels.chart_view import ChartView
from ltxtui.panels.other_metrics import PREFIX
from ltxtui.panels.registry import BY_ID, panels_of
from ltxtui.reports.run_text import summary
from ltxtui.screens.compare import CompareScreen
from ltxtui.screens.palette import Chooser
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.declared import declaration
from recorder import record
from recorder.format import declarations, protocol
from recorder.format.declarations import METRICS, Metric
from recorder.format.protocol import Message
from recorder.metrics import measures
from recorder.metrics.step import Step
from replay.comparison.compare import compare
from replay.model.run import Run
from replay.sources.open import Liveness, load, open_path
from tests.ltxtui import fake
from tests.ltxtui.driving import loaded, shown, until
from tests.ltxtui.sources import Archive, Live

SIZES = [(80, 24), (200, 60)]


def deck_of(messages: Iterable[Message], liveness: Liveness = Liveness.FINISHED) -> Deck:
    run = Run()
    for message in messages:
        run.feed(message)
    deck = Deck(run, liveness)
    deck.changed(liveness)
    return deck


def redeclared(messages: Iterable[Message], **changes: dict[str, object]) -> list[Message]:
    """The same run by a version that declared some metrics otherwise: by name, what their declarations say."""
    return [
        {**m, "metrics": [{**info, **changes.get(info["name"], {})} for info in m["metrics"]]}
        if m["t"] == protocol.STREAM
        else m
        for m in messages
    ]


def declared(*metrics: str) -> list[Message]:
    """A made run of three steps that declares nothing but these metrics."""
    found = []
    for message in fake.messages(3, streams=("video",)):
        if message["t"] == protocol.STREAM:
            infos = {info["name"]: info for info in message["metrics"]}
            message = {**message, "metrics": [infos[name] for name in metrics]}
        if message["t"] == protocol.STEP:
            width = sum(int(np.prod(infos[name]["shape"])) for name in metrics)
            message = {**message, "data": np.full(width, 1.5, np.float32).tobytes()}
        found.append(message)
    return found


# Which metrics


def test_every_metric_of_a_run_has_exactly_one_way_to_the_screen() -> None:
    deck = deck_of(fake.messages(3))
    made = [line.metric for chart in map(other_metrics.chart_of, other_metrics.others(deck.run).values())
            for line in chart.lines]  # fmt: skip
    assert set(made) | other_metrics.SHOWN >= set(METRICS) and not set(made) & other_metrics.SHOWN
    assert {"std", "channel_mean", "motion", "energy_low_x0", "spectrum_x"} <= set(made)
    assert list(panels_of(deck)) == [*BY_ID, *(PREFIX + name for name in other_metrics.others(deck.run))]


def test_a_row_of_several_values_is_drawn_as_their_mean_highest_and_lowest() -> None:
    deck = deck_of(fake.messages(3, batch=2))
    stream = deck.run.stages[0].streams["video"]
    channels = np.array([[5.0, 1, np.nan, 3, 2, 4, 0, 6], np.full(8, 9.0)])
    stream.data[1, stream.metrics["channel_mean"].columns] = channels.ravel()
    frames = np.array([[100.0, 100, 1, 2, 3, 4, 5, 6, 7], np.full(9, 9.0)])
    stream.data[1, stream.metrics["motion"].columns] = frames.ravel()
    for metric, mean, most, least in (("channel_mean", 3.0, 6.0, 0.0), ("motion", 4.0, 7.0, 1.0)):
        chart = other_metrics.chart_of(stream.metrics[metric])
        drawn = {line.over: chart_plots.values(line, deck) for line in chart.lines}
        assert [float(drawn[over][1]) for over in ("mean", "max", "min")] == [mean, most, least]  # type: ignore[index]
    deck.item = 1
    assert float(chart_plots.values(chart.lines[0], deck)[1]) == 9.0  # type: ignore[index]
    assert "mean over the latent frames 2…" in chart.about(deck)
    assert "mean over channel" in other_metrics.chart_of(stream.metrics["channel_mean"]).about(deck)


# On the screen


@pytest.mark.parametrize("size", SIZES)
async def test_the_preset_shows_all_other_metrics_over_its_pages(size: tuple[int, int]) -> None:
    app = Dashboard(Archive(fake.messages(8)))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot)
        await pilot.press("7")
        board = app.screen.query_one(Board)
        expected, seen = list(board.others), list[str]()
        for _ in range(board.pages):
            seen += board.on_page
            for id in board.on_page:
                view = board.query_one(f"#{id}", ChartView)
                title = view.render_line(0).text
                assert title.startswith(METRICS[id.removeprefix(PREFIX)].label[:8]) and view.size.height >= 5
            await pilot.press("right_parenthesis")
        assert seen == expected and len(seen) > 20
        assert (board.pages == 1) is (size == SIZES[1])


async def test_a_metric_that_is_declared_later_appears_and_hidden_ones_stay_hidden() -> None:
    source = Live()
    app = Dashboard(source)
    async with app.run_test(size=(120, 40)) as pilot:
        messages = list(fake.messages(5, streams=("video",), stages=2))
        second = next(n for n, m in enumerate(messages) if m.get("stage") == 1 and m["t"] == protocol.STREAM)
        told = declared("sigma", "std", "mean")
        source.send(told[:-3])
        await until(pilot, lambda: app.deck.total > 0)
        await pilot.press("7")
        board = app.screen.query_one(Board)
        assert board.shown == (f"{PREFIX}mean", f"{PREFIX}std") or board.shown == (f"{PREFIX}std", f"{PREFIX}mean")
        assert app.state.arrangement(board._size_class, "7") is None
        stage = [{**m, "stage": 1} for m in messages[second - 2 : second + 1]]
        source.send(stage)
        await until(pilot, lambda: f"{PREFIX}evaluations" in board.on_page)


async def test_a_run_without_other_metrics_offers_none() -> None:
    app = Dashboard(Archive(declared("sigma", "velocity_rms")))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        await pilot.press("7")
        board = app.screen.query_one(Board)
        assert board.preset.key == "1" and "every metric" in [n.message for n in app._notifications][-1]
        assert set(board.panels) == set(BY_ID)


async def test_a_metric_can_be_added_to_a_preset_is_read_out_and_comes_back(tmp_path: Path) -> None:
    app = Dashboard(Archive(fake.messages(8)))
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot)
        await pilot.press("5", "a")
        assert isinstance(app.screen, Chooser)
        await pilot.press(*"max |x|", "enter")
        board = app.screen.query_one(Board)
        await until(pilot, lambda: f"{PREFIX}max_abs" in board.on_page)
        assert "max |x|" in shown(pilot, "#readout") and "sigma" not in shown(pilot, "#readout")
    again = Dashboard(Archive(fake.messages(8)))
    async with again.run_test(size=(160, 48)) as pilot:
        await loaded(pilot)
        await pilot.press("5")
        assert f"{PREFIX}max_abs" in again.screen.query_one(Board).shown


# In the words of the run


OLD = {
    "noise_injected": {"description": "an older formula", "unit": "old", "label": "older noise"},
    "recorder_seconds": {"description": "older seconds"},
    "step_seconds": {"description": "older step seconds", "unit": "ks"},
    "spectrum_x0": {"description": "an older spectrum"},
    "sigma": {"label": "older sigma", "unit": "u"},
    "std": {"label": "older std", "description": "", "unit": "mm"},
}


async def test_names_units_and_descriptions_are_those_of_the_run() -> None:
    messages = redeclared(fake.messages(4), **OLD)
    deck = deck_of(messages)
    panels = panels_of(deck)
    about = {id: panels[id].about(deck) for id in ("injected", "cost", "system", "waterfall", f"{PREFIX}std")}
    assert about["injected"].startswith("injected: an older formula [old]")
    assert "recorder: older seconds;" in about["cost"]
    assert "step: older step seconds [ks]" in about["system"]
    assert "x0: an older spectrum" in about["waterfall"]
    assert about[f"{PREFIX}std"] == "older std: not described by the run [mm]"
    for name in OLD:
        now = METRICS[name].description
        assert not any(now in text for text in about.values()), "today's formula says nothing of this run"
    read = {r.line.metric: r.label for r in readout.readings(deck, readout.main_lines())}
    assert read["sigma"] == "older sigma" and read["velocity_rms"] == METRICS["velocity_rms"].label
    assert "older sigma u" in summary(deck.run)
    app = Dashboard(Archive(messages))
    async with app.run_test(size=(200, 60)) as pilot:
        await loaded(pilot)
        await pilot.press("6")
        assert "Noise injected old" in shown(pilot, "#injected")
        await pilot.press("7")
        assert "older std mm" in shown(pilot, f"#{PREFIX}std")


def test_what_a_run_does_not_declare_is_as_this_version_has_it() -> None:
    deck = deck_of(declared("sigma"))
    assert declaration(deck, "std").description == METRICS["std"].description
    assert declaration(deck, "from_tomorrow") == ("from_tomorrow", "", "")
    hostile = redeclared(fake.messages(2), std={"label": "\x1b[31mstd", "description": "a\nb\x07"})
    assert declaration(deck_of(hostile), "std")[::2] == ("std", "a b")


# A metric by declaration and function alone, as docs/contributing.md says


CREST = Metric("noise_crest", "1", "noise crest", "max |ε| / √mean(ε²): how far single values stick out")


def crest(step: Step) -> Tensor:
    return step.noise.flatten(1).abs().amax(dim=1) / step.mean_square["noise"].sqrt()


def own_loop(folder: Path, name: str, seed: int) -> Path:
    generator = torch.Generator().manual_seed(seed)
    sigmas = [1.0, 0.8, 0.5, 0.2, 0.0]
    with record(runs_dir=folder, name=name) as run:
        run.stage(sigmas=sigmas)
        for sigma, after in itertools.pairwise(sigmas):
            sample, velocity = (torch.randn(1, 4, 3, 6, 8, generator=generator) for _ in range(2))
            run.step(sigma=sigma, sigma_next=after, sample=sample, velocity=velocity)
    return run.path


@contextmanager
def added() -> Iterator[None]:
    """The two tables with the metric, as they are in a process that started with it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(declarations.METRICS, CREST.name, CREST)
        patched.setitem(measures.MEASURES, CREST.name, crest)
        measures.measured_names.cache_clear()
        yield
    measures.measured_names.cache_clear()


async def test_a_new_metric_is_recorded_compared_and_shown(tmp_path: Path) -> None:
    with added():
        paths = [own_loop(tmp_path, f"run-{seed}", seed) for seed in (1, 2)]
    assert CREST.name not in METRICS, "the reader is of another version"
    # in the archive
    described = json.loads((paths[0] / "stage_0" / "video" / CREST.name / "zarr.json").read_text())
    assert described["attributes"]["units"] == "1" and CREST.description in str(described["attributes"])
    runs = [load(path) for path in paths]
    values = runs[0].stages[0].streams["video"].series(CREST.name)
    assert len(values) == 4 and (values > 1).all()
    # in compare
    (series,) = (s for s in compare(runs, metrics=[CREST.name]).series if s.name == CREST.name)
    assert series.label == CREST.label and not np.array_equal(series.values[0], series.values[1])
    # on the run screen
    for size in SIZES:
        app = Dashboard(open_path(paths[0]), Options(runs_dir=tmp_path))
        async with app.run_test(size=size) as pilot:
            await loaded(pilot)
            await pilot.press("7")
            board = app.screen.query_one(Board)
            for _ in range(board.pages):
                if PREFIX + CREST.name in board.on_page:
                    break
                await pilot.press("right_parenthesis")
            await until(pilot, lambda board=board: PREFIX + CREST.name in board.on_page)
            assert "noise crest" in shown(pilot, f"#{PREFIX}{CREST.name}")
            assert CREST.description in board.panels[PREFIX + CREST.name].about(app.deck)
    # on the compare screen
    app = Dashboard(first=lambda app: CompareScreen(paths))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen_stack[0]
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: not screen.deck.loading)
        pages = [screen.deck.shown]
        for _ in range(screen.deck.pages):
            await pilot.press("pagedown")
            pages.append(screen.deck.shown)
        assert any(CREST.name in page for page in pages)
