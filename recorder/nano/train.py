"""Train the nano LTX 2.3 on clips drawn on the fly: `python -m recorder.nano.train --help`.

Rectified flow (Liu et al., 2209.03003): x = (1−σ)·x0 + σ·ε, the target is the velocity ε − x0, one σ per clip shared
by video and audio. σ is drawn uniformly and shifted towards 1, where the layout of a clip is decided.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import LTX2Pipeline
from tqdm import tqdm

from recorder.nano import clips, components

TEXT_LENGTH = 16
GRIDS = ((9, 10, 12), (9, 10, 12), (9, 8, 8), (5, 10, 12))
"""Latent grids (frames, rows, columns) that batches are drawn on, in turn; the first is the home size."""
DECODER_GRIDS = ((4, (3, 4, 4)), (5, (2, 4, 5)), (3, (3, 5, 4)))
"""Pieces a step, and latent grid (frames, rows, columns) of each, that the decoder is trained on in turn."""
DECODER_RATE = 4e-3
EMPTY_PROMPT_SHARE = 0.1


class Conditioning:
    """Frozen text-encoder states of every prompt and of the empty one, so that training never runs Gemma."""

    def __init__(self, pipe: LTX2Pipeline) -> None:
        prompts = [*clips.all_prompts(), ""]
        with torch.no_grad():
            states, mask, _, _ = pipe.encode_prompt(
                prompts, do_classifier_free_guidance=False, max_sequence_length=TEXT_LENGTH
            )
        self.states, self.mask = states, mask
        self.row = {p: i for i, p in enumerate(prompts)}

    def __call__(self, pipe: LTX2Pipeline, prompts: list[str]) -> tuple[torch.Tensor, ...]:
        rows = [self.row[p] for p in prompts]
        text: tuple[torch.Tensor, ...] = pipe.connectors(self.states[rows], self.mask[rows], padding_side="left")
        return text


def batches(batch: int, seed: int) -> Iterator[tuple[tuple[int, int, int], list[str], torch.Tensor, torch.Tensor]]:
    """Endless (grid, prompts, video tokens [B, F·H·W, 8], audio tokens [B, L, 4])."""
    rng = np.random.default_rng(seed)
    prompts = clips.all_prompts()
    turn = 0
    while True:
        grid = GRIDS[turn % len(GRIDS)]
        turn += 1
        chosen = [prompts[i] for i in rng.integers(len(prompts), size=batch)]
        drawn = [clips.draw(p, int(rng.integers(2**31)), *grid) for p in chosen]
        video = torch.from_numpy(np.stack([c.video for c in drawn])).flatten(2).transpose(1, 2).contiguous()
        audio = torch.from_numpy(np.stack([c.audio for c in drawn]))
        kept = [p if rng.random() > EMPTY_PROMPT_SHARE else "" for p in chosen]
        yield grid, kept, video, audio


def velocity_errors(
    pipe: LTX2Pipeline,
    conditioning: Conditioning,
    grid: tuple[int, int, int],
    prompts: list[str],
    video: torch.Tensor,
    audio: torch.Tensor,
    sigma: torch.Tensor,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared velocity error of video and audio, [B] each, at one noise level per clip."""
    noise_v = torch.randn(video.shape, generator=generator)
    noise_a = torch.randn(audio.shape, generator=generator)
    s = sigma[:, None, None]
    text_v, text_a, mask = conditioning(pipe, prompts)
    frames, height, width = grid
    out_v, out_a = pipe.transformer(
        hidden_states=(1 - s) * video + s * noise_v,
        audio_hidden_states=(1 - s) * audio + s * noise_a,
        encoder_hidden_states=text_v,
        audio_encoder_hidden_states=text_a,
        timestep=sigma * 1000,
        sigma=sigma * 1000,
        encoder_attention_mask=mask,
        audio_encoder_attention_mask=mask,
        num_frames=frames,
        height=height,
        width=width,
        fps=clips.FRAME_RATE,
        audio_num_frames=audio.shape[1],
        use_cross_timestep=True,
        return_dict=False,
    )
    error_v = (out_v - (noise_v - video)).square().mean(dim=(1, 2))
    error_a = (out_a - (noise_a - audio)).square().mean(dim=(1, 2))
    return error_v, error_a


def draw_sigmas(batch: int, shift: float, generator: torch.Generator) -> torch.Tensor:
    """One σ per clip: stratified over (0, 1), then shifted towards 1."""
    u = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    return shift * u / (1 + (shift - 1) * u)


