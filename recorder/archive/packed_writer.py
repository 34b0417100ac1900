"""An archive that becomes one file when its run ends: a short run is kept in memory until then, without a folder.

A crash before that loses nothing: the journal has it all, as it has for a folder. What the journal does not hold, the
latents, makes the folder at once; so does a run that grows.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any, Final

from recorder.archive.leftovers import deleted
from recorder.archive.zarr_writer import StoreWriter, new_folder
from recorder.archive.zip_writer import sync_zip, write_zip
from recorder.format import locations
from recorder.system.move_remove import remove
from recorder.system.open_folders import Tree, open_place, replace_file

MAX_MEMORY: Final = 32 << 20
"""Bytes of files that are kept in memory; a run of some thousand steps."""


class PackedStoreWriter(StoreWriter):
    """A store whose files are in memory, or in a folder once that is needed, and in one zip file in the end."""

    def __init__(self, path: Path, attributes: dict[str, Any]) -> None:
        """Make the root group in memory. It writes no file yet and raises no error."""
        self._files: dict[str, bytes] | None = {}
        self._held = 0
        self._sealed = False
        super().__init__(path, attributes)

    def _open(self) -> Tree | None:
        return None

    def write(self, name: str, data: bytes, below: str | None = None) -> None:
        if self._files is not None:
            self._held += len(data) - len(self._files.get(name, b""))
            self._files[name] = data
            self.written += 1
            if self._held > MAX_MEMORY:
                self.need_folder()
        else:
            super().write(name, data, below)

    def read(self, name: str) -> bytes:
        if self._files is None:
            return super().read(name)
        try:
            return self._files[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None

    def remove(self, name: str) -> None:
        if self._files is None:
            super().remove(name)
        else:
            self._held -= len(self._files.pop(name, b""))

    def make_folders(self, name: str, below: str) -> None:
        if self._files is None:
            super().make_folders(name, below)

    def need_folder(self) -> None:
        """Write what is in memory into a folder, and everything that follows too. Raises OSError, as for a folder."""
        if self._files is None:
            return
        tree = Tree(new_folder(self.path))
        try:
            for name, data in self._files.items():
                above, _, last = name.rpartition("/")
                _make(tree, above)
                replace_file(last, data, tree.folder(above))
                self._unsynced.add(name)
        except BaseException:
            tree.clear()
            tree.close()
            with contextlib.suppress(OSError):
                self.path.rmdir()
            raise
        self._tree, self._files, self._held = tree, None, 0

    def seal(self) -> None:
        """Write the file, and remove the folder if there is one. Raises OSError when the disk does."""
        target = locations.packed_of(self.path)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "another run has its place", str(target))
        if self._files is not None:
            write_zip(target, self._files, self._files.__getitem__, sync=False, at_once=True)
            self._files = {}
        else:
            write_zip(target, list(self.tree.files()), self._read_counted)
            self._remove_folder()
        self._sealed = True
        self.written += 1

    def _read_counted(self, name: str) -> bytes:
        self.written += 1  # a caller that waits for a slow disk sees progress
        return self.tree.read(name)

    def _remove_folder(self) -> None:
        """Remove the folder under a hidden name, so that no list shows a run that is half removed."""
        place, going = open_place(self.path.parent), deleted(self.path)
        try:
            with contextlib.suppress(OSError):
                os.rename(self.path.name, going, src_dir_fd=place, dst_dir_fd=place)
                remove(going, place)
        finally:
            os.close(place)

    def sync(self) -> None:
        if self._sealed:
            sync_zip(locations.packed_of(self.path))
        elif self._files is None:
            super().sync()

    def check_place(self) -> None:
        if self._files is None and not self._sealed:
            super().check_place()

    def discard(self) -> None:
        if self._files is not None:
            self._files = {}
        elif not self._sealed:
            super().discard()

    def _make_node(self, name: str) -> None:
        if self._files is None:
            super()._make_node(name)


def _make(tree: Tree, folder: str) -> None:
    at = ""
    for part in folder.split("/") if folder else ():
        at = f"{at}/{part}" if at else part
        tree.make(at)
