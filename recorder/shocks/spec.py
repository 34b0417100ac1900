"""What a shock is: kind, place, strength, shape, streams, seed; to and from JSON. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, cast, get_args

from recorder.format import protocol
from recorder.format.declarations import BANDS

Kind = Literal["renoise", "restart", "predict_perturb", "additive", "sigma_bump"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

MEANINGS: Final[dict[Kind, str]] = {
    "renoise": "go further down than the step's end, then re-noise to it with fresh noise: keeps the marginal if weak",
    "restart": "arrive, re-noise up to a higher σ, descend again (Xu et al., 2306.14878): keeps the marginal if weak",
    "predict_perturb": "(1−σ)·x0 + σ·ξ (2601.18577): loses the posterior's variance",
    "additive": "x + k·ξ at the old σ, the naive shock: the sample is noisier than the model expects",
    "sigma_bump": "an up-step in the σ list alone: no fresh noise, Euler re-noises with the predicted ε",
}
KEEPS_MARGINAL: Final[frozenset[Kind]] = frozenset({"renoise", "restart"})
"""Kinds whose re-noising keeps the sample distributed as the model expects at its σ."""
MOVES_SIGMA: Final[frozenset[Kind]] = frozenset({"restart", "sigma_bump"})
"""Kinds that change the σ list, which video and audio share."""

DEFAULT_DB: Final = 3.0
"""Below EDM's churn cap, and below what leaves the marginal by a long Euler step."""
CHURN_CAP_DB: Final = 20 * math.log10(math.sqrt(2))
"""EDM's churn raises σ by at most a factor of √2 in a step (Karras et al., 2206.00364): 3.01 dB."""
EULER: Final = "FlowMatchEulerDiscreteScheduler"
EULER_STEPS: Final = (EULER, "ShockScheduler")
"""Class names of the schedulers that take plain Euler steps, which draw no noise but a shock's."""
MAX_LIST: Final = 4096
CRITICAL: Final = "critical"
EVERY: Final = "every"


