"""A scheduler of diffusers' form that steps by a named sampler, with seeded noise of its own for each stream."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

# A pipeline that was saved with a StepScheduler is loaded again only if diffusers finds this name next to the class.
from diffusers import SchedulerMixin as SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteSchedulerOutput
from torch import Tensor

from recorder.format.sigma_math import ancestral_down
from recorder.recipes.sampler_name import read_sampler
from recorder.recipes.sampler_steps import Before, StepInputs, next_sample
from recorder.shocks.plan_warnings import Stepping


class StreamNoise:
    """The state of a stream: its generator, and the last step that changed the level. A deep copy is the audio's."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.before: Before | None = None
        self.uncond: Tensor | None = None
        self._generator = torch.Generator("cpu").manual_seed(seed)

    def __deepcopy__(self, memo: dict[int, Any]) -> StreamNoise:
        return StreamNoise((self.seed + 1) % 2**63)

    def like(self, sample: Tensor) -> Tensor:
        """Fresh white noise, the same on every device."""
        return torch.randn(sample.shape, generator=self._generator).to(sample.device)


class StepScheduler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """FlowMatchEulerDiscreteScheduler's levels, and the steps of a named sampler.

    Args:
        sampler: as `read_sampler` reads it.
        seed: of its fresh noise; the audio's is the next one.
        closing: the level that the last step goes to, instead of 0.

    The other parameters are those of FlowMatchEulerDiscreteScheduler.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        base_shift: float | None = 0.5,
        max_shift: float | None = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        shift_terminal: float | None = None,
        time_shift_type: str = "exponential",
        sampler: str = "euler",
        seed: int = 0,
        closing: float = 0.0,
    ) -> None:
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            shift=shift,
            use_dynamic_shifting=use_dynamic_shifting,
            base_shift=base_shift,
            max_shift=max_shift,
            base_image_seq_len=base_image_seq_len,
            max_image_seq_len=max_image_seq_len,
            shift_terminal=shift_terminal,
            time_shift_type=time_shift_type,
        )
        self._sampler = read_sampler(sampler)
        self.stream_noise = StreamNoise(seed)
        self._line: list[float] = []

    @property
    def adds_noise(self) -> bool:
        """Whether its steps add fresh noise."""
        return self._sampler.adds_noise

    @property
    def stepping(self) -> Stepping:
        """How its steps reach a higher level."""
        return self._sampler.stepping

    def noise_free_step(self, sigma: float, sigma_next: float) -> tuple[float, float] | None:
        """Factors of sample and velocity in a step without its fresh noise; None where other things come in."""
        if self._sampler.name == "stochastic":
            return 1 - sigma_next, -(1 - sigma_next) * sigma
        if self._sampler.name != "euler_ancestral":
            return None
        down = ancestral_down(sigma, sigma_next, self._sampler.eta)
        scale = (1 - sigma_next) / (1 - down + 1e-12)
        return scale, scale * (down - sigma)

    # The signature stays: diffusers inspects it before it passes custom σ on.
    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """As in FlowMatchEulerDiscreteScheduler, with the closing level of the configuration."""
        super().set_timesteps(num_inference_steps, device, sigmas, mu, timesteps)
        if self.config.closing:
            self.sigmas[-1] = self.config.closing
        self._line = self.sigmas.tolist()
        self.stream_noise.before = None

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: torch.Generator | None = None,
        return_dict: bool = True,
    ) -> FlowMatchEulerDiscreteSchedulerOutput | tuple[Tensor]:
        """One step of the sampler. Raises ValueError if it needs an unconditional pass and none was made."""
        if self.step_index is None:
            self._init_step_index(timestep)
        index, own = self.step_index, self.stream_noise
        x, velocity = sample.float(), model_output.float()
        sigma, sigma_next = self._line[index], self._line[index + 1]
        uncond, own.uncond = own.uncond, None
        if self._sampler.needs_uncond and uncond is None:
            raise ValueError(f"{self._sampler.name} needs the unconditional pass of every step, and none was made")
        taken = StepInputs(
            x,
            velocity,
            sigma,
            sigma_next,
            lambda: own.like(x),
            own.before,
            None if uncond is None else _like(uncond, x),
            self._sampler.eta,
            self._sampler.s_noise,
        )
        result = next_sample(self._sampler.name, taken).to(model_output.dtype)
        if sigma_next != sigma:  # a level that is repeated has no slope
            own.before = Before(sigma, taken.x0, velocity)
        self._step_index += 1
        return FlowMatchEulerDiscreteSchedulerOutput(prev_sample=result) if return_dict else (result,)


def _like(tokens: Tensor, sample: Tensor) -> Tensor:
    """Packed tokens [B, F·H·W, C] in a sample's layout: also a grid [B, C, F′, H, W] without first frames."""
    if tokens.shape == sample.shape or sample.ndim != 5:
        return tokens.float()
    _, channels, frames, height, width = sample.shape
    grid = tokens.float().reshape(len(tokens), -1, height, width, channels).permute(0, 4, 1, 2, 3)
    return grid[:, :, grid.shape[2] - frames :]
