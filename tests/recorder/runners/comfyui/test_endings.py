"""Cancel, stop, failures, and what other custom nodes do to our hooks: the sampling is never changed by them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from recorder.recording import RunHandle
from recorder.runners.comfyui import nodes
from recorder.runners.comfyui.latents import LatentShapes
from recorder.runners.comfyui.sampling import ComfySampling
from replay.control import ControlOff, send
from tests.recorder.runners.comfyui.conftest import Bench
from tests.recorder.runners.comfyui.fakes import (
    ComfyUI,
    InterruptProcessingException,
    ModelPatcher,
    WrappersMP,
    flat,
    levels,
)
from tests.waiting import until


def texts(run: Any, kind: str) -> list[str]:
    return [str(e["text"]) for e in run.events if e["kind"] == kind]


def test_cancel_is_interrupted_and_keeps_the_rows(bench: Bench) -> None:
    def cancel(step: int, *_: Any) -> None:
        if step == 3:
            raise InterruptProcessingException

    with bench.comfyui.prompt():
        bench.sample(bench.model(), callback=cancel)
    run = bench.run()
    assert run.end is not None
    assert (run.end["status"], run.end["error"]) == ("interrupted", "CancelledInComfyUI")
    assert run.stages[0].steps == 3


def test_an_error_of_the_model_is_failed_and_raised(bench: Bench) -> None:
    model = bench.model()
    model.model.fails_at = 5
    with pytest.raises(RuntimeError, match="the model failed"), bench.comfyui.prompt():
        bench.sample(model)
    run = bench.run()
    assert run.end is not None and run.end["status"] == "failed"
    assert run.end["error"] == "RuntimeError: the model failed"


def test_a_failure_keeps_no_latents(bench: Bench) -> None:
    model = bench.model()
    model.model.fails_at = 5
    with bench.comfyui.prompt():
        with pytest.raises(RuntimeError):
            bench.sample(model)
        (opened,) = bench.adapter.runs._open.values()
        assert opened.failure is not None and opened.failure.__traceback__ is None
    bench.adapter.runs.wait()


@pytest.mark.parametrize("lifecycle", [True, False])
def test_latents_of_unknown_shape_are_sampled_and_leave_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, lifecycle: bool
) -> None:
    bench.comfyui.lifecycle = lifecycle
    bench.comfyui.install(monkeypatch)
    bench.load()
    flat_noise = torch.randn(1, 1, 60, generator=torch.Generator().manual_seed(0))

    def sampled(model: Any) -> Any:
        return bench.guider(model).sample(
            flat_noise, torch.zeros(1, 1, 60), bench.sampler("euler"), levels(), callback=lambda *_: None, seed=1
        )

    plain = sampled(ModelPatcher())
    with bench.comfyui.prompt():
        assert torch.equal(plain, sampled(bench.model()))
    assert bench.runs() == []
    assert bench.adapter.runs._open == {} and bench.comfyui.providers == []


def test_a_sampling_that_is_tried_again_is_complete(bench: Bench) -> None:
    with bench.comfyui.prompt():
        model = bench.model()
        model.model.fails_at = 5
        with pytest.raises(RuntimeError):
            bench.sample(model)
        bench.sample(model)
    run = bench.run()
    assert run.standing == "complete"
    assert [stage.steps for stage in run.stages] == [1, 5]


def test_a_prompt_that_is_cancelled_after_its_sampling_is_complete(bench: Bench) -> None:
    with bench.comfyui.prompt():
        bench.sample(bench.model())
        raise InterruptProcessingException
    assert bench.run().standing == "complete"


class Paused:
    """A callback that waits for a viewer at one step."""

    def __init__(self, bench: Bench, at: int, command: Any, **more: Any) -> None:
        self._at, self._command, self._more, self._bench = at, command, more, bench
        self.answers: list[Any] = []

    def __call__(self, step: int, *_: Any) -> None:
        if step == self._at:
            thread = threading.Thread(target=self._send)
            thread.start()
            until(lambda: self._arrived() or self.answers)
            self.thread = thread

    def _handle(self) -> RunHandle:
        (run,) = self._bench.adapter.runs._open.values()
        handle = run.handle()
        assert handle is not None
        return handle

    def _arrived(self) -> bool:
        control = self._handle().control
        return bool(control._stops or control._shocks)

    def _send(self) -> None:
        socket = self._handle().socket_path
        assert socket is not None
        try:
            self.answers.append(send(socket, self._command, **self._more))
        except ControlOff as refused:
            self.answers.append(refused)


def test_stop_from_a_viewer_ends_the_prompt(bench: Bench) -> None:
    paused = Paused(bench, 2, "stop")
    reached: list[str] = []
    with bench.comfyui.prompt():
        bench.sample(bench.model(), callback=paused)
        reached.append("decoding")
    assert reached == []
    paused.thread.join()
    assert paused.answers[0].accepted
    run = bench.run()
    assert run.end is not None
    assert (run.end["status"], run.end["error"]) == ("interrupted", "stopped by a viewer")
    assert run.stages[0].steps == 4  # the step that was under way is completed
    assert run.stages[0].streams["audio"].rows == 4


def test_a_stopped_prompt_samples_no_further_stage(bench: Bench) -> None:
    paused = Paused(bench, 4, "stop")
    reached = []
    with bench.comfyui.prompt():
        model = bench.model()
        bench.sample(model, callback=paused)
        reached.append("first")
        bench.sample(model)
        reached.append("second")
    assert reached == ["first"]
    paused.thread.join()
    run = bench.run()
    assert len(run.stages) == 1 and run.end is not None and run.end["status"] == "interrupted"


def test_without_control_a_viewer_is_refused(bench: Bench) -> None:
    paused = Paused(bench, 2, "stop")
    plain = flat(bench.sample(ModelPatcher()))
    with bench.comfyui.prompt():
        assert torch.equal(plain, flat(bench.sample(bench.model(allow_control=False), callback=paused)))
    paused.thread.join()
    assert isinstance(paused.answers[0], ControlOff)


def test_a_folder_that_cannot_be_written_costs_the_recording_only(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LTXTUI_RUNS_DIR", str(tmp_path / "file" / "runs"))
    plain = flat(bench.sample(ModelPatcher()))
    with bench.comfyui.prompt():
        assert torch.equal(plain, flat(bench.sample(bench.model())))
    bench.adapter.runs.wait()
    assert [m for m in caplog.messages if "not recorded" in m and "\n" not in m]


@pytest.mark.parametrize(
    ("owner", "name"), [(LatentShapes, "split"), (ComfySampling, "_take_passes"), (ComfySampling, "_hand_over")]
)
def test_an_error_of_ours_is_an_event_and_not_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    calls, steps = [], []

    def fails(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise RuntimeError("a mistake of ours")

    plain = flat(bench.sample(ModelPatcher()))
    with monkeypatch.context() as patch:

        def reported(step: int, *_: Any) -> None:
            steps.append(step)
            if step == 2:
                patch.setattr(owner, name, fails)

        with bench.comfyui.prompt():
            result = bench.sample(bench.model(allow_control=False), callback=reported)
    assert torch.equal(plain, flat(result))
    assert calls and steps == [0, 1, 2, 3, 4]
    run = bench.run()
    assert "a mistake of ours" in " ".join(texts(run, "error"))
    assert run.stages[0].steps == 2


def test_evaluations_that_are_hidden_are_not_recorded(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Another custom node has replaced the wrappers of the guider."""

    def elsewhere(executor: Any, *args: Any, **kwargs: Any) -> Any:
        table = executor.class_obj.model_options["transformer_options"]["wrappers"]
        table[WrappersMP.PREDICT_NOISE] = {}
        return executor(*args, **kwargs)

    plain = flat(bench.sample(ModelPatcher()))
    model = bench.model()
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "other", elsewhere)
    with bench.comfyui.prompt():
        assert torch.equal(plain, flat(bench.sample(model)))
        assert [m for m in caplog.messages if "another custom node" in m]
    run = bench.run()
    assert run.steps == 0
    assert "another custom node" in " ".join(texts(run, "error"))