@dataclass(frozen=True)
class Shock:
    """One noise shock, or one per step with `at="every"`.

    Attributes:
        kind: see `MEANINGS`.
        at: a float is a σ, an int a step of the native schedule; `"critical"` lets the critical-phase detector decide
            online; `"every"` is every step but the first (renoise and additive). The shock acts on arrival at the first
            native level σ_j ≤ σ, so 1 ≤ j ≤ N−1. None only for a shock that is sent to a running recorder.
        at_snr_db: the place as schedule SNR in dB, instead of `at`.
        strength_db: 20·log10(s_hi/s_lo) with s = σ/(1−σ). 3 by default; a restart at `"critical"` then goes
            back up to the σ of the peak. 0 leaves the shock out.
        to: the strength as a target instead: the σ to go up to (restart, sigma_bump) or down to (renoise, additive).
        eta: the strength as in ancestral sampling instead (renoise, additive): 0 is smooth, 1 the full down-step.
        shape: `"white"`, a band (`"low"`, `"mid"`, `"high"`) or a pair of bounds in parts of the Nyquist frequency:
            noise is fresh in the band, and elsewhere the sample continues as if there were no shock.
        streams: which streams get fresh noise. Video and audio share σ, so `restart` and `sigma_bump` need both.
        frames: latent frames of the video that get fresh noise; None means all. Audio is shocked as a whole.
        mask: the same per place: nested lists `[H][W]` or `[F][H][W]` of 0 and 1 on the latent grid.
        respace: of a restart: no evaluation more; the levels that remain are spread from the new height down.
        seed: of the shock's own generators, one per stream, apart from those of the pipeline.
        stage: the denoising loop of the run that it acts in, counted from 1; None for every loop that reaches it.

    Raises:
        ValueError: if these do not fit together.
    """

    kind: Kind
    at: float | int | str | None = None
    at_snr_db: float | None = None
    strength_db: float | None = None
    to: float | None = None
    eta: float | None = None
    shape: str | tuple[float, float] = "white"
    streams: tuple[str, ...] = protocol.STREAMS
    frames: tuple[int, ...] | None = None
    mask: tuple[Any, ...] | None = None
    respace: bool = False
    seed: int = 0
    stage: int | None = None

    def __post_init__(self) -> None:
        require(self.kind in KINDS, f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        for name in ("at", "at_snr_db", "strength_db", "to", "eta", "seed", "stage"):
            value = getattr(self, name)
            if hasattr(value, "item"):  # a number of NumPy's or torch's, which JSON would not take
                object.__setattr__(self, name, value.item())
        object.__setattr__(self, "streams", _strings(self.streams))
        if self.frames is not None:
            object.__setattr__(self, "frames", tuple(sorted({int(f) for f in self.frames})))
        if self.mask is not None:
            object.__setattr__(self, "mask", _nested(self.mask))
        if not isinstance(self.shape, str):
            object.__setattr__(self, "shape", tuple(float(b) for b in self.shape))
        self._check_place()
        self._check_strength()
        self._check_where()

    def _check_place(self) -> None:
        at = self.at
        require(at is None or self.at_snr_db is None, "give either at or at_snr_db")
        if isinstance(at, str):
            require(at in (CRITICAL, EVERY), f'at is a σ, a step, "critical" or "every", not {at!r}')
            require(at != EVERY or self.kind in ("renoise", "additive"), f"{self.kind} cannot act at every step")
        elif isinstance(at, bool):
            raise ValueError(f"at is a σ, a step, or a word, not {at!r}")
        elif isinstance(at, int):
            require(at >= 1, f"a shock acts on arrival at a step, so at the earliest at step 1, not {at}")
        elif at is not None:
            require(0 < at < 1, f"at as a σ must be between 0 and 1, not {at:g}")
        if self.at_snr_db is not None:
            require(math.isfinite(self.at_snr_db), f"at_snr_db must be a number of dB, not {self.at_snr_db}")

    def _check_strength(self) -> None:
        given = [name for name in ("strength_db", "to", "eta") if getattr(self, name) is not None]
        require(len(given) <= 1, f"give one of {' and '.join(given)}")
        require(not (given and self.kind == "predict_perturb"), "predict_perturb takes no strength")
        if self.strength_db is not None:
            require(0 <= self.strength_db <= 100, f"strength_db must be from 0 to 100, not {self.strength_db:g}")
        if self.to is not None:
            require(0 < self.to < 1, f"to must be a σ between 0 and 1, not {self.to:g}")
        if self.eta is not None:
            require(0 <= self.eta <= 1, f"eta must be from 0 to 1, not {self.eta:g}")
            require(self.kind in ("renoise", "additive"), f"eta belongs to renoise and additive, not to {self.kind}")
        require(not self.respace or self.kind == "restart", "only a restart can be respaced")

    def _check_where(self) -> None:
        known = set(self.streams) <= set(protocol.STREAMS)
        require(bool(self.streams) and known, f"streams must be of {', '.join(protocol.STREAMS)}, not {self.streams}")
        if self.kind in MOVES_SIGMA:
            both = set(self.streams) == set(protocol.STREAMS)
            require(both, f"{self.kind} moves σ, which video and audio share: it cannot act on one stream alone")
        if isinstance(self.shape, str):
            require(
                self.shape == "white" or self.shape in BANDS, f"shape must be white, {', '.join(BANDS)} or two bounds"
            )
        else:
            ordered = len(self.shape) == 2 and 0 <= self.shape[0] < self.shape[1] <= 2
            require(ordered, f"a band is two rising bounds in parts of the Nyquist frequency, not {self.shape}")
        placed = self.shape != "white" or self.frames is not None or self.mask is not None
        require(not (placed and self.kind == "sigma_bump"), "sigma_bump injects no noise, so it has no shape or place")
        require(self.frames is None or self.mask is None, "give either frames or a mask")
        require(not self.frames or self.frames[0] >= 0, "latent frames count from 0")
        require(not self.frames or self.frames[-1] < 1 << 31, "no clip has that many latent frames")
        require(self.frames != (), "frames names no frame")
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        require(whole and 0 <= self.seed < 2**63, f"seed must be a whole number from 0 to 2^63 − 1, not {self.seed}")
        stage = self.stage is None or (isinstance(self.stage, int) and not isinstance(self.stage, bool))
        require(stage and 1 <= (self.stage or 1) < 1 << 31, f"stages count from 1, so stage cannot be {self.stage}")

    def acts_in(self, stage: int | None) -> bool:
        """Whether it may act in a stage of the run, counted from 1; any, if it is not known which that is."""
        return self.stage is None or stage is None or self.stage == stage

    @property
    def is_noop(self) -> bool:
        """True for a shock of zero strength, which is left out before anything is planned."""
        return self.strength_db == 0 or self.eta == 0

    @property
    def is_shaped(self) -> bool:
        """True if the noise is not white everywhere, so that the latent grid must be known."""
        return self.shape != "white" or self.frames is not None or self.mask is not None

    @property
    def band(self) -> tuple[float, float]:
        """Bounds of the shape in parts of the Nyquist frequency; white is everything."""
        if isinstance(self.shape, str):
            return (0.0, 2.0) if self.shape == "white" else BANDS[self.shape]
        return self.shape

    def as_dict(self) -> dict[str, Any]:
        """JSON-like form, without what is at its default; `from_dict` reads it."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: _listed(value) for name, value in found.items()}
        usual = {f.name: _listed(f.default) for f in fields(self)}
        return {name: value for name, value in plain.items() if name == "kind" or value != usual[name]}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Shock:
        """From what `as_dict` gave or a user wrote. Raises ValueError naming what is wrong."""
        if not isinstance(given, Mapping):
            raise ValueError(f"a shock is a table of names and values, not {type(given).__name__}")
        names = {f.name for f in fields(cls)}
        unknown = sorted(str(n) for n in given if n not in names)
        require(not unknown, f"a shock has no {', '.join(unknown)}; it has {', '.join(sorted(names))}")
        require("kind" in given, f"a shock needs a kind: {', '.join(KINDS)}")
        try:
            return cls(**given)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"not a shock: {error}") from error

    def describe(self) -> str:
        """One line, such as `restart at σ 0.93, 3 dB, seed 0`."""
        stage = "" if self.stage is None else f" of stage {self.stage}"
        return f"{self.kind}{self._place()}{stage}{self._strength()}{self._where()}, seed {self.seed}"

    def _place(self) -> str:
        if self.at_snr_db is not None:
            return f" at {self.at_snr_db:g} dB SNR"
        if self.at is None:
            return ""
        if isinstance(self.at, str):
            return " at every step" if self.at == EVERY else " at the critical phase"
        return f" at step {self.at}" if isinstance(self.at, int) else f" at σ {self.at:g}"

    def _strength(self) -> str:
        if self.to is not None:
            return f", to σ {self.to:g}"
        if self.eta is not None:
            return f", η {self.eta:g}"
        if self.kind == "predict_perturb":
            return ""
        if self.strength_db is None:
            back = self.at == CRITICAL and self.kind == "restart"
            return ", back up to the peak" if back else f", {DEFAULT_DB:g} dB"
        return f", {self.strength_db:g} dB"

    def _where(self) -> str:
        shape = self.shape if isinstance(self.shape, str) else f"band {self.shape[0]:g} to {self.shape[1]:g}"
        parts = [] if shape == "white" else [f"{shape} frequencies"]
        if len(self.streams) < len(protocol.STREAMS):
            parts.append(f"{self.streams[0]} only")
        if self.frames is not None:
            parts.append("frames " + "+".join(map(str, self.frames)))
        if self.mask is not None:
            parts.append("masked")
        if self.respace:
            parts.append("respaced")
        return "".join(f", {p}" for p in parts)


def check_live(shock: Shock) -> None:
    """Refuse a shock that names a place: one that is sent to a running recorder cannot.

    Raises:
        ValueError: if it does.
    """
    require(
        shock.at is None and shock.at_snr_db is None,
        "live shocks take effect at the next step; remove at=, sigma=, step= or snr=",
    )


def require(right: bool, otherwise: str) -> None:
    """Raise ValueError with a text unless something holds."""
    if not right:
        raise ValueError(otherwise)


def _strings(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(v) for v in value)


def _nested(value: Any) -> tuple[Any, ...]:
    """A mask as nested tuples of 0 and 1; arrays and tensors are read too."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Sequence) and not isinstance(value, str):
        require(0 < len(value) <= MAX_LIST, f"a mask's side has {len(value)} places")
        return tuple(_nested(v) for v in value)
    require(value in (0, 1), f"a mask holds 0 and 1, not {value!r}")
    return cast(tuple[Any, ...], int(value))


def _listed(value: Any) -> Any:
    return [_listed(v) for v in value] if isinstance(value, tuple) else value
