"""ComfyUI's nodes: LTX Telemetry, LTX Shock and LTX Shock Sigmas, and what loads them."""

from __future__ import annotations

import logging
import os
from typing import Any, Final, cast

from recorder.format.events import reason_of
from recorder.runners.comfyui import shocked_sampler
from recorder.runners.comfyui.host import CannotObserve, Host
from recorder.runners.comfyui.outer import Adapter
from recorder.runners.comfyui.prompt_runs import RecordingOptions
from recorder.shocks import plan as planning
from recorder.shocks.parse import parse_shocks
from recorder.shocks.spec import Kind, Shock

logger = logging.getLogger(__name__)

ENVIRONMENT: Final = "LTXTUI_COMFY"
"""`all` records every LTX sampling, `nodes` only those behind the node; it overrides what was installed."""
_CATEGORY: Final = "ltxtui"
_MAX_SEED: Final = 2**63 - 1

_adapter: Adapter | None = None


def load(record_all: bool) -> tuple[dict[str, type], dict[str, str]]:
    """The nodes, by id, and their titles; `record_all` also records every LTX sampling. Never raises.

    In a ComfyUI that cannot be observed, one line says so, and the nodes pass on what they are given.
    """
    global _adapter
    try:
        _adapter = _adapter or Adapter(Host())  # the shim and the registry's package may both be there
        wanted = os.environ.get(ENVIRONMENT, "all" if record_all else "nodes")
        if wanted not in ("all", "nodes"):
            logger.warning("%s is `all` or `nodes`, not %r; `nodes` is used", ENVIRONMENT, wanted)
        if wanted == "all":
            _adapter.record_everything()
    except CannotObserve as error:
        logger.warning("%s", error)
    except Exception as error:  # noqa: BLE001 - ComfyUI must start
        logger.warning("ltxtui records nothing: %s", reason_of(error))
    nodes: dict[str, type] = {"LTXTelemetry": LTXTelemetry, "LTXShock": LTXShock, "LTXShockSigmas": LTXShockSigmas}
    return nodes, {"LTXTelemetry": "LTX Telemetry", "LTXShock": "LTX Shock", "LTXShockSigmas": "LTX Shock Sigmas"}


class LTXTelemetry:
    """Records the samplings of the model that it passes on."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "attach"
    CATEGORY = _CATEGORY
    DESCRIPTION = "Records every step of an LTX sampling. Place it anywhere between the model's loader and the sampler."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"model": ("MODEL",)},
            "optional": {
                "name": ("STRING", {"default": "", "tooltip": "Follows the time in the run's name."}),
                "save_latents": ("BOOLEAN", {"default": False, "tooltip": "Also keep x and x0 of every step."}),
                "allow_control": (
                    "BOOLEAN",
                    {"default": True, "tooltip": "Let your own viewers stop the sampling and shock it."},
                ),
            },
        }

    def attach(self, model: Any, name: str = "", save_latents: bool = False, allow_control: bool = True) -> tuple[Any]:
        """MODEL → MODEL."""
        if _adapter is None:
            return (model,)
        try:
            made = model.clone()
            wrapper = _adapter.wrapper(RecordingOptions(str(name), bool(save_latents), bool(allow_control)))
            _adapter.host.add_wrapper("OUTER_SAMPLE", wrapper, made.model_options)
        except Exception as error:  # noqa: BLE001 - the generation continues
            logger.error("the samplings of this model are not recorded: %s", reason_of(error))
            return (model,)
        return (made,)


class LTXShock:
    """Shocks the sampler that it passes on."""

    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "shock"
    CATEGORY = _CATEGORY
    DESCRIPTION = "Adds fresh noise in the middle of a sampling: on arrival at the first level at or below sigma."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "sampler": ("SAMPLER",),
                "kind": (["restart", "renoise", "predict_perturb", "additive"], {"default": "restart"}),
                "sigma": ("FLOAT", {"default": 0.93, "min": 0.001, "max": 0.999, "step": 0.001}),
                "db": ("FLOAT", {"default": 3.0, "min": 0.0, "max": 100.0, "step": 0.1}),
                "seed": ("INT", {"default": 0, "min": 0, "max": _MAX_SEED}),
            },
            "optional": {
                "more": (
                    "STRING",
                    {"default": "", "tooltip": "Shocks as text, as for ltxtui record --shock; then only these act."},
                ),
            },
        }

    def shock(self, sampler: Any, kind: str, sigma: float, db: float, seed: int, more: str = "") -> tuple[Any]:
        """SAMPLER → SAMPLER.

        Raises:
            ValueError: if the shock is not one, or cannot act exactly in this sampler; nothing has been sampled then.
        """
        if more.strip():
            shocks = [shock for part in more.split() for shock in parse_shocks(part)]
        else:
            strength = None if kind == "predict_perturb" else float(db)
            shocks = [Shock(cast(Kind, kind), at=float(sigma), strength_db=strength, seed=int(seed))]
        for shock in shocks:
            sampler = shocked_sampler.shocked(sampler, shock)
        return (sampler,)


class LTXShockSigmas:
    """Puts an up-step into the levels that it passes on."""

    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "bump"
    CATEGORY = _CATEGORY
    DESCRIPTION = (
        "An up-step in the list of levels alone: no fresh noise; plain Euler re-noises with the predicted noise."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "sigmas": ("SIGMAS",),
                "sigma": ("FLOAT", {"default": 0.93, "min": 0.001, "max": 0.999, "step": 0.001}),
                "db": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 100.0, "step": 0.1}),
            }
        }

    def bump(self, sigmas: Any, sigma: float, db: float) -> tuple[Any]:
        """SIGMAS → SIGMAS.

        Raises:
            ValueError: if the level is beyond the list.
        """
        levels = [float(s) for s in sigmas]
        planned = planning.plan(levels[:-1], [Shock("sigma_bump", at=float(sigma), strength_db=float(db))])
        if list(planned.sigmas) == levels[:-1]:
            return (sigmas,)
        return (sigmas.new_tensor([*planned.sigmas, levels[-1]]),)