def test_a_hook_that_is_replaced_in_the_middle_ends_the_recording_with_an_event(bench: Bench) -> None:
    plain = flat(bench.sample(ModelPatcher()))
    model = bench.model()
    guiders: list[Any] = []

    def remember(executor: Any, *args: Any, **kwargs: Any) -> Any:
        guiders.append(executor.class_obj)
        return executor(*args, **kwargs)

    def elsewhere(step: int, *_: Any) -> None:
        if step == 2:
            guiders[0].model_options["transformer_options"]["wrappers"][WrappersMP.PREDICT_NOISE].clear()

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "other", remember)
    with bench.comfyui.prompt():
        assert torch.equal(plain, flat(bench.sample(model, callback=elsewhere)))
    run = bench.run()
    assert "another custom node" in " ".join(texts(run, "error"))
    assert run.stages[0].steps == 2


@pytest.mark.parametrize("missing", ["PREDICT_NOISE", "OUTER_SAMPLE", "CALC_COND_BATCH"])
def test_a_version_without_the_hooks_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    old = ComfyUI(tmp_path, version="0.3.40")
    old.install(monkeypatch)
    monkeypatch.delattr(WrappersMP, missing)
    monkeypatch.setattr(nodes, "_adapter", None)
    found, titles = nodes.load(record_all=True)
    assert set(found) == set(titles) == {"LTXTelemetry", "LTXShock", "LTXShockSigmas"}
    (line,) = caplog.messages
    assert "0.3.40" in line and "0.3.75" in line and "\n" not in line
    model = ModelPatcher()
    assert nodes.LTXTelemetry().attach(model) == (model,)


def test_outside_of_comfyui_a_line_is_enough(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(nodes, "_adapter", None)
    nodes.load(record_all=False)
    (line,) = caplog.messages
    assert "cannot be recorded" in line


def test_a_model_that_cannot_be_wrapped_is_passed_on(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    model = object()
    assert nodes.LTXTelemetry().attach(model) == (model,)
    assert [m for m in caplog.messages if "not recorded" in m]


def test_levels_that_are_not_those_of_ltx_do_not_matter(bench: Bench) -> None:
    """A sampling of one level has no step: no run."""
    plain = flat(bench.sample(ModelPatcher(), sigmas=levels()[:1]))
    with bench.comfyui.prompt():
        assert torch.equal(plain, flat(bench.sample(bench.model(), sigmas=levels()[:1])))
    assert bench.runs() == []
