"""Shocks in ComfyUI's samplers: a sampler function around another one.

Plain Euler is shocked exactly as in diffusers: at the report of a step the loop is left, the shock is applied, and the
same function continues on the levels that are left. Any other sampler of ComfyUI's core is run in pieces: down to the
level of the shock, where fresh noise is added, and on from there.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from recorder.runners.comfyui.latents import LatentShapes, from_tokens, token_mask
from recorder.runners.comfyui.sampling import ComfySampling, under_way
from recorder.sampling.manual_loop import as_tokens
from recorder.sampling.sampler_step import Injected
from recorder.shocks import noise
from recorder.shocks.action import ShockAction
from recorder.shocks.conductor import Conductor
from recorder.shocks.noise import TokenInfo
from recorder.shocks.plan import PlanError
from recorder.shocks.spec import CRITICAL, Shock

logger = logging.getLogger(__name__)

OURS: Final = "ltxtui"
"""The sampler option that holds what is inside a shocked sampler."""
_CORE: Final = "comfy.k_diffusion.sampling"
_EULER: Final = "sample_euler"
_OWN_LEVELS: Final = frozenset({"sample_dpm_adaptive", "sample_dpm_fast"})
"""Samplers that choose their levels themselves. The nodes of ComfyUI wrap them, outside of its core's module."""


class CannotShock(ValueError):
    """A sampler that a shock cannot act in exactly; the message has the reason and what works."""


@dataclass(frozen=True)
class Inner:
    """What is inside a shocked sampler."""

    function: Callable[..., Any]
    shocks: tuple[Shock, ...] = ()


class _Cut(Exception):
    """Leaves Euler's loop at the report of a step."""

    def __init__(self, position: int, sample: Tensor) -> None:
        super().__init__()
        self.position, self.sample = position, sample


def inner_function(sampler: Any) -> Any:
    """The function of a sampler, without ours around it; None if it has none."""
    options = getattr(sampler, "extra_options", None)
    inside = options.get(OURS) if isinstance(options, dict) else None
    return inside.function if isinstance(inside, Inner) else getattr(sampler, "sampler_function", None)


def is_euler(function: Any, options: Any) -> bool:
    """Whether a sampler is plain Euler, without churn."""
    named = getattr(function, "__module__", "") == _CORE and getattr(function, "__name__", "") == _EULER
    return named and not any(value for name, value in options.items() if name == "s_churn")


def shocked(sampler: Any, shock: Shock) -> Any:
    """A sampler like another one, with a shock more.

    Raises:
        CannotShock: if the shock cannot act exactly in this sampler.
    """
    function, options = inner_function(sampler), getattr(sampler, "extra_options", {})
    if function is None:
        raise CannotShock(f"{type(sampler).__name__} has no sampler function, so a shock cannot act in it")
    if not is_euler(function, options):
        _check_in_pieces(function, shock)
    inside = options.get(OURS)
    before = inside.shocks if isinstance(inside, Inner) else ()
    return _around(sampler, Inner(function, (*before, shock)))


def shockable(sampler: Any) -> Any:
    """A sampler like another one that viewers can shock; the same one if that is not possible exactly."""
    function, options = inner_function(sampler), getattr(sampler, "extra_options", None)
    if function is None or not isinstance(options, dict) or OURS in options or not is_euler(function, options):
        return sampler
    return _around(sampler, Inner(function))


def _around(sampler: Any, inside: Inner) -> Any:
    made = copy.copy(sampler)
    made.sampler_function = sample_with_shocks
    made.extra_options = {**sampler.extra_options, OURS: inside}
    return made


def _check_in_pieces(function: Any, shock: Shock) -> None:
    name = str(getattr(function, "__name__", function)).removeprefix("sample_")
    if getattr(function, "__module__", "") != _CORE or getattr(function, "__name__", "") in _OWN_LEVELS:
        raise CannotShock(f"{name} does not follow the list of levels step by step; choose euler for shocks")
    if shock.is_shaped or len(shock.streams) < 2 or shock.at == CRITICAL or shock.kind == "sigma_bump":
        raise CannotShock(
            f"{shock.describe()}: only euler can be shocked so; in {name} white noise in both streams can"
        )


