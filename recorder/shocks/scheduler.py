"""A scheduler of diffusers' form that injects shocks; works with the recorder and without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

# A pipeline that was saved with a ShockScheduler is loaded again only if diffusers finds this name next to the class.
from diffusers import SchedulerMixin as SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteSchedulerOutput
from torch import Tensor

from recorder.shocks import noise, schedules
from recorder.shocks.action import ShockAction
from recorder.shocks.conductor import Applied, Conductor, StreamState
from recorder.shocks.plan import Plan
from recorder.shocks.spec import Shock

Shocks = Sequence[Shock | Mapping[str, Any]]


class ShockScheduler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """FlowMatchEulerDiscreteScheduler with shocks: the same schedule, and bit for bit the same steps between them.

    `scheduler.sigmas[i]` is always the level the model is called at in step i, on which the pipelines rely. A deep copy
    is the audio's scheduler: it shares the plan and has noise of its own. Where a pipeline has an `audio_scheduler`
    component, make it so: `copy.deepcopy(scheduler)`.

    On packed latents a conditioned token is known by its velocity of zero and left alone; partial conditioning
    strengths, bands, frames and masks need `scheduler.grid` and `scheduler.free`, which `record(pipe, shocks=…)` finds
    out by itself.

    Args:
        shocks: `Shock`s, or their dictionaries, as `save_config` writes them.
        free_sigmas: a σ list of one's own, used as it is, instead of the pipeline's; without the closing 0.

    The other parameters are those of FlowMatchEulerDiscreteScheduler.

    Raises:
        ValueError: for shocks that do not fit together, or a configuration under which no shock is exact.

    Example:
        >>> pipe.scheduler = ShockScheduler.from_config(
        ...     pipe.scheduler.config, shocks=[Shock("restart", at=0.93, strength_db=3)]
        ... )
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
        invert_sigmas: bool = False,
        shift_terminal: float | None = None,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        time_shift_type: str = "exponential",
        stochastic_sampling: bool = False,
        shocks: Shocks = (),
        free_sigmas: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            shift=shift,
            use_dynamic_shifting=use_dynamic_shifting,
            base_shift=base_shift,
            max_shift=max_shift,
            base_image_seq_len=base_image_seq_len,
            max_image_seq_len=max_image_seq_len,
            invert_sigmas=invert_sigmas,
            shift_terminal=shift_terminal,
            use_karras_sigmas=use_karras_sigmas,
            use_exponential_sigmas=use_exponential_sigmas,
            use_beta_sigmas=use_beta_sigmas,
            time_shift_type=time_shift_type,
            stochastic_sampling=stochastic_sampling,
        )
        read = [s if isinstance(s, Shock) else Shock.from_dict(s) for s in shocks]
        own = None if free_sigmas is None else schedules.free(free_sigmas)
        # JSON keeps lists, and this must come back from a file as it was.
        self.register_to_config(shocks=[s.as_dict() for s in read], free_sigmas=None if own is None else list(own))
        give_shocks(self, Conductor(read, own))

    _shocked: StreamState
    sigmas: Tensor
    timesteps: Tensor

    @property
    def shock_plan(self) -> Plan | None:
        """The plan of the loop under way, or of the last one; None before `set_timesteps`."""
        return self._shocked.conductor.plan

    @property
    def applied(self) -> Applied | None:
        """The shock that the last step ended with."""
        return self._shocked.applied

    @property
    def grid(self) -> tuple[int, ...] | None:
        """(F, H, W) of the packed latents, for shocks in a band, in frames or under a mask."""
        return self._shocked.where.grid

    @grid.setter
    def grid(self, grid: tuple[int, ...] | None) -> None:
        self._shocked.conductor.where[self._shocked.stream] = noise.TokenInfo(grid, self.free)

    @property
    def free(self) -> Tensor | None:
        """1 − conditioning strength per token of the packed video, [B, S, 1]."""
        return self._shocked.where.free

    @free.setter
    def free(self, free: Tensor | None) -> None:
        self._shocked.conductor.where[self._shocked.stream] = noise.TokenInfo(self.grid, free)

    # The signature stays: diffusers inspects it before it passes custom σ on.
    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """As in FlowMatchEulerDiscreteScheduler; then the shocks are planned on the schedule that this gives.

        Raises:
            PlanError: if a shock cannot act on it; a ValueError.
        """
        super().set_timesteps(num_inference_steps, device, sigmas, mu, timesteps)
        state = self.__dict__.get("_shocked") or StreamState(Conductor())
        native = [s for s in self.sigmas.tolist() if s > 0]
        made = state.conductor.begin(native, state.stream)
        state.plan, state.applied = made, None
        if list(made.sigmas) == native:
            return
        if timesteps is not None:
            raise ValueError("shocks that change the σ list cannot be used with timesteps of one's own")
        self.sigmas = torch.tensor([*made.sigmas, 0.0], dtype=torch.float32, device=self.sigmas.device)
        self.timesteps = self.sigmas[:-1] * self.config.num_train_timesteps
        self.num_inference_steps = len(made.sigmas)

    def _init_step_index(self, timestep: float | Tensor) -> None:
        if self.begin_index is not None:
            self._step_index = self._begin_index
            return
        # A restart may come back to the first level: the first place with it is meant, not the second.
        self._step_index = int((self.timesteps == timestep).nonzero()[0].item())

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = float("inf"),
        s_noise: float = 1.0,
        generator: torch.Generator | None = None,
        per_token_timesteps: Tensor | None = None,
        return_dict: bool = True,
    ) -> FlowMatchEulerDiscreteSchedulerOutput | tuple[Tensor]:
        """One Euler step, and the shock on arrival if one is planned, was asked for or has just been decided."""
        if self.step_index is None and per_token_timesteps is None:
            self._init_step_index(timestep)
        # A recording that ends meanwhile, in another thread, takes back what it has lent.
        state, index = self.__dict__.get("_shocked") or StreamState(Conductor()), self.step_index
        state.applied = None
        planned = state.conductor.plan is not None and index is not None
        if per_token_timesteps is not None and state.conductor.shocks:
            raise ValueError("shocks are not exact where every token is stepped from a noise level of its own")
        action = None
        if planned and per_token_timesteps is None:
            action = state.conductor.arriving(index, state.stream, sample, model_output)
        (result,) = super().step(
            model_output, timestep, sample, s_churn, s_tmin, s_tmax, s_noise, generator, per_token_timesteps, False
        )
        if planned and per_token_timesteps is None:
            result = self._shock(state, action, index, sample, model_output, result)
        return FlowMatchEulerDiscreteSchedulerOutput(prev_sample=result) if return_dict else (result,)

    def _shock(
        self,
        state: StreamState,
        action: ShockAction | None,
        index: int,
        sample: Tensor,
        velocity: Tensor,
        plain: Tensor,
    ) -> Tensor:
        result = plain
        made = state.conductor.plan
        assert made is not None and state.plan is not None
        if action is not None:
            sigma = state.plan.sigmas[index]
            shocked, fresh = noise.apply(action, state.stream, sample, velocity, sigma, state.where)
            result = shocked.to(plain.dtype)
            state.applied = Applied(action, fresh)
        elif (bump := state.conductor.marks(index, state.stream)) is not None:
            state.applied = Applied(bump, None)
        if made is not state.plan:
            self._follow(state, made)
        return result

    def _follow(self, state: StreamState, made: Plan) -> None:
        """Take the levels of a plan that was changed in the run; there are as many as before."""
        state.plan = made
        self.sigmas = torch.tensor([*made.sigmas, 0.0], dtype=torch.float32, device=self.sigmas.device)
        # In place: the pipeline's loop goes over views of this very tensor.
        self.timesteps.copy_(self.sigmas[:-1] * self.config.num_train_timesteps)


