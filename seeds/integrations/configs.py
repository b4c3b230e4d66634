r"""From a host's configuration to our schedule, and to the levels of a run: betas, shifts, spacings. NumPy, float64.

    discrete    a table alphas_cumprod of T training steps; x = alpha data + sigma eps; the network is told the whole
                step i
    flow        x = (1 - t) data + t eps, t in [0, 1]; the network is told T t; t is shifted towards noise for large
                images
    edm         x = data + sigma eps; the network is given c_in x and told log(sigma) / 4

"sigma" is what hosts call so: t of a flow schedule, nsr = sigma / alpha of the others.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seeds import grids
from seeds.errors import InputError
from seeds.names import lookup
from seeds.schedules import EDM, Discrete, Flow, Schedule

Numbers = Any
"""A row of float64 numbers, or one."""
Grid = Callable[..., np.ndarray]
"""As those of `seeds.GRIDS`: (schedule, steps, nsr_min=..., nsr_max=...) -> times."""
OUTPUTS = {"epsilon": "noise", "sample": "data", "v_prediction": "v", "flow_prediction": "flow"}
"""What hosts call a network's output."""
EVEN = ("leading", "trailing", "linspace")
OF_SIGMA = ("karras", "exponential", "beta")
SPACINGS = (*EVEN, *OF_SIGMA, "uniform_lam", "auto")
"""Names of hosts, and two of ours; every other grid of `seeds.GRIDS` is a spacing too."""


def betas(config: Mapping[str, Any]) -> np.ndarray:
    """(T,) variances that each training step adds, by the names that hosts use for them.

    linear: from beta_start to beta_end in equal steps. scaled_linear: the same in the root of beta (latent diffusion).
        squaredcos_cap_v2: improved
    DDPM's cosine, capped at 0.999. sigmoid: a logistic rise. `trained_betas` are taken as they are.
    Source: Ho et al. 2020 (arXiv:2006.11239); Rombach et al. 2022 (arXiv:2112.10752); Nichol and Dhariwal 2021
        (arXiv:2102.09672).
    """
    if config.get("trained_betas") is not None:
        return np.asarray(config["trained_betas"], np.float64)
    first, last, count = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    tables: dict[str, Callable[[], np.ndarray]] = {
        "linear": lambda: np.linspace(first, last, count),
        "scaled_linear": lambda: np.linspace(math.sqrt(first), math.sqrt(last), count) ** 2,
        "squaredcos_cap_v2": lambda: _cosine(count),
        "sigmoid": lambda: first + (last - first) / (1 + np.exp(-np.linspace(-6, 6, count))),
    }
    return lookup("beta_schedule", config["beta_schedule"], tables)()


def _cosine(count: int) -> np.ndarray:
    bar = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - bar[1:] / bar[:-1], 0.999)


def alphas_cumprod(config: Mapping[str, Any]) -> np.ndarray:
    """(T,) alpha^2 of each training step; with `rescale_betas_zero_snr` shifted and scaled in alpha, so that the last
    is 0 and the first is kept.

    Source: Lin et al. 2023 (arXiv:2305.08891), algorithm 1.
    """
    alpha = np.sqrt(np.cumprod(1 - betas(config)))
    if config.get("rescale_betas_zero_snr"):
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return alpha**2


def kind_of(config: Mapping[str, Any]) -> str:
    """What the states of a host's scheduler are, by its configuration: discrete, flow or edm."""
    if config.get("kind"):
        return str(config["kind"])
    if "sigma_data" in config and "calls_per_step" not in config:  # an EDM network's; ours names both
        return "edm"
    flow = config.get("shift") is not None or config.get("use_flow_sigmas")
    return "flow" if flow or config.get("prediction_type") == "flow_prediction" else "discrete"


