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

from recorder.nano import components, decoder, denoiser, distil, flow, start

FROM_SCRATCH = {"rate": 2e-3, "matrix_rate": 8e-3, "short_share": 0.15}
AFTER_A_TEACHER = {"rate": 1e-3, "matrix_rate": 3e-3, "short_share": 0.0}
"""What a training begins with decides how fast it may go, and whether short clips have something to teach."""
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
    parser = _parser()
    options = parser.parse_args(arguments)
    for name, value in (AFTER_A_TEACHER if options.teacher else FROM_SCRATCH).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for folder in (options.start, options.teacher, options.decoder_from):
        if folder and not (folder / "model_index.json").is_file():
            parser.error(f"no model in {folder}; it has to be a folder written by save_pretrained")
    # Before the hours of training, not after them.
    for folder in (options.out, options.keep):
        if folder and folder.is_file():
            parser.error(f"{folder} is a file; name a folder")
    if options.state and options.state.is_dir():
        parser.error(f"{options.state} is a folder; name a file")
    torch.set_num_threads(options.threads)
    pipe = components.build(options.seed)
    if earlier := options.start or options.teacher:
        print(f"{start.from_earlier(pipe, earlier):.0%} of the weights begin as those of {earlier}")
    if options.teacher:
        try:
            _distil(pipe, options)
        except distil.NotATeacher as error:
            parser.error(str(error))
    if options.decoder_from:
        trained = AutoencoderKLLTX2Video.from_pretrained(options.decoder_from / "vae", dtype=torch.float32)
        pipe.vae.decoder.load_state_dict(trained.decoder.state_dict())
    if options.decoder_minutes > 0:
        decoder.train(pipe, options.decoder_minutes, options.seed)
    if options.minutes > 0:
        _denoise(pipe, options)
    save(pipe, options.out)
    print(f"saved to {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recorder.nano.train",
        description=__doc__.splitlines()[0],
        epilog="examples:\n"
        "  python -m recorder.nano.train --minutes 1 --decoder-minutes 0 --out /tmp/weights\n"
        "  python -m recorder.nano.train --teacher first-nano --state nano-state.pt --keep kept",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=58.0, help="time planned for the denoiser (default: 58)")
    add("--until", type=float, default=1.0, metavar="SHARE", help="stop after this share of that time")
    add("--decoder-minutes", type=float, default=5.0, help="time for the video decoder (default: 5)")
    add("--distil-minutes", type=float, default=16.0, help="time to learn from the teacher (default: 16)")
    add("--rate", type=float, help="peak learning rate of AdamW (default: 2e-3, with a teacher 1e-3)")
    add("--matrix-rate", type=float, help="peak learning rate of Muon (default: 8e-3, with a teacher 3e-3)")
    add("--short-share", type=float, help="share of the time for short clips at first (default: .15, with a teacher 0)")
    add("--cross-share", type=float, default=1 / 3, help="share of crosses, which are learned last (default: a third)")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--state", type=Path, help="file that a training is saved to, and continued from if it exists")
    add("--keep", type=Path, help="folder for the models after 5, 15 and 40 %% of the time")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--start", type=Path, metavar="FOLDER", help="begin with this model's weights that still fit")
    begin.add_argument(
        "--teacher",
        type=Path,
        metavar="FOLDER",
        help="the same with the first nano's, and the sound first learns what that one's brings into the picture",
    )
    add("--decoder-from", type=Path, metavar="FOLDER", help="take the video decoder of this model")
    add("--out", type=Path, default=Path(__file__).parent / "weights", help="default: the weights in the package")
    return parser


def _distil(pipe: LTX2Pipeline, options: argparse.Namespace) -> None:
    """Learn from the teacher, unless a saved training is beyond that. Raises NotATeacher."""
    teacher = distil.load_teacher(options.teacher)
    if options.distil_minutes <= 0 or (options.state and options.state.exists()):
        return
    state = options.state and options.state.with_suffix(".distil" + options.state.suffix)
    lesson = distil.distil(pipe, teacher, options.distil_minutes, options.seed, state)
    unlearned = ", ".join(f"{error:.3f}" for error in lesson.unlearned.tolist())
    print(f"distillation: {lesson.step} steps; relative error of what the sound brings, by block: {unlearned}")


def _denoise(pipe: LTX2Pipeline, options: argparse.Namespace) -> None:
    plan = denoiser.TrainingPlan(
        options.minutes, options.rate, options.matrix_rate, options.seed, options.short_share, options.cross_share
    )
    training = denoiser.Training(pipe, plan)
    if options.state and options.state.exists():
        training.load(options.state)

    def keep(share: float) -> None:
        if options.keep:
            save(pipe, options.keep / f"{round(100 * share):02d}")

    denoiser.train(training, options.state, options.until, keep)
    print(f"{training.seconds / 60:.0f} minutes, {training.step} steps, loss {training.loss:.3f}")
    print("velocity error:", {s: round(e, 3) for s, e in flow.report(pipe).items()})


if __name__ == "__main__":
    main()
