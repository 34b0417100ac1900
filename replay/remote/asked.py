"""What a viewer asks a relay for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """Which run a viewer asks for.

    Attributes:
        run: part of its name, all of it, or the absolute path of its archive; empty for the only live one.
        wait: whether to wait for the next run that begins.
        packed: whether the packed archive is wanted, not the messages of a live run.
    """

    run: str = ""
    wait: bool = False
    packed: bool = False

    def words(self) -> list[str]:
        """As arguments of a relay."""
        return [f"--run={self.run}", *(["--wait"] if self.wait else []), *(["--packed"] if self.packed else [])]