@dataclass(frozen=True)
class HostSchedule:
    """A host's schedule as ours, and what it tells its network.

    Attributes:
        kind: discrete, flow or edm.
        schedule: ours.
        output: what the network was trained to output, for `hosts.denoised`.
        steps: T, its training steps.
        sd: standard deviation of the data, of an EDM network.
    """

    kind: str
    schedule: Schedule
    output: str = "noise"
    steps: int = 1000
    sd: float = 0.5

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "HostSchedule":
        """Of a host's configuration.

        Raises: ValueError if it names what is not known here.
        """
        kind, steps = kind_of(config), int(config["num_train_timesteps"])
        output = lookup("prediction_type", config["prediction_type"], OUTPUTS)
        if kind == "discrete":
            return cls(kind, Discrete(alphas_cumprod(config)), output, steps)
        if kind == "flow":
            return cls(kind, Flow(), "flow" if output == "noise" else output, steps)
        if kind != "edm":
            raise InputError(f"`kind` must be discrete, flow or edm, but is {kind!r}.")
        path = EDM(float(config["sigma_min"] or 0.002), float(config["sigma_max"] or 80.0))
        return cls(
            kind, path, {"noise": "edm_raw", "v": "-edm_raw"}.get(output, output), steps, float(config["sigma_data"])
        )

    @property
    def whole(self) -> bool:
        """The network knows whole steps only."""
        return self.kind == "discrete"

    def known(self, t: Numbers) -> Numbers:
        """The times moved to those that the network knows, all of them different."""
        return _whole(t) if self.whole else t

    def told(self, t: Numbers) -> Numbers:
        """What the network is told at times of the schedule: T t, the whole step, or log(sigma) / 4."""
        if self.kind == "flow":
            return np.asarray(t) * self.steps
        return self.schedule.indices(t) if isinstance(self.schedule, Discrete) else np.log(np.asarray(t)) / 4

    def t_of_told(self, timesteps: Numbers) -> Numbers:
        """The times of the schedule at which the network is told so."""
        timesteps = np.asarray(timesteps, np.float64)
        return (
            timesteps / self.steps
            if self.kind == "flow"
            else np.exp(4 * timesteps)
            if self.kind == "edm"
            else timesteps
        )

    def t_of_sigma(self, sigma: Numbers) -> Numbers:
        """The times of a host's sigmas, moved to whole steps where only those are known."""
        sigma = np.asarray(sigma, np.float64)
        if self.kind == "flow":
            return sigma
        return self.known(
            self.schedule.t_of_nsr(self.schedule.round_nsr(sigma) if isinstance(self.schedule, Discrete) else sigma)
        )

    def sigma_of_t(self, t: Numbers) -> Numbers:
        """A host's sigmas."""
        return np.asarray(t, np.float64) if self.kind == "flow" else self.schedule.nsr(np.asarray(t))


def shift(sigma: Numbers, config: Mapping[str, Any], mu: float | None = None) -> Numbers:
    """Flow times moved towards noise, as hosts mean it: by `mu` where the configuration shifts dynamically, else by its
    own factor s; then stretched, so that the last is `shift_terminal`.

        static s t / (1 + (s - 1) t)        exponential e^mu / (e^mu + 1/t - 1)        linear mu / (mu + 1/t - 1)

    Raises: ValueError if the configuration wants `mu` and none is given.
    Source: Esser et al. 2024 (arXiv:2403.03206), equation 23.
    """
    sigma, factor = np.asarray(sigma, np.float64), float(config["shift"])
    if config.get("use_dynamic_shifting"):
        if mu is None:
            raise InputError(
                "`mu` is missing: this configuration shifts its times by the size of the image (use_dynamic_shifting). "
                "Pass set_timesteps(..., mu=...)."
            )
        factor = lookup("time_shift_type", config["time_shift_type"], {"exponential": math.exp, "linear": float})(mu)
    t = factor * sigma / (1 + (factor - 1) * sigma)
    terminal = config.get("shift_terminal")
    return t if not terminal else 1 - (1 - t) * (1 - terminal) / (1 - t[-1])


