"""`python -m recorder.nano export|young`: the nano model as other programs load it, and its youth trained again."""

from __future__ import annotations

import argparse
from pathlib import Path

from recorder import nano


def export(options: argparse.Namespace) -> None:
    """Write a model, and what it makes of every prompt, for other programs."""
    files = [options.contexts, options.path if options.layout == "lightricks" else None]
    for path in filter(None, files):
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name a file, such as {path / 'nano.safetensors'}")
    if options.layout == "diffusers" and options.path.is_file():
        raise NotADirectoryError(f"{options.path} is a file; name a folder")
    pipe = nano.load(weights=options.weights)
    # Only here, since it imports torch: help and mistakes answer at once.
    from recorder.nano import lightricks

    if options.layout == "lightricks":
        count = lightricks.export(pipe, options.path)
        print(f"{options.path}: {count} weights in Lightricks' layout")
    else:
        pipe.save_pretrained(options.path, safe_serialization=True)
        print(f"{options.path}: a folder for diffusers")
    if options.contexts:
        prompts = lightricks.export_contexts(pipe, options.contexts)
        print(f"{options.contexts}: the text context of {len(prompts)} prompts")


def young(options: argparse.Namespace) -> None:
    """Train the first twentieth of the nano model's training again, where `nano:young` is looked for."""
    from recorder.nano import train

    arguments = ["--until", "0.05", "--decoder-minutes", "0", "--decoder-from", str(nano.WEIGHTS)]
    if options.teacher:
        arguments += ["--teacher", str(options.teacher)]
    train.main([*arguments, "--out", str(options.path or nano.weights_of(nano.YOUNG))])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recorder.nano",
        description=__doc__,
        epilog="examples:\n"
        "  python -m recorder.nano export nano.safetensors --layout lightricks --contexts contexts.safetensors\n"
        "  python -m recorder.nano young --teacher first-nano",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    to = commands.add_parser("export", help="write the model as diffusers or as Lightricks' code loads it")
    to.add_argument("path", type=Path, help="a folder for diffusers, a .safetensors file for Lightricks' layout")
    to.add_argument("--layout", choices=("diffusers", "lightricks"), default="lightricks")
    to.add_argument("--contexts", type=Path, metavar="FILE", help="also write the text context of every prompt")
    to.add_argument("--weights", type=Path, default=nano.WEIGHTS, help="default: the ones in the package")
    to.set_defaults(run=export)
    early = commands.add_parser("young", help=f"train {nano.YOUNG}: a model whose clips drift more")
    early.add_argument("path", type=Path, nargs="?", help="default: where the name nano:young is looked for")
    early.add_argument("--teacher", type=Path, metavar="FOLDER", help="the first nano, to learn from it at first")
    early.set_defaults(run=young)
    options = parser.parse_args()
    try:
        options.run(options)
    except (OSError, nano.MissingExtra) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
