"""Training the nano model: it learns, it can stop and continue anywhere, and its shortcuts change nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from recorder import nano  # noqa: E402
from recorder.nano import clips, components, denoiser, flow, train  # noqa: E402

PLAN = denoiser.TrainingPlan(minutes=10.0, rate=2e-3, matrix_rate=4e-3, seed=3, short_share=0.25)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(denoiser, "SHORT", (((2, 4, 4), 2), ((3, 4, 4), 1)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained(steps: int, start: Path | None = None, seconds: float = 0.0) -> denoiser.Training:
    """A training after so many steps, from scratch or from a saved state."""
    training = denoiser.Training(components.build(0), PLAN)
    if start:
        training.load(start)
    while training.step < steps:
        training.seconds = seconds
        training.advance()
    return training


def weights(training: denoiser.Training) -> Any:
    return torch.cat([p.flatten() for p in training.modules.parameters()])


def test_a_batch_is_decided_by_seed_and_step_alone() -> None:
    one, same, other = (flow.draw_batch((2, 4, 4), 2, seed=1, step=step) for step in (5, 5, 6))
    assert one.prompts == same.prompts and torch.equal(one.video_noise, same.video_noise)
    assert torch.equal(one.video, same.video) and torch.equal(one.sigma, same.sigma)
    assert not torch.equal(one.video_noise, other.video_noise)
    assert one.video.shape == (2, 32, clips.CHANNELS) and one.audio.shape == (2, clips.audio_length(2), 128)


def test_weak_passes_of_guidance_are_trained_by_their_shares() -> None:
    found = [tuple(flow.draw_pass(0, step)) for step in range(4000)]
    assert found == [tuple(flow.draw_pass(0, step)) for step in range(4000)]
    for name, share in (
        ("isolate_modalities", flow.ISOLATED_SHARE),
        ("spatio_temporal_guidance_blocks", flow.PERTURBED_SHARE),
    ):
        assert found.count((name,)) / 4000 == pytest.approx(share, abs=0.015), name
    assert found.count(()) / 4000 == pytest.approx(1 - flow.ISOLATED_SHARE - flow.PERTURBED_SHARE, abs=0.02)


def test_a_weak_pass_is_another_prediction() -> None:
    pipe = components.build(0)
    # An untrained model passes nothing between its streams.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in pipe.transformer.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    conditioning, batch = flow.Conditioning(pipe), flow.draw_batch((3, 4, 5), 2, seed=0, step=0)
    blocks = nano.CALL["spatio_temporal_guidance_blocks"]
    with torch.no_grad():
        plain, isolated, perturbed = (
            flow.velocities(pipe, conditioning, batch, how)[0]
            for how in ({}, {"isolate_modalities": True}, {"spatio_temporal_guidance_blocks": blocks})
        )
    assert not torch.allclose(plain, isolated) and not torch.allclose(plain, perturbed)


@pytest.mark.slow
def test_stopping_and_continuing_is_the_same_training(tmp_path: Path) -> None:
    whole = trained(2)
    half = trained(1)
    half.save(tmp_path / "state.pt")
    rest = trained(2, tmp_path / "state.pt")
    assert torch.equal(weights(whole), weights(rest))
    assert rest.step == 2 and rest.loss == pytest.approx(whole.loss)
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.slow
def test_it_learns() -> None:
    training = denoiser.Training(components.build(0), PLAN)
    batch = flow.draw_batch((2, 4, 4), 4, seed=9, step=0)
    with torch.no_grad():
        before = flow.velocity_errors(training.pipe, training.conditioning, batch)
    for _ in range(14):
        training.advance()
    with torch.no_grad():
        after = flow.velocity_errors(training.pipe, training.conditioning, batch)
    for stream, (early, late) in enumerate(zip(before, after, strict=True)):
        assert late.mean() < 0.97 * early.mean(), stream


def test_the_quick_rotation_is_the_same_rotation() -> None:
    pipe = components.build(0)
    conditioning = flow.Conditioning(pipe)
    batch = flow.draw_batch((3, 4, 5), 2, seed=0, step=0)
    with torch.no_grad():
        plain = flow.velocity_errors(pipe, conditioning, batch)
        with flow.quick_rotation():
            quick = flow.velocity_errors(pipe, conditioning, batch)
    for ours, theirs in zip(quick, plain, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5)


def test_an_untrained_stream_passes_its_noise_on() -> None:
    pipe = components.build(0)
    batch = flow.draw_batch((3, 4, 5), 4, seed=0, step=0, sigma=0.99)
    with torch.no_grad():
        found = flow.velocities(pipe, flow.Conditioning(pipe), batch)
    for velocity, noise in zip(found, (batch.video_noise, batch.audio_noise), strict=True):
        assert (velocity * noise).sum() > 0.4 * velocity.norm() * noise.norm()


@pytest.mark.slow
def test_the_average_is_kept_at_each_share_and_left_in_the_pipeline(tmp_path: Path) -> None:
    pipe = components.build(0)
    training = denoiser.Training(pipe, denoiser.TrainingPlan(0.01, 2e-3, 4e-3, 0, 0.25))
    kept: list[tuple[float, Any]] = []
    denoiser.train(
        training,
        tmp_path / "state.pt",
        1.0,
        lambda share: kept.append((share, pipe.transformer.proj_in.weight.clone())),
    )
    assert [share for share, _ in kept] == list(denoiser.KEPT_SHARES)
    assert training.progress >= 1 and (tmp_path / "state.pt").exists()
    average = training.average[0].proj_in.weight
    assert torch.equal(pipe.transformer.proj_in.weight, average)
    assert not pipe.transformer.training


def test_what_is_saved_names_no_folder_and_has_the_weights_in_half(tmp_path: Path) -> None:
    pipe = components.build(0)
    pipe.register_to_config(_name_or_path="/somewhere")
    train.save(pipe, tmp_path)
    for path in tmp_path.rglob("*.json"):
        assert "_name_or_path" not in json.loads(path.read_text(encoding="utf-8"))
    assert {p.dtype for p in pipe.transformer.parameters()} == {torch.float32}
    stored = (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert stored < 2.1 * sum(p.numel() for p in pipe.transformer.parameters())


@pytest.mark.parametrize(
    ("option", "said"), [("--out", "is a file"), ("--keep", "is a file"), ("--state", "is a folder")]
)
def test_a_place_that_cannot_be_written_is_refused_before_the_training(
    option: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path if option == "--state" else tmp_path / "file"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        train.main([option, str(place)])
    assert ended.value.code == 2 and said in capsys.readouterr().err
