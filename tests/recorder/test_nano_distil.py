"""Learning from the first nano: the audio weights alone learn what its sound brings into the picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import LTX2VideoTransformer3DModel  # noqa: E402
from diffusers.pipelines.ltx2 import LTX2TextConnectors  # noqa: E402

from recorder.nano import clips, components, denoiser, distil, flow, sound, start, train  # noqa: E402

GRID = ((2, 4, 4), 2)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(distil, "GRIDS", (GRID,))
    monkeypatch.setattr(denoiser, "SHORT", (GRID,))
    monkeypatch.setattr(clips, "HOME_GRID", GRID[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with the audio part of the first nano."""
    pipe = components.build(1)
    width = {"audio_num_attention_heads": 2, "audio_attention_head_dim": 8, "audio_cross_attention_dim": 16}
    tokens = {"audio_in_channels": sound.PLACES, "audio_out_channels": sound.PLACES}
    narrow = LTX2VideoTransformer3DModel.from_config(pipe.transformer.config, **tokens, **width)
    heads = {"audio_connector_num_attention_heads": 2, "audio_connector_attention_head_dim": 8, "audio_hidden_dim": 16}
    pipe.register_modules(
        transformer=narrow, connectors=LTX2TextConnectors.from_config(pipe.connectors.config, **heads)
    )
    folder = tmp_path_factory.mktemp("first")
    train.save(pipe, folder)
    return folder


def begun(first: Path) -> distil.Distillation:
    pipe = components.build(0)
    start.from_earlier(pipe, first)
    return distil.Distillation(pipe, distil.load_teacher(first), minutes=10.0, seed=0)


def advanced(lesson: distil.Distillation, steps: int) -> distil.Distillation:
    with lesson.listening():
        while lesson.step < steps:
            lesson.advance()
    return lesson


def weights(pipe: Any, audio: bool) -> Any:
    modules = torch.nn.ModuleList([pipe.transformer, pipe.connectors])
    return torch.cat([p.detach().flatten() for n, p in modules.named_parameters() if ("audio" in n) is audio])


@pytest.mark.slow
def test_the_audio_weights_alone_learn(first: Path) -> None:
    lesson = begun(first)
    video, audio = weights(lesson.pipe, False), weights(lesson.pipe, True)
    before = advanced(lesson, 1).unlearned
    advanced(lesson, 13)
    assert torch.equal(weights(lesson.pipe, False), video)
    assert not torch.equal(weights(lesson.pipe, True), audio)
    assert (lesson.unlearned < 0.9 * before).all()


@pytest.mark.slow
def test_stopping_and_continuing_is_the_same_lesson(first: Path, tmp_path: Path) -> None:
    whole = advanced(begun(first), 2)
    advanced(begun(first), 1).save(tmp_path / "state.pt")
    rest = begun(first)
    rest.load(tmp_path / "state.pt")
    advanced(rest, 2)
    assert torch.equal(weights(whole.pipe, True), weights(rest.pipe, True))
    assert torch.equal(whole.unlearned, rest.unlearned) and rest.loss == pytest.approx(whole.loss)


def test_only_during_the_lesson_does_the_video_stream_hear_the_teacher(first: Path) -> None:
    lesson = begun(first)
    batch = flow.draw_batch(*GRID, seed=0, step=0)
    with torch.no_grad():
        alone = flow.velocities(lesson.pipe, lesson.conditioning, batch)[0]
        with lesson.listening():
            taught = flow.velocities(lesson.teacher, lesson.teacher_conditioning, distil.as_the_teacher_hears(batch))[0]
            heard = flow.velocities(lesson.pipe, lesson.conditioning, batch)[0]
        after = flow.velocities(lesson.pipe, lesson.conditioning, batch)[0]
    assert torch.equal(alone, after)
    assert torch.allclose(heard, taught, atol=1e-5) and not torch.allclose(alone, taught, atol=1e-3)


def test_the_teacher_hears_the_place_as_it_was_trained_to() -> None:
    batch = flow.draw_batch(*GRID, seed=2, step=0)
    heard = distil.as_the_teacher_hears(batch)
    assert heard.audio.shape == heard.audio_noise.shape == (2, clips.audio_length(2), sound.PLACES)
    # Sine and cosine of one place, across and down.
    radii = heard.audio.unflatten(-1, (2, 2)).norm(dim=-1)
    assert torch.allclose(radii, torch.full_like(radii, distil.TEACHER_GAIN), rtol=1e-5)
    assert float(heard.audio_noise.std()) == pytest.approx(1, abs=0.3)


@pytest.mark.slow
def test_the_command_distils_and_then_trains(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "report", lambda pipe: {0.5: 1.0})
    arguments = ["--teacher", str(first), "--distil-minutes", "0.01", "--minutes", "0.01", "--decoder-minutes", "0"]
    arguments += ["--short-share", "1", "--state", str(tmp_path / "state.pt"), "--out", str(tmp_path / "out")]
    train.main(arguments)
    said = capsys.readouterr().out
    assert "distillation:" in said and "minutes," in said
    assert {p.name for p in tmp_path.iterdir()} == {"state.pt", "state.distil.pt", "out"}
    train.main(arguments)
    assert "distillation:" not in capsys.readouterr().out  # the saved training is beyond it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher", "{second}"], "is not the first nano"),
        (["--teacher", "{nothing}"], "no model in"),
        (["--teacher", "{second}", "--start", "{second}"], "not allowed with"),
    ],
)
def test_a_wrong_teacher_is_a_usage_error(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from recorder import nano

    folders = {"second": str(nano.WEIGHTS), "nothing": str(tmp_path)}
    with pytest.raises(SystemExit) as ended:
        train.main([a.format(**folders) for a in arguments] + ["--out", str(tmp_path / "out")])
    assert ended.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