def train_denoiser(pipe: LTX2Pipeline, minutes: float, batch: int, rate: float, seed: int) -> None:
    """Train transformer and connectors in place for a fixed time, and leave the exponential average in them."""
    conditioning = Conditioning(pipe)
    modules = torch.nn.ModuleList([pipe.transformer, pipe.connectors])
    modules.train().requires_grad_(True)
    average = copy.deepcopy(modules).requires_grad_(False)
    optimiser = torch.optim.AdamW(modules.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    start, step, smooth = time.monotonic(), 0, float("nan")
    with tqdm(total=round(minutes * 60), unit="s", desc="denoiser") as bar:
        for grid, prompts, video, audio in batches(batch, seed):
            elapsed = time.monotonic() - start
            progress = elapsed / (minutes * 60)
            if progress >= 1:
                break
            # Warm up, hold, then decay over the last 40 %: the budget is time, so the schedule follows the clock.
            pace = min(1.0, (step + 1) / 100) * min(1.0, 0.02 + (1 - progress) / 0.4)
            for group in optimiser.param_groups:
                group["lr"] = rate * pace
            sigma = draw_sigmas(batch, 3.0, generator)
            video_error, audio_error = velocity_errors(
                pipe, conditioning, grid, prompts, video, audio, sigma, generator
            )
            loss = video_error.mean() + 0.3 * audio_error.mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
            optimiser.step()
            keep = min(0.998, step / (step + 50))
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(modules.parameters()), 1 - keep)
            step += 1
            smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
            bar.n = min(bar.total, round(elapsed))
            bar.set_postfix(step=step, loss=f"{smooth:.3f}")
    modules.load_state_dict(average.state_dict())
    modules.eval().requires_grad_(False)


def train_decoder(pipe: LTX2Pipeline, minutes: float, rate: float, seed: int) -> None:
    """Train the video decoder in place on pieces of drawn clips, so that generated latents can be seen as pixels."""
    decoder = pipe.vae.decoder.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    rng = np.random.default_rng(seed)
    prompts = clips.all_prompts()
    start, step, smooth = time.monotonic(), 0, float("nan")
    with tqdm(total=round(minutes * 60), unit="s", desc="decoder") as bar:
        while (elapsed := time.monotonic() - start) < minutes * 60:
            pace = min(1.0, (step + 1) / 20) * min(1.0, 0.02 + (1 - elapsed / (minutes * 60)) / 0.5)
            for group in optimiser.param_groups:
                group["lr"] = rate * pace
            # Several small pieces a step: the colour of a single one would pull the whole picture its way.
            count, grid = DECODER_GRIDS[step % len(DECODER_GRIDS)]
            drawn = [
                clips.draw_pixels(prompts[int(rng.integers(len(prompts)))], int(rng.integers(2**31)), *grid)
                for _ in range(count)
            ]
            latents, pixels = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
            loss = (pipe.vae.decode(latents, return_dict=False)[0] - pixels).abs().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
            optimiser.step()
            step += 1
            smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
            bar.n = min(bar.total, round(elapsed))
            bar.set_postfix(step=step, loss=f"{smooth:.3f}")
    decoder.eval().requires_grad_(False)


def report(pipe: LTX2Pipeline, count: int = 24) -> dict[float, float]:
    """Mean squared velocity error of the video stream at a few noise levels, on clips not trained on."""
    conditioning = Conditioning(pipe)
    generator = torch.Generator().manual_seed(999)
    grid = GRIDS[0]
    found: dict[float, float] = {}
    with torch.no_grad():
        for level in (0.95, 0.8, 0.5, 0.2):
            total = 0.0
            for _, (_, prompts, video, audio) in zip(range(count // 4), _home_batches(4), strict=False):
                sigma = torch.full((4,), level)
                error, _ = velocity_errors(pipe, conditioning, grid, prompts, video, audio, sigma, generator)
                total += float(error.mean())
            found[level] = total / (count // 4)
    return found


def _home_batches(batch: int) -> Iterator[tuple[tuple[int, int, int], list[str], torch.Tensor, torch.Tensor]]:
    return (b for i, b in enumerate(batches(batch, seed=10**6)) if i % len(GRIDS) == 0)


def save(pipe: LTX2Pipeline, folder: Path) -> None:
    """Write the pipeline as safetensors, without traces of the machine and the calls it was trained with."""
    # Encoding prompts leaves its padding and length in the tokenizer, where they would be saved with the words.
    pipe.tokenizer.backend_tokenizer.no_padding()
    pipe.tokenizer.backend_tokenizer.no_truncation()
    pipe.save_pretrained(folder, safe_serialization=True)
    for path in folder.rglob("*.json"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recorder.nano.train",
        description=__doc__.splitlines()[0],
        epilog="example:\n  python -m recorder.nano.train --minutes 1 --decoder-minutes 0 --out /tmp/weights",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=45.0, help="time for the denoiser (default: 45)")
    parser.add_argument("--decoder-minutes", type=float, default=8.0, help="time for the video decoder (default: 8)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate (default: 2e-3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", type=Path, help="go on from weights trained earlier instead of from scratch")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe = components.build(options.seed)
    if options.start:
        pipe = LTX2Pipeline.from_pretrained(options.start, local_files_only=True)
    if options.minutes > 0:
        train_denoiser(pipe, options.minutes, options.batch, options.rate, options.seed)
        print("velocity error:", {s: round(e, 3) for s, e in report(pipe).items()})
    if options.decoder_minutes > 0:
        train_decoder(pipe, options.decoder_minutes, DECODER_RATE, options.seed)
    save(pipe, options.out)
    print(f"saved to {options.out}")


if __name__ == "__main__":
    main()
