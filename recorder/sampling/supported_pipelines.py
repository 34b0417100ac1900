"""The LTX 2.x pipelines and schedulers that can be observed, and how their loops differ. Others are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recorder.format import protocol
from recorder.shocks.plan_warnings import Stepping


@dataclass(frozen=True)
class Family:
    """How to read the denoising loop of one kind of pipeline.

    Attributes:
        streams: the streams whose steps are meaningful.
        prepared: grid and conditioning come from `prepare_latents`, since the model is called without a grid.
        first: the first latent frame that is stepped; the frames before it are given and do not change.
        tiled: each schedule of a call denoises one tile of the clip.
        guiders: attributes of interchangeable guiders, which run guidance as separate model calls.
    """

    streams: tuple[str, ...] = protocol.STREAMS
    prepared: bool = False
    first: int = 0
    tiled: bool = False
    guiders: tuple[str, ...] = ()


_MODULAR = Family(guiders=("guider", "audio_guider"))

FAMILIES: dict[str, Family] = {
    "LTX2Pipeline": Family(),
    "LTX2ImageToVideoPipeline": Family(first=1),
    "LTX2ConditionPipeline": Family(),
    "LTX2InContextPipeline": Family(),
    # Steps its audio scheduler with a velocity of zeros, only to keep two counters equal.
    "LTX2HDRPipeline": Family(streams=("video",)),
    "LTX2DFRPipeline": Family(prepared=True),
    "LTX2DFRTemporalRefinePipeline": Family(prepared=True, tiled=True),
    "LTX2ModularPipeline": _MODULAR,
    "LTX25ModularPipeline": _MODULAR,
}
REFUSED: dict[str, str] = {
    "LTX2LatentUpsamplePipeline": "it denoises nothing, it upsamples in one pass; "
    "record the pipelines before and after it",
    "LTX2VideoDiffusionDecodePipeline": "its decoder denoises pixels in a loop that calls no scheduler, "
    "and the metrics are those of latents; record the pipeline whose latents it decodes",
    "LTXLatentUpsamplePipeline": "it denoises nothing, it upsamples in one pass",
    **dict.fromkeys(
        (
            "LTXPipeline",
            "LTXImageToVideoPipeline",
            "LTXConditionPipeline",
            "LTXI2VLongMultiPromptPipeline",
            "LTXModularPipeline",
        ),
        "it runs LTX-Video, the model before LTX 2, and only the loops of LTX 2.x are observed",
    ),
}
"""Pipelines of diffusers that cannot be recorded, and why."""
SCHEDULERS = ("FlowMatchEulerDiscreteScheduler", "LTXEulerAncestralRFScheduler")
GUIDER = "LTX2Guidance"
"""The guider whose plain model calls are first the conditional and then the unconditional one."""


def _names(thing: Any) -> set[str]:
    """Names of the diffusers classes that something is an instance of."""
    return {c.__name__ for c in type(thing).__mro__ if c.__module__.split(".")[0] == "diffusers"}


def family_of(pipe: Any) -> Family:
    """The family of a pipeline, or of the one it is derived from.

    Raises:
        ValueError: if its loop is unknown.
    """
    names = _names(pipe)
    for name, family in FAMILIES.items():
        if name in names:
            return family
    known = f"the pipelines that can be are {', '.join(FAMILIES)}"
    reason = next((reason for name, reason in REFUSED.items() if name in names), f"its loop is not known; {known}")
    raise ValueError(f"{type(pipe).__name__} cannot be recorded: {reason}")


def check_scheduler(scheduler: Any) -> None:
    """Refuse a scheduler whose steps would be measured wrongly.

    Raises:
        ValueError: with the reason.
    """
    kind = type(scheduler).__name__
    if not _names(scheduler) & set(SCHEDULERS):
        raise ValueError(f"{kind} cannot be recorded: its steps are not those of {' or '.join(SCHEDULERS)}")
    if scheduler.config.get("invert_sigmas"):
        raise ValueError(f"{kind} with invert_sigmas cannot be recorded: its noise levels run from 0 to 1")


def check(pipe: Any) -> Family:
    """The family of a pipeline, after a check that it can be observed with its current schedulers.

    Raises:
        ValueError: if it cannot be observed, with the reason.
    """
    family = family_of(pipe)
    video, audio = getattr(pipe, "scheduler", None), getattr(pipe, "audio_scheduler", None)
    for scheduler in (video, audio):
        if scheduler is not None:
            check_scheduler(scheduler)
    if video is not None and video is audio:
        raise ValueError(f"{type(pipe).__name__} steps video and audio with one scheduler object; give each its own")
    return family


def stepping_of(scheduler: Any) -> Stepping:
    """How a scheduler steps to a higher level, for `plan_warnings.of_list`."""
    if hasattr(scheduler, "stepping"):  # a StepScheduler, which is not imported here
        stepping: Stepping = scheduler.stepping
        return stepping
    if "LTXEulerAncestralRFScheduler" in _names(scheduler):
        return "ancestral"
    return "stochastic" if scheduler.config.get("stochastic_sampling") else "euler"


def passes_are_known(pipe: Any, family: Family) -> bool:
    """Whether the arguments and the order of model calls identify their guidance passes."""
    return all(GUIDER in _names(getattr(pipe, name, None)) for name in family.guiders)
