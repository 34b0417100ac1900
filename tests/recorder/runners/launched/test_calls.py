"""Calls that the start-up hook has seen: in which run they are recorded, what is kept, and what is left alone."""

from __future__ import annotations

import gc
import importlib.util
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from recorder import Shock, record
from recorder.nano import components
from recorder.runners.launched import notes, process, wrapping
from recorder.runners.launched.environment import START
from recorder.runners.launched.options import OPTIONS, LaunchOptions
from recorder.sampling import hooks
from recorder.shocks.scheduler import ShockScheduler
from recorder.system import ranks
from replay.library.listing import archives_in
from replay.model.run import Run
from replay.sources.open import load
from tests.conftest import UNGUIDED, nano_call

SMALL = {"height": 64, "width": 96, "num_frames": 17, **UNGUIDED}


def hook_module() -> ModuleType:
    """The start-up hook as a module; without notes it hooks nothing by itself."""
    spec = importlib.util.spec_from_file_location("started", START / "sitecustomize.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


class Launched:
    """This process as a part of a recorded command."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.runs_dir, self.file, self._patch = folder / "runs", folder / "notes", patch
        self.file.touch()
        self.hook = hook_module()
        patch.setenv(notes.NOTES, str(self.file))

    def starts(self, **options: Any) -> None:
        asked = LaunchOptions(runs_dir=str(self.runs_dir), **options)
        self._patch.setenv(OPTIONS, asked.as_text())
        self._patch.setattr(process, "_here", None)
        self._patch.setattr(notes, "_noted", set())

    def wraps(self, owner: type[Any], kind: str = "diffusers") -> None:
        self._patch.setattr(owner, "__call__", owner.__call__)  # put back at the end
        wrapping.wrap(owner, "__call__", kind, self.hook.note, self.hook.recorder_on)

    def end(self) -> None:
        process.this_process().end()

    def runs(self) -> list[Run]:
        """In the order in which they began; several may begin in the second that their names tell."""
        return sorted((load(path) for path in archives_in(self.runs_dir)), key=lambda run: run.header["time"])

    @property
    def noted(self) -> list[str]:
        return [one.kind for one in notes.read(self.file)]


@pytest.fixture
def launched(tmp_path: Path, pipe: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    made = Launched(tmp_path, monkeypatch)
    made.starts()
    made.wraps(type(pipe))
    yield made
    made.end()


def generated(pipe: Any, seed: int = 0, **more: Any) -> torch.Tensor:
    found: torch.Tensor = pipe(**nano_call(2, seed, **SMALL, return_dict=False, **more))[0]
    return found


def status(run: Run) -> tuple[Any, Any]:
    assert run.end is not None
    return run.end["status"], run.end["error"]


def test_calls_of_a_process_are_stages_of_one_run(
    launched: Launched, pipe: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = [hook_free(launched, pipe, seed) for seed in (0, 1)]
    found = [generated(pipe, seed) for seed in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))
    assert not hooks.is_hooked(pipe) and type(pipe.scheduler) is type(components.scheduler())
    launched.end()
    launched.end()  # once
    (run,) = launched.runs()
    assert [(s.call, len(s.streams["video"].series("sigma"))) for s in run.stages] == [(0, 2), (1, 2)]
    assert status(run) == ("complete", None) and run.metadata["pipelines"] == ["LTX2Pipeline"]
    assert run.metadata["model"] == "nano" and "rank" not in run.metadata
    assert capfd.readouterr().err.count("ltxtui run: recorded ") == 1


def hook_free(launched: Launched, pipe: Any, seed: int) -> torch.Tensor:
    """The same without a hook."""
    found: torch.Tensor = type(pipe).__call__.__wrapped__(pipe, **nano_call(2, seed, **SMALL, return_dict=False))[0]
    return found


def test_each_call_can_be_a_run_of_which_the_newest_are_kept(
    launched: Launched, pipe: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    launched.starts(each="call", every=2, keep=2, name="served")
    for seed in range(7):
        generated(pipe, seed)
    launched.end()
    prompts = [run.stages[0].metadata["seed"] for run in launched.runs()]
    assert prompts == [4, 6]
    assert sorted(p.name for p in launched.runs_dir.iterdir()) == sorted(r.name + ".zarr" for r in launched.runs())
    assert "recorded 4 runs of 7 calls, kept the newest 2" in capfd.readouterr().err


def test_a_script_that_records_itself_is_left_alone(launched: Launched, pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path / "own") as own:
        generated(pipe)
    assert own.rows and not launched.runs_dir.exists() and "itself" in launched.noted
    generated(pipe)  # recorded by the hook
    with record(pipe, runs_dir=tmp_path / "own") as again:  # while the hook's run is open
        generated(pipe)
    launched.end()
    assert again.rows and len(launched.runs()) == 1 and len(launched.runs()[0].stages) == 1


def test_nothing_keeps_a_pipeline_after_its_call(launched: Launched, pipe: Any) -> None:
    shallow = type(pipe)(**pipe.components)
    shallow.set_progress_bar_config(disable=True)
    generated(shallow)
    gone = weakref.ref(shallow)
    del shallow
    gc.collect()
    assert gone() is None
    launched.end()
    assert len(launched.runs()) == 1


@pytest.mark.slow
def test_a_subclass_that_calls_its_parent_is_called_once(launched: Launched, pipe: Any) -> None:
    calls = []

    class Own(type(pipe)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return super().__call__(*args, **kwargs)

    own = Own(**pipe.components)
    own.set_progress_bar_config(disable=True)
    generated(own)
    launched.end()
    (run,) = launched.runs()
    assert calls == [1] and len(run.stages) == 1


def test_a_shock_acts_and_is_taken_back(launched: Launched, pipe: Any) -> None:
    launched.starts(shocks=(Shock("restart", at=0.9).as_dict(),))
    plain, shocked = hook_free(launched, pipe, 0), generated(pipe)
    assert not torch.equal(plain, shocked) and not isinstance(pipe.scheduler, ShockScheduler)
    with record(pipe, runs_dir=launched.runs_dir / "own", shocks=[Shock("restart", at=0.9)]):
        again = generated(pipe)
    assert torch.equal(again, shocked)
    launched.end()
    (run,) = launched.runs()
    assert [e["kind"] for e in run.events if e["kind"] == "shock"] == ["shock"]


def test_a_shock_that_cannot_act_raises_in_the_script(launched: Launched, pipe: Any) -> None:
    launched.starts(shocks=(Shock("restart", at=0.0001).as_dict(),))
    with pytest.raises(ValueError, match="beyond the schedule"):
        generated(pipe)


def test_an_error_of_the_call_is_raised_and_ends_the_run(launched: Launched, pipe: Any) -> None:
    def fails(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        generated(pipe, callback_on_step_end=fails)
    (open_run,) = process.this_process().open
    assert open_run.failure is not None and open_run.failure.__traceback__ is None  # its frames would hold latents
    launched.end()
    (run,) = launched.runs()
    assert status(run)[0] == "failed" and "out of luck" in str(status(run)[1])


@pytest.mark.slow
def test_concurrent_calls_are_kept_apart(launched: Launched, pipe: Any) -> None:
    launched.starts(each="call")
    pipes = [type(pipe)(**{**pipe.components, "scheduler": components.scheduler()}) for _ in range(2)]
    plain = [hook_free(launched, pipe, seed) for seed in (0, 1)]
    found: dict[int, torch.Tensor] = {}

    def work(seed: int) -> None:
        pipes[seed].set_progress_bar_config(disable=True)
        for _ in range(2):
            found[seed] = generated(pipes[seed], seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(torch.equal(plain[seed], found[seed]) for seed in (0, 1))
    launched.end()
    assert [[len(s.streams["video"].series("sigma")) for s in run.stages] for run in launched.runs()] == [[2]] * 4


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RANK": "1", "WORLD_SIZE": "2"}, ranks.Rank(1, 2)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, ranks.Rank(3, 4)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "RANK": "x"}, ranks.Rank(0, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "0"}, None),
        ({}, None),
    ],
)
def test_ranks(variables: dict[str, str], expected: ranks.Rank | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ranks.rank_here() == expected


def test_other_ranks_than_0_are_left_out(launched: Launched, pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    generated(pipe)
    launched.end()
    assert not launched.runs_dir.exists() and "rank" in launched.noted


def test_every_rank_is_recorded_on_request(launched: Launched, pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    launched.starts(ranks="all", name="fox")
    generated(pipe)
    launched.end()
    (run,) = launched.runs()
    assert (run.metadata["rank"], run.metadata["world_size"]) == (1, 2) and run.name.endswith("-fox-rank1")


@pytest.mark.parametrize("api", ["stage_api", "loop_api"])
@pytest.mark.parametrize("each", ["process", "call"])
def test_stages_of_ltx_pipelines(api: str, each: Any, launched: Launched, request: pytest.FixtureRequest) -> None:
    modules = request.getfixturevalue(api)
    made = modules.distilled.DistilledPipeline()
    plain = made(prompt="a fox", seed=3)
    launched.starts(each=each)
    launched.wraps(type(made), "ltx-pipelines")
    if api == "stage_api":
        launched.wraps(modules.blocks.DiffusionStage, "stage")
        asked: dict[str, Any] = {"second": True}
    else:
        asked = {}
    seen = modules.distilled.DistilledPipeline()(prompt="a fox", seed=3)
    assert torch.equal(plain[0].latent, seen[0].latent)
    modules.distilled.DistilledPipeline()(prompt="a fox", seed=3, **asked)
    launched.end()
    calls = [[s.call for s in run.stages] for run in launched.runs()]
    second = 2 if asked else 1
    assert calls == ([[0, *[1] * second]] if each == "process" else [[0], [0] * second])


def test_a_stage_without_a_pipeline(launched: Launched, stage_api: Any) -> None:
    launched.wraps(stage_api.blocks.DiffusionStage, "stage")
    pipeline = stage_api.distilled.DistilledPipeline()
    plain, seen = (pipeline(prompt="a fox", seed=3) for _ in range(2))
    assert torch.equal(plain[0].latent, seen[0].latent)
    launched.end()
    (run,) = launched.runs()
    assert [len(s.streams["video"].series("sigma")) for s in run.stages] == [4, 4]


def test_a_script_that_records_ltx_pipelines_itself(launched: Launched, stage_api: Any, tmp_path: Path) -> None:
    pipeline = stage_api.distilled.DistilledPipeline()
    launched.wraps(type(pipeline), "ltx-pipelines")
    launched.wraps(stage_api.blocks.DiffusionStage, "stage")
    for what in (pipeline, "ltx-pipelines"):
        with record(what, runs_dir=tmp_path / "own") as run:
            pipeline(prompt="a fox", seed=3)
        assert run.rows
    assert not launched.runs_dir.exists()


WATCHED = [
    ("diffusers.pipelines.ltx2.pipeline_ltx2", True),
    ("diffusers.pipelines.ltx2.pipeline_ltx2_condition", True),
    ("diffusers.modular_pipelines.ltx2.modular_pipeline", True),
    ("diffusers.pipelines.ltx.pipeline_ltx", False),
    ("ltx_pipelines.distilled", True),
    ("ltx_pipelines.utils.blocks", True),
    ("ltx_pipelines.utils.samplers", False),
    ("comfy.samplers", True),
    ("torch", False),
]


@pytest.mark.parametrize(("name", "watched"), WATCHED)
def test_modules_that_are_watched_for(name: str, watched: bool, launched: Launched) -> None:
    assert launched.hook.watched(name) is watched


def test_the_pipelines_that_can_be_recorded_are_wrapped(launched: Launched) -> None:
    import diffusers

    from recorder.sampling.supported_pipelines import FAMILIES

    wrapped: set[str] = set()
    for name in FAMILIES:
        module = importlib.import_module(getattr(diffusers, name).__module__)
        assert launched.hook.watched(module.__name__), name
        wrapped |= {owner.__name__ for owner, _, _ in wrapping.entries(module)}
    assert set(FAMILIES) <= wrapped
