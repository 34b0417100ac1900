"""Opens a run as labelled arrays: an `xarray.DataTree`. xarray and zarr-python are imported when it is called."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from recorder.archive.writer import ArchiveWriter
from recorder.format import protocol
from recorder.format.protocol import Message
from replay.archive.lazy_rows import as_recorded
from replay.archive.reader import root_attributes
from replay.archive.safe_files import Damaged
from replay.archive.store import StoreReader
from replay.model.run import Run
from replay.model.validation import NotARun, check_header
from replay.remote.stores.address import parse_store
from replay.remote.stores.fetch import fetch_small
from replay.remote.stores.problems import StoreProblem
from replay.sources.archive_source import ArchiveSource
from replay.sources.interface import Liveness, Source, damage_of
from replay.sources.open import open_path

if TYPE_CHECKING:
    from xarray import DataTree

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+(?:::[A-Za-z0-9+.-]+)*)://")
_NO_ARCHIVE: Final = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)
"""What the archive writer and xarray raise for names and attributes of a run that they cannot take."""


def open_run(path_or_url: str | os.PathLike[str]) -> DataTree:
    """Open a run as labelled arrays.

    The tree has the groups of the archive: `stage_0/video` and so on with the metrics along `step`, `events`, `system`,
    `snapshots`. Units, labels and descriptions are attributes, and so is what the run's stages were called with. Times
    are datetime64, or seconds as stored if one of them is beyond its range.

    A finished archive is opened through zarr-python, and its values are read when they are used. Of a run that is not
    finished, live or left by a crash, the tree has every row that its journal has now, in memory; its `status` is
    `live` or `unfinished`. The same is done for an archive that is damaged: values that cannot be read are NaN, and the
    attribute `note` lists what is missing. Both lack latents and snapshots, which only a complete archive has.

    Args:
        path_or_url: an archive, as a folder or packed, a journal, or the URL of a finished archive, such as
            `s3://bucket/run.zarr.zip`, which needs the extra of its store. An archive of up to 50 MB is fetched whole
            into the user's cache; a larger one is read through zarr-python as its values are used, which trusts the
            sizes that an archive claims.

    Returns:
        The tree, whose root has no variables; its attributes are the run's.

    Raises:
        NotARun: if it is not a run.
        ImportError: if xarray or the package of a URL's file system is missing, with how to install it.
        OSError: if it cannot be read, also from a store.
        ValueError: if the URL is none of a store that is known.
    """
    given = os.fspath(path_or_url)
    url = _URL.match(given)
    if url is None or Path(given).exists():
        return _open_path(Path(given), _xarray())
    if url[1].lower() == "file":
        return _open_path(Path(unquote(given[url.end() :])), _xarray())
    if "::" in url[1]:
        return _open_url(given, given, url[1].rpartition("::")[2], _xarray())
    return _open_stored(given, _xarray())


def _xarray() -> ModuleType:
    try:
        import xarray
    except ImportError as error:
        raise ImportError(f"open_run needs xarray: pip install 'ltxtui[analysis]', or just xarray ({error})") from None
    module: ModuleType = xarray
    return module


def _open_path(path: Path, xarray: ModuleType) -> DataTree:
    source = _opened(path)
    try:
        messages = list(_polled(source))
        if isinstance(source, ArchiveSource) and _is_whole(source):
            return _open_archive(source.archive.store.path, xarray)
        return _open_messages(messages, source, xarray)
    finally:
        source.close()


def _opened(path: Path) -> Source:
    """The source of a run; of one that ends meanwhile the journal may be gone a moment later."""
    try:
        return open_path(path)
    except FileNotFoundError:
        return open_path(path)


def _polled(source: Source) -> Iterator[Message]:
    while messages := source.poll():
        yield from messages


def _is_whole(source: ArchiveSource) -> bool:
    """Whether zarr-python may open an archive: it trusts the shapes and sizes that the archive claims."""
    archive = source.archive
    return archive.ended and not archive.lost and _coordinates_are_there(archive.store, "")


def _coordinates_are_there(store: StoreReader, group: str) -> bool:
    """Whether every coordinate has a file for all of its values: xarray reads coordinates when it opens an archive."""
    for name in store.names(group):
        path = f"{group}/{name}".lstrip("/")
        try:
            document = store.document(path)
            if document.get("node_type") == "group":
                if not _coordinates_are_there(store, path):
                    return False
            elif document.get("dimension_names") == [name]:
                array = store.array(path)
                if array.covered() < array.rows:
                    return False
        except Damaged:
            return False
    return True


def _open_archive(path: Path, xarray: ModuleType) -> DataTree:
    from zarr.storage import LocalStore, ZipStore

    try:
        # A store, since zarr-python takes a path with `::` for a URL, and a zip file for nothing at all.
        store = ZipStore(path, mode="r") if path.is_file() else LocalStore(path, read_only=True)
        return _open_store(store, xarray)
    except _NO_ARCHIVE as error:
        raise NotARun(f"the run cannot be opened with xarray: {error!r}"[:300]) from error


def _open_store(store: Any, xarray: ModuleType) -> DataTree:
    # Numbers stay as stored, whatever the names of the run's own attributes.
    options = {"engine": "zarr", "mask_and_scale": False, "decode_timedelta": False}
    tree: DataTree
    try:
        tree = xarray.open_datatree(store, **options)
    except (ValueError, OverflowError):  # times beyond what a datetime64 holds: the recorder's clock was wrong
        tree = xarray.open_datatree(store, **options, decode_times=False)
    return tree


def _open_messages(messages: list[Message], source: Source, xarray: ModuleType) -> DataTree:
    """The tree of the archive that would be written if the run ended now."""
    with tempfile.TemporaryDirectory(prefix="ltxtui-open-") as folder:
        made = Path(folder) / "run.zarr"
        writer = ArchiveWriter(made, empty=True)
        try:
            ended = _write(writer, messages)
        except NotARun:
            raise
        except _NO_ARCHIVE as error:
            raise NotARun(f"the run holds what no archive can: {error!r}"[:300]) from error
        finally:
            writer.close()
        tree = _open_archive(made, xarray).load()
    if not ended:
        tree.attrs["status"] = "live" if source.liveness is Liveness.LIVE else "unfinished"
        del tree.attrs["ended"]
    if note := source.note or damage_of(source):
        tree.attrs["note"] = note
    return tree


def _write(writer: ArchiveWriter, messages: list[Message]) -> bool:
    """Write a run's messages as an archive; whether the run has ended. Raises NotARun if they contradict each other."""
    run = Run()
    for message in messages:
        new = _is_new(message, run)
        skipped = run.skipped
        run.feed(message)  # refuses what would have the writer take memory for rows that are not there
        if run.end is not None:
            break
        if new and run.skipped == skipped:
            for one in as_recorded(message):
                writer.feed({"stage": None, "step": None, **one} if one["t"] == protocol.EVENT else one)
    writer.finish(run.end or {"time": 0.0, "status": "recording", "error": None})
    return run.end is not None