def spaced(
    host: HostSchedule,
    count: int,
    name: str,
    config: Mapping[str, Any],
    mu: float | None = None,
    own: Grid = grids.karras,
) -> np.ndarray:
    """(count,) times of the levels of a run, noisiest first.

    Args:
        name: leading, trailing, linspace: equal steps in what the network is told, for EDM networks the same as auto.
            karras, exponential, beta: of the host's sigma. Others: grids of `seeds.GRIDS`; auto: `own`.
        own: the grid of the solver, or of the default.
    Source: Lin et al. 2023 (arXiv:2305.08891), table 2, for the first three; Karras et al. 2022 (arXiv:2206.00364),
        equation 5; Lee et al. 2024 (arXiv:2407.12173) for the Beta(0.6, 0.6) distribution.
    """
    lookup("timestep_spacing", name, dict.fromkeys((*SPACINGS, *grids.GRIDS)))
    even = name in EVEN
    if host.kind == "discrete" and even:
        return host.known(
            np.clip(_even_steps(name, count, host.steps, int(config.get("steps_offset") or 0)), 0, host.steps - 1)
        )
    if host.kind == "flow":
        t = shift(_even_flow(count if even else max(count, 2), config, host.steps), config, mu)
        return t[:count] if even or count == 1 else between_flow(name, t[0], t[-1], count, own)
    values = {end: config.get(end.replace("nsr", "sigma")) for end in ("nsr_max", "nsr_min")}
    ends = {end: float(value) for end, value in values.items() if value is not None}
    path, name = host.schedule, "auto" if even else name
    if count == 1:
        return grids.grid("uniform_lam", path, 1, **ends)[:1]
    if name not in OF_SIGMA:
        return host.known(_grid(name, own)(path, count - 1, **ends))
    first, last = grids.grid("uniform_lam", path, 1, **ends)
    high = min(float(path.nsr(first)), grids.SNR0_AS) if np.isinf(path.nsr(first)) else float(path.nsr(first))
    inner = path.t_of_nsr(between(name, high, float(path.nsr(last)), count)[1:-1])
    return host.known(np.concatenate([[first], inner, [last]]))


def between_flow(name: str, high: float, low: float, count: int, own: Grid) -> np.ndarray:
    """(count,) flow times from high to low: of the host's sigma, which is t, or a grid of `seeds.GRIDS`; auto:
    `own`."""
    if name in OF_SIGMA:
        return between(name, high, low, count)
    return _grid(name, own)(Flow(), count - 1, nsr_max=_nsr(high), nsr_min=_nsr(low))


def _grid(name: str, own: Grid) -> Grid:
    return own if name == "auto" else lookup("grid", name, grids.GRIDS)


def _nsr(t: float) -> float:
    return math.inf if t == 1 else t / (1 - t)


def _even_steps(name: str, count: int, steps: int, offset: int) -> np.ndarray:
    if name == "leading":
        return np.arange(count - 1, -1, -1) * (steps // count) + offset
    if name == "trailing":
        return np.round(steps - steps / count * np.arange(count)) - 1
    return np.round(np.linspace(steps - 1, 0, count) if count > 1 else np.array([steps - 1.0]))


def _even_flow(count: int, config: Mapping[str, Any], steps: int) -> np.ndarray:
    """Flow times before their shift: down to a last interval like the others where discrete schedulers run on flow
    sigmas, else down to 1/T, which FlowMatchEuler has shifted beforehand."""
    if config.get("use_flow_sigmas"):
        return np.linspace(1, 0, count + 1)[:-1]
    last = 1 / steps
    if not config.get("use_dynamic_shifting"):
        last = float(shift(last, {**config, "shift_terminal": None}))
    return np.linspace(1, last, count)


def between(name: str, high: float, low: float, count: int) -> np.ndarray:
    """(count,) sigmas from high to low: the grid of that name in sigma itself, as hosts mean karras, exponential and
    beta."""
    if count == 1:
        return np.array([high])
    return grids.grid("uniform_lam" if name == "exponential" else name, EDM(), count - 1, nsr_min=low, nsr_max=high)


def _whole(t: Numbers) -> np.ndarray:
    """Whole steps, all different: where two fall together the later ones move on, and at the clean end the earlier ones
    back."""
    whole = np.rint(t)
    for i in range(1, len(whole)):
        whole[i] = min(whole[i], whole[i - 1] - 1)
    return np.maximum(whole, np.arange(len(whole) - 1, -1, -1))
