"""The entry of every sampling: a wrapper around ComfyUI's `outer_sample`, put there by a node or for all samplings."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor

from recorder.format.events import reason_of
from recorder.metrics.step import UNKNOWN, Drift
from recorder.runners.comfyui import shocked_sampler, workflow
from recorder.runners.comfyui.host import ExecutingNode, Host, is_ltx
from recorder.runners.comfyui.latents import LatentShapes
from recorder.runners.comfyui.prompt_runs import CancelledInComfyUI, PromptRun, PromptRuns, RecordingOptions, model_path
from recorder.runners.comfyui.sampled import Sampled
from recorder.runners.comfyui.sampling import ComfySampling, under_way
from recorder.runners.evaluation import DriftRule, no_noise, unknown_noise
from recorder.runners.stop import without_frames
from recorder.sampling.given_frames import given_std
from recorder.sampling.metadata import brief
from recorder.shocks import plan_warnings

logger = logging.getLogger(__name__)

_SIGNATURE: Final = (
    "noise",
    "latent_image",
    "sampler",
    "sigmas",
    "denoise_mask",
    "callback",
    "disable_pbar",
    "seed",
)
"""Positional arguments of `outer_sample`; `latent_shapes` is a keyword."""
_NOISELESS: Final = frozenset(
    {"sample_euler", "sample_heun", "sample_heunpp2", "sample_dpm_2", "sample_dpmpp_2m", "sample_ipndm",
     "sample_ipndm_v", "sample_deis", "sample_lms", "sample_res_multistep", "sample_gradient_estimation"}
)  # fmt: skip
"""Samplers that add no noise, at their usual settings."""
_ANCESTRAL: Final = frozenset({"sample_euler_ancestral", "sample_euler_ancestral_RF"})


class Adapter:
    """Records the samplings of one ComfyUI."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.runs = PromptRuns(host)

    def wrapper(self, options: RecordingOptions) -> Callable[..., Any]:
        """A wrapper for OUTER_SAMPLE."""

        def outer_sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
            return self._sample(executor, args, kwargs, options)

        return outer_sample

    def record_everything(self, recording: RecordingOptions = RecordingOptions()) -> None:  # noqa: B008 - frozen
        """Record every LTX sampling of this process, without a node in the graph; once.

        The guider's `sample` is replaced, which every node that samples calls. Model and graph are not touched.
        """
        guiders = self.host.samplers.CFGGuider
        original = guiders.sample
        if getattr(original, "_ltxtui", False):
            return

        @functools.wraps(original)
        def sample(guider: Any, *args: Any, **kwargs: Any) -> Any:
            options = guider.model_options
            try:
                if is_ltx(guider) and not self.host.has_wrapper("OUTER_SAMPLE", options):
                    mine = self.host.patcher.copy_nested_dicts(options)
                    self.host.add_wrapper("OUTER_SAMPLE", self.wrapper(recording), mine)
                    guider.model_options = mine
            except Exception as error:  # noqa: BLE001 - the sampling continues
                _report(error)
            try:
                return original(guider, *args, **kwargs)
            finally:
                guider.model_options = options

        sample._ltxtui = True  # type: ignore[attr-defined]
        guiders.sample = sample

    def _sample(self, executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: RecordingOptions) -> Any:
        guider = getattr(executor, "class_obj", None)
        outer = under_way.get()
        if not is_ltx(guider) or (outer is not None and outer.guider is guider):  # node and setting: recorded once
            return executor(*args, **kwargs)
        place, key = self.host.place(), ""
        try:
            given = dict(zip(_SIGNATURE, args, strict=False)) | kwargs
            sampled = self._sampled(guider, given, place)
            key, run = self.runs.of(place, guider, options)
            sampling = ComfySampling(self.host, guider, sampled, run.handle)
            given = self._watched(guider, sampling, given, options)
        except Exception as error:  # noqa: BLE001 - the sampling continues
            _report(error)
            self.runs.sampled(key, place)
            return executor(*args, **kwargs)
        if stopping(run):
            raise self.host.interrupt
        token = under_way.set(sampling)
        try:
            named = {name: value for name, value in given.items() if name not in _SIGNATURE[: len(args)]}
            out = executor(*(given[name] for name in _SIGNATURE[: len(args)]), **named)
        except BaseException as failure:
            sampling.leave()
            run.failure = CancelledInComfyUI() if isinstance(failure, self.host.interrupt) else without_frames(failure)
            raise
        else:
            run.failure = None
            sampling.end(lambda: self._left(guider, given["sampler"], sampling.sampled, out))
            return out
        finally:
            under_way.reset(token)
            self.runs.sampled(key, place)

    def _watched(
        self, guider: Any, sampling: ComfySampling, given: dict[str, Any], options: RecordingOptions
    ) -> dict[str, Any]:
        """The arguments of the sampling with our callback, and our wrappers in the guider's options."""
        self.host.add_wrapper("PREDICT_NOISE", sampling.predict_noise, guider.model_options)
        self.host.add_wrapper("CALC_COND_BATCH", sampling.calc_cond_batch, guider.model_options)
        sampler = given["sampler"]
        if options.allow_control:
            sampler = shocked_sampler.shockable(sampler)
        return {**given, "sampler": sampler, "callback": sampling.callback(given.get("callback"))}

    def _left(self, guider: Any, sampler: Any, sampled: Sampled, out: Any) -> Tensor:
        """The latents that the sampler left at the last level, of what `outer_sample` returned."""
        if getattr(out, "is_nested", False):
            out = sampled.shapes.joined(dict(zip(sampled.shapes.streams, out.unbind(), strict=False)))
        left: Tensor = guider.model_patcher.model.process_latent_in(out)
        last = sampled.levels[-1]
        # ComfyUI divides by 1 − σ where a list does not end at 0, so that the next sampler can begin there.
        scaled = 0 < last < 1 and isinstance(sampler, self.host.samplers.KSAMPLER)
        return left * (1 - last) if scaled else left

    def _sampled(self, guider: Any, given: Mapping[str, Any], place: ExecutingNode) -> Sampled:
        levels = tuple(float(s) for s in given["sigmas"].detach().cpu())
        shapes = LatentShapes.of(given.get("latent_shapes") or [given["latent_image"].shape])
        mask = given.get("denoise_mask")
        free = mask if isinstance(mask, Tensor) else None
        name = sampler_name(given["sampler"])
        cfg = getattr(guider, "cfg", None)
        scale = float(cfg) if isinstance(cfg, int | float) else math.nan
        graph = self.host.workflow()
        metadata = {
            "prompt": brief(workflow.prompt_of(graph, place.node, "positive")),
            "negative_prompt": brief(workflow.prompt_of(graph, place.node, "negative")),
            "seed": brief(given.get("seed")),
            "pipeline": f"ComfyUI {type(guider).__name__}",
            "model": workflow.model_file(graph, place.node) or model_path(guider),
            "transformer": {"class": type(guider.model_patcher.model).__name__},
            "scheduler": {"class": name, "config": brief(_settings(given["sampler"]))},
            "arguments": brief({"cfg": cfg, "sigmas": list(levels), "shapes": [list(s) for s in shapes.shapes]}),
            "given_std": given_std({"latents": shapes.split(given["latent_image"]).get("video")}),
            "node": place.node,
            "node_class": str(workflow.node(graph, place.node).get("class_type", "")),
        }
        stepping = _STEPPING.get(name, "own")
        cautions = plan_warnings.of_list([s for s in levels[:-1]] if levels[-1:] == (0.0,) else levels, stepping)
        return Sampled(
            levels,
            name not in _OWN_LEVELS,
            shapes,
            free,
            metadata,
            tuple(cautions),
            drift_rule(given["sampler"]),
            scale,
        )


