"""The start-up hook of `ltxtui run`: Python imports a module of this name at its start, from PYTHONPATH first.

It waits for the modules that sample LTX 2.x and wraps their entry points. The recorder is imported when one of them is
called, so that a Python that never does so pays for this file alone. Any Python may read it, also one that is older or
has no ltxtui: only `sys` and `os` are used, and the syntax is plain.
"""

import os
import sys

NOTES = "LTXTUI_RUN_NOTES"
"""The file that processes append to; see `recorder.runners.launched.notes`."""
_RECORDER = "recorder.runners.launched.calls"
_STATE = {"refused": False}


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


def entries(module: object) -> list:  # type: ignore[type-arg]
    """What is wrapped in a module, as (owner, name of the method, kind)."""
    name = getattr(module, "__name__", "")
    own = [c for c in list(vars(module).values()) if isinstance(c, type) and c.__module__ == name]
    if name == "comfy.samplers":
        return [(c, "sample", "comfyui") for c in own if c.__name__ == "CFGGuider"]
    if name == "ltx_pipelines.utils.blocks":
        return [(c, "__call__", "stage") for c in own if c.__name__ == "DiffusionStage"]
    if name.startswith("ltx_pipelines."):
        return [(c, "__call__", "ltx-pipelines") for c in own if "__call__" in vars(c)]
    return [
        (c, "__call__", "diffusers") for c in own if c.__name__.startswith("LTX2") and c.__name__.endswith("Pipeline")
    ]


def watched(name: str) -> bool:
    """Whether a module has entry points. Called for every import of the process."""
    if name.startswith("ltx_pipelines."):
        return not name.startswith("ltx_pipelines.utils") or name == "ltx_pipelines.utils.blocks"
    if name.startswith("diffusers."):
        return name.startswith(("diffusers.pipelines.ltx2.pipeline_", "diffusers.modular_pipelines.ltx2."))
    return name == "comfy.samplers"


def wrap(owner: type, name: str, kind: str) -> None:
    """Let a method be recorded; whatever goes wrong, the method itself is called."""
    import functools

    original = getattr(owner, name, None)
    if original is None or getattr(vars(owner).get(name), "_ltxtui_run", False):
        return

    @functools.wraps(original)
    def call(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        calls = recorder(kind)
        if calls is None:
            return original(self, *args, **kwargs)
        return calls.call(kind, owner, original, self, args, kwargs)

    call._ltxtui_run = True  # type: ignore[attr-defined]
    setattr(owner, name, call)


def recorder(kind: str):  # type: ignore[no-untyped-def]
    """The module that records calls; None if this Python cannot."""
    if _STATE["refused"]:
        return None
    try:
        found = recorder_on(sys.path)
        if found == "hidden":
            raise ImportError("a module of its own named recorder hides that of ltxtui")
        if not found:
            here = str(sys.executable)
            raise ImportError(here + " has no ltxtui; install it there: " + here + " -m pip install ltxtui")
        return __import__(_RECORDER, fromlist=["call"])
    except Exception as error:
        _STATE["refused"] = True
        note("trouble", "a call was not recorded, since " + str(error))
        return None


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
            for owner, method, kind in entries(module):
                note("imported", kind)
                wrap(owner, method, kind)
        except Exception as error:
            note("trouble", name + " could not be watched: " + repr(error))

    try:
        loader.exec_module = exec_module
    except AttributeError:
        note("trouble", name + " could not be watched: it is loaded by " + type(loader).__name__)


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
