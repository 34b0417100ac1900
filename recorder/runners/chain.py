"""Turns evaluations of a model into rows: the sample of the next evaluation is the result of the step before."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recorder.metrics.latent_layout import LatentLayout
from recorder.runners.evaluation import Begun, Evaluation, laid_sample, same_level
from recorder.sampling.sampler_step import Injected
from recorder.sampling.stage import Misfit
from recorder.sampling.stages import Stages


@dataclass
class _Link:
    """One stream of the stage under way."""

    layout: LatentLayout
    shape: tuple[int, ...]
    """Of the samples."""
    begun: Begun | None = None
    """The step whose result is not known yet."""
    undecided: Begun | None = None
    """The last evaluation, if it is not known yet whether it began a step."""
    next_begins: bool = False
    """The last step is known to have ended."""
    conditioned: bool = False
    """Nothing of the stream is generated, so it has no rows."""


class Chain:
    """The evaluations of one line of stages, in any sampler.

    A row is a step of the schedule: it begins with an evaluation at the step's own level, and its result is the sample
    of the evaluation that begins the next one. Evaluations in between are counted. The sampler itself need not be
    known, and steps may jump over levels or back to higher ones.

    The stage has to begin first. A stream's layout is read from its first evaluation. Not thread-safe: one chain
    belongs to one loop.
    """

    def __init__(self, stages: Stages, pipe: Any = None) -> None:
        """Report steps to a line of stages; `pipe` is what a viewer's `stop` interrupts."""
        self._stages = stages
        self._pipe = pipe
        self._links: dict[str, _Link] = {}
        self._refused: set[str] = set()
        self._reported = False
        """The sampler reports where its steps begin."""
        self._completed = False
        """A row has been handed over since viewers' commands were looked at."""

    def evaluated(self, one: Evaluation) -> None:
        """Take one evaluation. Every row that it completes is handed over.

        Raises:
            ValueError: if arguments do not fit together; `Misfit` if the shape changes within a stage.
        """
        one.check()
        stages, stream = self._stages, one.stream
        if stages.book.off or stream in self._refused:
            return
        if stages.captured():
            if one.midpoint is not True:
                self._forget(stream)
                stages.leaves_out(stream)
            return
        stages.announce()
        with torch.no_grad():
            link = self._links.get(stream) or self._joins(one)
            if link is None or link.conditioned:
                return
            if link.shape != tuple(one.sample.shape):
                had, has = list(link.shape), list(one.sample.shape)
                raise Misfit(f"the {stream} samples of this stage are {had}, this one is {has}; begin another stage")
            try:
                self._take(link, one)
            except Misfit:
                raise
            except Exception as error:  # noqa: BLE001 - such as no memory left: the generation continues
                if link.begun is not None:
                    stages.missed(stream, error)
                self._forget(stream)
                if one.midpoint is not True:  # the step that begins here
                    stages.missed(stream, error)
        self._tell_control()

    def _tell_control(self) -> None:
        """Execute a viewer's commands, which wait for the end of a step, if one has ended."""
        completed, self._completed = self._completed, False
        if completed:
            self._stages.control.stepped(self._pipe, self._stages.position())

    def _joins(self, one: Evaluation) -> _Link | None:
        """The link of a stream's first evaluation; None if it cannot be measured now, such as without memory."""
        try:
            layout = one.layout()
        except ValueError:
            self._refused.add(one.stream)
            raise
        except Exception as error:  # noqa: BLE001 - the generation continues
            self._stages.missed(one.stream, error)
            return None
        nothing = LatentLayout(one.stream, one.sample.shape[0], (0,))
        link = _Link(layout or nothing, tuple(one.sample.shape), conditioned=layout is None)
        self._links[one.stream] = link
        return link

    def _take(self, link: _Link, one: Evaluation) -> None:
        if link.begun is not None and one.midpoint is True:
            self.counts(one.stream, one.reused)
            return
        given = Begun.by(one, link.layout)
        if one.injected is not None and (before := link.undecided or link.begun) is not None:
            before.injected = _laid(one.injected, link.layout)
        if link.begun is None or link.next_begins or one.midpoint is False:
            self._decide(link, given.sigma)
            self._begins(link, given)
        else:
            self._decide(link, given.sigma)
            link.undecided = given

    def counts(self, stream: str, reused: bool = False) -> None:
        """Count an evaluation inside the step under way."""
        link = self._links.get(stream)
        if link is not None and link.begun is not None:
            self._counts_undecided(link)
            link.begun.evaluations += not reused

    def _decide(self, link: _Link, sigma: float | None = None) -> None:
        """Whether the undecided evaluation began a step, now that the level of the next one is known; None at the end.

        It did not if the sampler reports its steps and has not reported this one, if its level is not in the schedule,
        or if the next evaluation is at its level again: Heun's method tries a step out from its end.
        """
        if (waiting := link.undecided) is None:
            return
        planned = self._planned
        again = sigma is not None and same_level(waiting.sigma, sigma) and not _repeats(planned, sigma)
        if self._reported or again or (planned and not any(same_level(waiting.sigma, level) for level in planned)):
            self._counts_undecided(link)
        else:
            self._confirm(link)

    @property
    def _planned(self) -> list[float]:
        stage = self._stages.current
        return stage.sigmas if stage is not None else []

    def begins(self) -> None:
        """The last evaluation, given with `midpoint=None`, was at a step's own level: samplers report it so.

        From then on evaluations that are not reported are midpoints.
        """
        self._reported = True
        for link in self._links.values():
            self._guarded(link, self._confirm)
        self._tell_control()

    def ended(self) -> None:
        """The step under way has ended: all its evaluations so far are counted, and the next one begins a step."""
        for link in self._links.values():
            self._counts_undecided(link)
            link.next_begins = link.begun is not None

    def _counts_undecided(self, link: _Link) -> None:
        if link.undecided is not None and link.begun is not None:
            link.begun.evaluations += link.undecided.evaluations
        link.undecided = None

    def _confirm(self, link: _Link) -> None:
        if link.undecided is not None:
            begins, link.undecided = link.undecided, None
            self._begins(link, begins)

    def _begins(self, link: _Link, begun: Begun) -> None:
        """A step begins, so the one before has ended there."""
        before, link.begun, link.next_begins = link.begun, begun, False
        if before is not None:
            self._stages.step(before.ends(begun.sigma, begun.sample))
            self._completed = True

    def injected(self, noise: Mapping[str, Injected]) -> None:
        """The step under way ends with fresh noise, by stream: tokens of the whole sequence, shaped as the sample."""
        for stream, one in noise.items():
            if (link := self._links.get(stream)) is not None and link.begun is not None:
                link.begun.injected = _laid(one, link.layout)

    def reached(self, stream: str, sample: Tensor | None, sigma: float = 0.0) -> None:
        """The last step of a stream has gone to a level; without a sample its result is that of an Euler step."""
        link = self._links.get(stream)
        if link is None or link.conditioned:
            return

        def end(link: _Link) -> None:
            result = None if sample is None else laid_sample(sample, link.layout)
            if self._stages.captured():
                return
            self._decide(link)
            begun, link.begun, link.next_begins = link.begun, None, False
            if begun is not None:
                self._stages.step(begun.ends(float(sigma), result))
                self._completed = True

        self._guarded(link, end)
        self._tell_control()

    def end(self, complete: bool = True) -> None:
        """End the stage's chain.

        A step whose result was not reported gets that of an Euler step to the next planned level. In a loop that was
        interrupted (not `complete`), it was perhaps not taken, and has no row.
        """
        for stream in list(self._links) if complete else ():
            self.reached(stream, None, self._level_after(stream))
        self._links.clear()
        self._refused.clear()
        self._reported = False

    def _level_after(self, stream: str) -> float:
        """The planned level after the step under way; 0 after the last one."""
        stage = self._stages.current
        known = stage.streams.get(stream) if stage is not None else None
        return next(iter(self._planned[1 + (known.rows if known is not None else 0) :]), 0.0)

    def _guarded(self, link: _Link, do: Callable[[_Link], None]) -> None:
        if self._stages.book.off:
            return
        try:
            with torch.no_grad():
                do(link)
        except Exception as error:  # noqa: BLE001 - such as no memory left: the generation continues
            self._forget(link.layout.stream)
            self._stages.missed(link.layout.stream, error)

    def _forget(self, stream: str) -> None:
        if (link := self._links.get(stream)) is not None:
            link.begun = link.undecided = None


def _laid(noise: Injected, layout: LatentLayout) -> Injected:
    """Injected noise as the generated tokens of a layout."""
    return Injected(noise.sigma_down, None if noise.fresh is None else laid_sample(noise.fresh, layout))


def _repeats(levels: Sequence[float], sigma: float) -> bool:
    """Whether a schedule has a level twice in a row."""
    return any(same_level(a, b) and same_level(a, sigma) for a, b in itertools.pairwise(levels))
