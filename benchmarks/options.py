"""The command line of a benchmark: its description, its options, and examples that work."""

from __future__ import annotations

import argparse


def parser(module: str, description: str, *examples: str) -> argparse.ArgumentParser:
    """A parser for `python -m MODULE`.

    Args:
        module: as `python -m` takes it.
        description: the docstring of the module, printed as it is.
        examples: arguments of one example each, with an optional remark after two spaces.
    """
    lines = [f"  python -m {module} {example}".rstrip() for example in examples]
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog="\n".join(["examples:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