def _is_new(message: Message, run: Run) -> bool:
    """False for a stage or a stream that is declared again."""
    if message["t"] not in (protocol.STAGE, protocol.STREAM):
        return True
    stage: Any = message.get("stage")
    if type(stage) is not int or not 0 <= stage < len(run.stages):
        return True
    return message["t"] == protocol.STREAM and message.get("stream") not in run.stages[stage].streams


def _open_stored(url: str, xarray: ModuleType) -> DataTree:
    """An archive on a store: fetched if it is small."""
    try:
        address = parse_store(url)
        path = fetch_small(address)
    except StoreProblem as problem:
        if problem.missing:
            raise NotARun(f"{url} is not a recorded run: {problem}") from problem
        raise OSError(str(problem)) from problem
    if path is None:
        chained = f"zip::{address}" if address.kind == "packed" else str(address)
        return _open_url(url, chained, address.scheme, xarray)
    if "ended" not in root_attributes(path):
        raise NotARun(f"{url} is not finished; open it where its journal is, or copy it once it is finished")
    return _open_path(path, xarray)


def _open_url(given: str, url: str, scheme: str, xarray: ModuleType) -> DataTree:
    """An archive through zarr-python and fsspec, without fetching it."""
    import zarr

    _check_file_system(given, scheme)
    try:
        attributes = zarr.open_group(url, mode="r", use_consolidated=False).attrs
        check_header(attributes)
    except FileNotFoundError as error:
        raise NotARun(f"{url} is not a recorded run: {error}") from error
    except NotARun as error:
        raise NotARun(f"{url}: {error}") from error
    # Arrays of an unfinished archive have spare rows of different numbers.
    if "ended" not in attributes:
        raise NotARun(f"{url} is not finished; open it where its journal is, or copy it once it is finished")
    return _open_store(url, xarray)


def _check_file_system(url: str, scheme: str) -> None:
    try:
        import fsspec
    except ImportError:
        raise ImportError(f"{url} needs fsspec: pip install fsspec, and the package for {scheme}://") from None
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise ImportError(f"{url} needs another package: {error}") from None
    except ValueError:
        raise ValueError(f"{url}: {scheme}:// is not a file system that fsspec supports; give a path") from None