def sample_with_shocks(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, disable: Any = None,
    **options: Any,
) -> Any:  # fmt: skip
    """A sampler function: the inner one, with shocks. Without a shock it is the inner one, bit for bit."""
    inside: Inner = options.pop(OURS)
    sampling = under_way.get()

    def inner(x: Tensor, sigmas: Tensor, extra: Any, report: Any) -> Any:
        return inside.function(model, x, sigmas, extra_args=extra, callback=report, disable=disable, **options)

    try:
        loop = _Loop.of(model, x, sigmas, extra_args, callback, inside, sampling)
    except Exception as error:  # noqa: BLE001 - the generation continues without shocks
        _notice(sampling, f"no shock acts in this sampling: {error}")
        return inner(x, sigmas, extra_args, callback)
    if is_euler(inside.function, options):
        return loop.in_steps(inner, x)
    return loop.in_pieces(inner, x)


def _notice(sampling: ComfySampling | None, text: str) -> None:
    if sampling is None:
        logger.warning("%s", text)
    else:
        sampling.put("warning", text)


@dataclass
class _Loop:
    """One call of a shocked sampler."""

    sigmas: Tensor
    extra: Any
    callback: Any
    shapes: LatentShapes
    conductor: Conductor
    sampling: ComfySampling | None
    total: int

    @classmethod
    def of(
        cls, model: Any, x: Tensor, sigmas: Tensor, extra: Any, callback: Any, inside: Inner,
        sampling: ComfySampling | None,
    ) -> _Loop:  # fmt: skip
        """Plan the shocks on the levels. A shock that is beyond them is left out, and a line says so."""
        shapes = sampling.sampled.shapes if sampling is not None else _shapes_of(model, x)
        conductor = Conductor(inside.shocks)
        conductor.notice = lambda text: _notice(sampling, text)
        levels = [float(s) for s in sigmas][:-1]
        mask = (extra or {}).get("denoise_mask")
        for stream in shapes.streams:
            try:
                conductor.begin(levels, stream)
            except PlanError as error:
                _notice(sampling, f"left out in this sampling: {error}")
                conductor = Conductor()
                conductor.begin(levels, stream)
        for stream, part in shapes.split(x).items():
            free = None if mask is None else token_mask(shapes.split(mask)[stream].expand_as(part), stream)
            grid = tuple(part.shape[2:]) if stream == "video" else (part.shape[2],)
            conductor.where[stream] = TokenInfo(grid, free)
        made = cls(sigmas, extra, callback, shapes, conductor, sampling, len(sigmas) - 1)
        if sampling is not None:
            sampling.conductor = conductor
            made._tell_levels()
        return made

    def _tell_levels(self) -> None:
        if self.sampling is not None and self._plan.sigmas != self._plan.native:
            self.sampling.levels_changed([*self._plan.sigmas, float(self.sigmas[-1])])

    @property
    def _plan(self) -> Any:
        assert self.conductor.plan is not None
        return self.conductor.plan

    def _levels(self, position: int) -> Tensor:
        """Levels from a row on, with the closing one. The sampler's own tensor as long as nothing has changed."""
        if self._plan.sigmas == self._plan.native:
            return self.sigmas[position:]
        return torch.cat([self.sigmas.new_tensor(self._plan.sigmas[position:]), self.sigmas[-1:]])

    def _reports(self, position: int, then: Callable[[int, Any], None] | None = None) -> Any:
        """The callback for a piece that begins at a row; the progress bar knows the planned number of steps only."""

        def report(given: Any) -> None:
            row = position + int(given["i"])
            if self.callback is not None:
                self.callback({**given, "i": min(row, self.total - 1)})
            if then is not None:
                then(row, given)

        return report

    # -- Euler

    def in_steps(self, inner: Callable[..., Any], x: Tensor) -> Any:
        """Plain Euler, left at the steps that a shock acts at the end of."""
        if self.sampling is not None:
            self.sampling.each_is_a_step = True
        position = 0
        while True:
            try:
                return inner(x, self._levels(position), self.extra, self._reports(position, self._consult))
            except _Cut as cut:
                position, x = cut.position, cut.sample

    def _consult(self, row: int, given: Any) -> None:
        """Leave the loop if a shock acts at the end of this row."""
        plan, sampling = self._plan, self.sampling
        asked = sampling is not None and sampling.shock_waits
        if plan.waiting is None and not asked and not plan.at(row + 1):
            return
        if sampling is not None:
            sampling.shock_waits = False
        sigma = float(plan.sigmas[row])
        xs, x0s = self.shapes.split(given["x"]), self.shapes.split(given["denoised"])
        tokens = {s: (as_tokens(xs[s], s).float(), as_tokens(x0s[s], s).float()) for s in xs}
        actions: dict[str, ShockAction] = {}
        for stream, (sample, x0) in tokens.items():
            action = self.conductor.arriving(row, stream, sample, (sample - x0) / sigma)
            if action is not None:
                actions[stream] = action
        changed = self._plan.sigmas != plan.sigmas
        if changed:
            self._tell_levels()
        if not actions:
            if changed:
                raise _Cut(row + 1, self._plain(given, row))
            return
        after, fresh = self.shapes.split(self._plain(given, row)), {}
        for stream, action in actions.items():
            sample, x0 = tokens[stream]
            shocked, added = noise.apply(
                action, stream, sample, (sample - x0) / sigma, sigma, self.conductor.where[stream]
            )
            after[stream] = from_tokens(shocked, xs[stream]).to(xs[stream].dtype)
            fresh[stream] = Injected(action.reaches, from_tokens(added, xs[stream]))
        self._record(row, next(iter(actions.values())), fresh, changed)
        raise _Cut(row + 1, self.shapes.joined(after))

    def _plain(self, given: Any, row: int) -> Tensor:
        """The sample after the step as Euler would have it."""
        x = given["x"]
        levels = self._levels(row)
        found: Tensor = x + (x - given["denoised"]) / levels[0] * (levels[1] - levels[0])
        return found

    # -- other samplers

    def in_pieces(self, inner: Callable[..., Any], x: Tensor) -> Any:
        """Any sampler, run down to each shock and on from there. Its history is lost there, as after a restart."""
        position = 0
        actions = [a for a in self._plan.actions if a.shock.kind != "sigma_bump"]
        for number, action in enumerate(actions):
            down = action.reaches
            levels = torch.cat([self._levels(position)[: action.position - position], self.sigmas.new_tensor([down])])
            if len(levels) > 1:
                x = inner(x, levels, self._seeded(number), self._reports(position))
            parts, fresh = self.shapes.split(x), {}
            for stream, part in parts.items():
                where = self.conductor.where[stream]
                tokens = as_tokens(part, stream).float()
                xi = noise.fresh_noise(action.shock, action.number, stream, tokens, action.step)
                if action.shock.kind == "additive":
                    _, added = noise.renoised(tokens, action.sigma_down, action.sigma_up, xi, where.free)
                    again = tokens + added
                else:
                    again, added = noise.renoised(tokens, action.sigma_down, action.sigma_up, xi, where.free)
                parts[stream] = from_tokens(again, part).to(part.dtype)
                fresh[stream] = Injected(action.reaches, from_tokens(added, part))
            self._record(action.position - 1, action, fresh)
            x, position = self.shapes.joined(parts), action.position
        return inner(x, self._levels(position), self._seeded(len(actions)), self._reports(position))

    def _seeded(self, piece: int) -> Any:
        """The sampler's arguments for a piece: a sampler that draws noise must not draw the same again."""
        extra = dict(self.extra or {})  # a copy, since some samplers put functions of their own into it
        if piece and isinstance(extra.get("seed"), int):
            extra["seed"] += 7919 * piece
        return extra

    def _record(self, row: int, action: ShockAction, fresh: dict[str, Injected], changed: bool = False) -> None:
        text = self.conductor.describe(action)
        if self.sampling is None:
            logger.info("%s", text)
            return
        self.sampling.injected(fresh)
        details = {**action.as_dict(), **self.conductor.details(action)}
        if changed:
            details["sigmas"] = list(self._plan.sigmas)
        only = None if len(action.shock.streams) > 1 else action.shock.streams[0]
        self.sampling.put("shock", text, step=row, stream=only, payload=details)


def _shapes_of(model: Any, x: Tensor) -> LatentShapes:
    """Shapes of the streams, as the guider keeps them with its conditionings.

    Raises:
        ValueError: if they are not known.
    """
    if x.ndim == 5:
        return LatentShapes.of([x.shape])
    conds = (getattr(getattr(model, "inner_model", None), "conds", None) or {}).get("positive") or [{}]
    kept = conds[0].get("model_conds", {}).get("latent_shapes")
    if kept is None:
        raise ValueError("the shapes of the packed latents are not known")
    return LatentShapes.of(kept.cond)
