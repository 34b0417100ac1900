"""The start-up hook of `ltxtui run`: Python imports a module of this name at its start, from PYTHONPATH first.

It waits for the modules that sample LTX 2.x; `wrapping`, next to this folder, then wraps their entry points. A Python
that imports none of them pays for this file alone, which is compiled at each start where byte code is not written. So
it is short, and uses only `sys` and `os`. Its syntax is plain, since any Python may read it.
"""

import os
import sys

NOTES = "LTXTUI_RUN_NOTES"
"""The file that processes append to; see `recorder.runners.launched.notes`."""


def note(kind: str, text: str) -> None:
    """Append a line to the notes, if there are any: what this process did, and what was in the way."""
    line = kind + "\t" + str(os.getpid()) + "\t" + " ".join(text.split()) + "\n"
    try:
        file = os.open(os.environ.get(NOTES, ""), os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, line.encode("utf-8", "replace")[:4000])
        finally:
            os.close(file)
    except OSError:
        pass  # the command has ended, or lost its environment


def watched(name: str) -> bool:
    """Whether a module has entry points. Called for every import of the process."""
    if name.startswith("ltx_pipelines."):
        return not name.startswith("ltx_pipelines.utils") or name == "ltx_pipelines.utils.blocks"
    if name.startswith("diffusers."):
        return name.startswith(("diffusers.pipelines.ltx2.pipeline_", "diffusers.modular_pipelines.ltx2."))
    return name == "comfy.samplers"


def recorder_on(path: list) -> str:  # type: ignore[type-arg]
    """Whether ltxtui is on the path: `there`, `hidden` by a module of a script's own, or empty."""
    loaded = sys.modules.get("recorder")
    if loaded is not None:
        path = [os.path.dirname(folder) for folder in getattr(loaded, "__path__", [])]
    for folder in path:
        here = os.path.join(folder, "recorder")
        if os.path.isdir(os.path.join(here, "runners", "launched")):
            return "there"
        if os.path.isfile(here + ".py") or os.path.isfile(os.path.join(here, "__init__.py")):
            return "hidden"
    return "" if loaded is None else "hidden"


class Finder:
    """Finds nothing by itself: it adds a step to the loading of modules that are watched for."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if not watched(name):
            return None
        finders: list = list(sys.meta_path)  # type: ignore[type-arg]
        for finder in finders:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                after_loading(spec.loader, name)
                return spec
        return None


def after_loading(loader, name: str) -> None:  # type: ignore[no-untyped-def]
    """Wrap a module's entry points once it has been executed.

    The loader stays what it is, so `inspect.getsource`, resources and pickling work as ever.
    """
    load = getattr(loader, "exec_module", None)
    if load is None:
        return

    def exec_module(module: object) -> None:
        loader.__dict__.pop("exec_module", None)
        load(module)
        try:
            wrapping().wrap_all(module, note, recorder_on)  # type: ignore[attr-defined]
        except Exception as error:
            note("trouble", name + " could not be watched: " + repr(error))

    try:
        loader.exec_module = exec_module
    except AttributeError:
        note("trouble", name + " could not be watched: it is loaded by " + type(loader).__name__)


def wrapping() -> object:
    """The module next to this folder, loaded by its path: this Python may have no ltxtui."""
    import importlib.util

    name = "_ltxtui_wrapping"
    if name not in sys.modules:
        path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "wrapping.py")
        spec = importlib.util.spec_from_file_location(name, path)
        made = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(made)  # type: ignore[union-attr]
        sys.modules[name] = made
    return sys.modules[name]


def give_way() -> None:
    """Run the `sitecustomize` that this one hides: of a distribution, or of another tool. It may fail as ever."""
    mine = sys.modules.pop("sitecustomize", None)
    sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", "sitecustomize") != "sitecustomize":
            raise
    finally:
        if mine is not None:
            sys.modules.setdefault("sitecustomize", mine)


if os.environ.get(NOTES) and hasattr(sys, "meta_path"):
    note("started" if recorder_on(sys.path) else "without", str(sys.executable))
    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
give_way()