_STEPPING: Final[dict[str, plan_warnings.Stepping]] = {
    "sample_euler": "euler",
    **dict.fromkeys(_ANCESTRAL, "ancestral"),
}


_OWN_LEVELS: Final = frozenset({"dpm_fast_function", "dpm_adaptive_function"})
"""Samplers that choose their levels themselves."""


def stopping(run: PromptRun) -> bool:
    """Whether a viewer has stopped the run of this prompt in an earlier sampling."""
    opened = run.opened
    return opened is not None and opened.stopping


def sampler_name(sampler: Any) -> str:
    """The name of a sampler's function, such as `sample_euler`, or its class."""
    function = shocked_sampler.inner_function(sampler)
    return str(getattr(function, "__name__", type(sampler).__name__))


def _settings(sampler: Any) -> dict[str, Any]:
    options = getattr(sampler, "extra_options", None)
    return {str(k): v for k, v in options.items() if k != shocked_sampler.OURS} if isinstance(options, Mapping) else {}


def drift_rule(sampler: Any) -> DriftRule:
    """A sampler's step without its own noise; unknown for most."""
    name, settings = sampler_name(sampler), _settings(sampler)
    if name in _ANCESTRAL and set(settings) <= {"eta", "s_noise"}:
        return functools.partial(_ancestral, float(settings.get("eta", 1.0)), float(settings.get("s_noise", 1.0)))
    return no_noise if name in _NOISELESS and not settings else unknown_noise


def _ancestral(eta: float, strength: float, sigma: float, sigma_next: float) -> Drift | None:
    """Euler's step to a lower level, scaled so that noise takes it up to the next one."""
    if not eta or not strength or sigma_next <= 0:
        return None
    if not 0 < sigma_next < sigma:
        return UNKNOWN
    down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
    scale = (1 - sigma_next) / (1 - down)
    return Drift(scale, scale * (down - sigma))


def _report(error: Exception) -> None:
    logger.error("this sampling is not recorded: %s", reason_of(error))
    logger.debug("details", exc_info=error)
