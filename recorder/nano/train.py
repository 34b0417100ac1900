"""Train the nano LTX 2.3 on clips drawn on the fly: `python -m recorder.nano.train --help`.

docs/nano.md says how the weights in the package were made.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video, LTX2Pipeline

from recorder.nano import components, decoder, denoiser, flow, start

HALVED = ("transformer", "connectors", "vae", "audio_vae", "vocoder", "text_encoder")
"""Components that are stored in half precision, as the real model is; loading makes them float32 again."""


def save(pipe: LTX2Pipeline, folder: Path) -> None:
    """Write the pipeline as safetensors, without traces of the machine and the calls it was trained with.

    The weights in memory are rounded as those on the disk are.
    """
    # Encoding prompts leaves its padding and length in the tokenizer, where they would be saved with the words.
    pipe.tokenizer.backend_tokenizer.no_padding()
    pipe.tokenizer.backend_tokenizer.no_truncation()
    for name in HALVED:
        getattr(pipe, name).half()
    pipe.save_pretrained(folder, safe_serialization=True)
    for name in HALVED:
        getattr(pipe, name).float()
    for path in folder.rglob("*.json"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        cleaned = _portable(settings)
        if cleaned != settings:
            path.write_text(json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _portable(settings: Any) -> Any:
    """A configuration without the folder it came from, and with float32 as what its weights are loaded as."""
    if not isinstance(settings, dict):
        return settings
    kept = {name: _portable(value) for name, value in settings.items() if name != "_name_or_path"}
    # diffusers loads any weights as float32 unless told otherwise, transformers as what they were saved from.
    return kept | ({"dtype": "float32"} if "dtype" in kept else {})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=105.0, help="time planned for the denoiser (default: 105)")
    parser.add_argument("--until", type=float, default=1.0, metavar="SHARE", help="stop after this share of that time")
    parser.add_argument("--decoder-minutes", type=float, default=8.0, help="time for the video decoder (default: 8)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of AdamW (default: 2e-3)")
    parser.add_argument("--matrix-rate", type=float, default=8e-3, help="peak learning rate of Muon (default: 8e-3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--state", type=Path, help="file that a training is saved to, and continued from if it exists")
    parser.add_argument("--keep", type=Path, help="folder for the models after 5, 15 and 40 %% of the time")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="begin with this model's weights that still fit")
    parser.add_argument("--decoder-from", type=Path, metavar="FOLDER", help="take the video decoder of this model")
    parser.add_argument("--short-share", type=float, default=0.15, help="share of the time for short clips, at first")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    pipe = components.build(options.seed)
    if options.start:
        print(f"{start.from_earlier(pipe, options.start):.0%} of the weights begin as those of {options.start}")
    if options.decoder_from:
        trained = AutoencoderKLLTX2Video.from_pretrained(options.decoder_from / "vae", torch_dtype=torch.float32)
        pipe.vae.decoder.load_state_dict(trained.decoder.state_dict())
    if options.decoder_minutes > 0:
        decoder.train(pipe, options.decoder_minutes, options.seed)
    if options.minutes > 0:
        plan = denoiser.Plan(options.minutes, options.rate, options.matrix_rate, options.seed, options.short_share)
        training = denoiser.Training(pipe, plan)
        if options.state and options.state.exists():
            training.load(options.state)

        def keep(share: float) -> None:
            if options.keep:
                save(pipe, options.keep / f"{round(100 * share):02d}")

        denoiser.train(training, options.state, options.until, keep)
        print(f"{training.seconds / 60:.0f} minutes, {training.step} steps, loss {training.loss:.3f}")
        print("velocity error:", {s: round(e, 3) for s, e in flow.report(pipe).items()})
    save(pipe, options.out)
    print(f"saved to {options.out}")


if __name__ == "__main__":
    main()