def give_shocks(scheduler: Any, conductor: Conductor, stream: str = "video") -> None:
    """Put a conductor in charge of a scheduler's shocks.

    Raises:
        ValueError: for a configuration under which no shock is exact.
    """
    _check_exact(scheduler)
    scheduler._shocked = StreamState(conductor, stream)


def _check_exact(scheduler: Any) -> None:
    for option in ("stochastic_sampling", "invert_sigmas"):
        if scheduler.config.get(option):
            raise ValueError(f"shocks are not exact with {option}; turn it off in the scheduler's configuration")


def check_lendable(scheduler: Any) -> None:
    """Refuse a scheduler that shocks are not known to be exact with.

    Raises:
        ValueError: with the reason.
    """
    if isinstance(scheduler, ShockScheduler):
        raise ValueError("the pipeline's scheduler is a ShockScheduler with shocks of its own; give them in one place")
    if type(scheduler) is not FlowMatchEulerDiscreteScheduler:
        raise ValueError(
            f"{type(scheduler).__name__} cannot be shocked: its steps are not FlowMatchEulerDiscreteScheduler's; "
            "for noise at every step use that one with shocks=ancestral(eta=…)"
        )
    _check_exact(scheduler)


def lend_shocks(scheduler: Any, conductor: Conductor, stream: str) -> None:
    """Make a FlowMatchEulerDiscreteScheduler a ShockScheduler until `take_back`, keeping the object itself.

    Raises:
        ValueError: as `check_lendable`.
    """
    check_lendable(scheduler)
    give_shocks(scheduler, conductor, stream)
    scheduler._shocked.lent = True
    scheduler.__class__ = ShockScheduler


def take_back(scheduler: Any) -> None:
    """Undo `lend_shocks`; a ShockScheduler of the user's own stays one."""
    state = getattr(scheduler, "_shocked", None)
    if type(scheduler) is ShockScheduler and isinstance(state, StreamState) and state.lent:
        scheduler.__class__ = FlowMatchEulerDiscreteScheduler
        del scheduler._shocked
