"""A sampler as text, such as `euler` or `euler_ancestral:eta=0.5`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recorder.format.numerals import real
from recorder.shocks.plan_warnings import Stepping

SAMPLER_NAMES: Final = (
    "euler",
    "euler_ancestral",
    "stochastic",
    "euler_cfg_pp",
    "euler_ancestral_cfg_pp",
    "dpmpp_2m",
    "res_multistep",
    "gradient_estimation",
)
_ALIASES: Final = {
    "lcm": "stochastic",
    "euler_a": "euler_ancestral",
    "ancestral": "euler_ancestral",
    "euler_ancestral_rf": "euler_ancestral",
    "dpmpp_2m_ode": "dpmpp_2m",
}
_STEPPING: Final[dict[str, Stepping]] = {
    "euler": "euler",
    "euler_ancestral": "ancestral",
    "stochastic": "stochastic",
}
_NOISY: Final = ("euler_ancestral", "euler_ancestral_cfg_pp", "stochastic")
SECOND_ORDER: Final = ("res_2s", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "dpmpp_sde", "dpmpp_2s_ancestral")
"""Samplers that call the model more than once a step, which a pipeline of diffusers cannot do."""


@dataclass(frozen=True)
class SamplerName:
    """A sampler: its name, and how much fresh noise it adds."""

    name: str = "euler"
    eta: float = 1.0
    s_noise: float = 1.0

    @property
    def adds_noise(self) -> bool:
        """Whether its steps add fresh noise."""
        return self.name in _NOISY and self.s_noise > 0 and (self.name == "stochastic" or self.eta > 0)

    @property
    def stepping(self) -> Stepping:
        """How its steps reach a higher level."""
        return _STEPPING.get(self.name, "predicted")

    @property
    def needs_uncond(self) -> bool:
        """Whether its steps use the unconditional prediction, so that this pass is always made."""
        return self.name.endswith("cfg_pp")


def read_sampler(text: str) -> SamplerName:
    """Read `euler`, `euler_ancestral:eta=0.5,s_noise=1` …

    Raises:
        ValueError: naming what would be right.
    """
    said, _, rest = text.strip().partition(":")
    name = said.strip().lower().replace("-", "_").replace("sample_", "")
    name = _ALIASES.get(name, name)
    if name in SECOND_ORDER:
        raise ValueError(
            f"{name} evaluates the model more than once a step, which diffusers' pipelines cannot; record it in "
            "ltx-pipelines or ComfyUI, or take res_multistep, which is of second order too"
        )
    if name not in SAMPLER_NAMES:
        raise ValueError(f"{said!r} is not a known sampler; those are {', '.join(SAMPLER_NAMES)}")
    found = {"eta": 0.0 if name == "euler_cfg_pp" else 1.0, "s_noise": 1.0}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, _, value = part.partition("=")
        if key not in found or name not in _NOISY:
            takes = "eta and s_noise" if name in _NOISY else "no parameters, since it adds no noise"
            raise ValueError(f"{part!r}: {name} takes {takes}")
        number = real(value)
        if not (0 <= number <= (1 if key == "eta" else 10)):
            raise ValueError(f"{key} of {name} must be from 0 to {'1' if key == 'eta' else '10'}, not {value}")
        found[key] = number
    return SamplerName(name, **found)
