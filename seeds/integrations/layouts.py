r"""What a host's configuration asks of a run: how many model calls, at which levels, where it ends. NumPy, float64."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seeds import auto
from seeds.errors import InputError
from seeds.grids import GRIDS, Times
from seeds.integrations.calls import COMMON, HostRun, run_at, run_of
from seeds.integrations.configs import EVEN, Grid, HostSchedule, between_flow, shift, spaced
from seeds.names import lookup, resolve
from seeds.predictions import PREDICTIONS
from seeds.solvers import Solver

HIGH = 0.5
"""Of the rule's first level, or the network's noisiest: below, a first answer is not the mean of the data, and a state
that a host passes may hold some."""


@dataclass(frozen=True)
class Layout:
    """Lays out runs of one configuration.

    Attributes:
        host, config: the schedule, and the host's configuration, of which the spacing, the shift and the end are read.
        method, options: the solver, and what `seeds.plan` takes for it.
        aim: of the default, whose rule sets the options that are not said, and the grid; None of a named solver.
        order: entries of the host's list of times for each step: 1, whose count is the number of model calls, or the
            stages of a step.
    """

    host: HostSchedule
    config: Mapping[str, Any]
    method: Solver
    options: Mapping[str, Any]
    order: int = 1
    aim: str | None = None

    def rule(self, calls: int) -> auto.Setting | None:
        """What the default's rule has for so many model calls; None of a named solver."""
        if self.aim is None:
            return None
        return auto.setting(calls, self.aim, resolve("prediction", self.options["prediction"] or "data", PREDICTIONS))

    def settled(self, calls: int, nsr: Sequence[float] | Times = ()) -> Mapping[str, Any]:
        """The options of a run of so many model calls, whose steps begin at these levels, the last where they end."""
        rule = self.rule(calls)
        if rule is None:
            return self.options
        rule = rule.ending(float(nsr[-1])).on(nsr) if len(nsr) else rule
        options = {name: self.options.get(name) for name in COMMON}
        if options["eta"] is None and options["fraction"] is None:
            options["eta"] = rule.eta
        return options | rule.options({name: value for name, value in self.options.items() if name not in COMMON})

    def own(self, calls: int) -> Grid:
        """The grid of the spacing "auto": the solver's own, or the rule's, which on straight paths ends where it says,
        wherever the host's even times end."""
        rule = self.rule(calls)
        if rule is None:
            return lookup("grid", self.method.grid, GRIDS)
        if self.host.kind != "flow":
            return rule.grid
        return lambda path, steps, *, nsr_max, nsr_min: rule.grid(path, steps, nsr_max=nsr_max)

    def at_mean(self, run: HostRun, start_at: str | None) -> bool:
        """Whether a run whose first state is noise alone starts at the mean: as it is said, else as the rule has it,
        high enough."""
        rule, path = self.rule(len(run.t)), self.host.schedule
        if start_at is not None or rule is None:
            return start_at == "mean"
        return rule.start_at == "mean" and float(path.nsr(run.t[0])) >= HIGH * min(
            rule.nsr_max, float(path.nsr(path.t_max))
        )

    @property
    def spacing(self) -> str:
        """The name of the spacing; a configuration may say it in several words."""
        flags = {
            "use_karras_sigmas": "karras",
            "use_exponential_sigmas": "exponential",
            "use_beta_sigmas": "beta",
            "use_lu_lambdas": "uniform_lam",
        }
        own = self.config["timestep_spacing"] or ("linspace" if self.aim is None else "auto")
        spacing = next((name for key, name in flags.items() if self.config[key]), own)
        return (
            (self.config["sigma_schedule"] or "karras")
            if self.host.kind == "edm" and spacing == "linspace"
            else spacing
        )

    @property
    def shifting(self) -> dict[str, Any]:
        """The configuration with one name for the static shift."""
        config = dict(self.config)
        return config | {"shift": config["flow_shift"] if config["shift"] is None else config["shift"]}

    def times_of(self, timesteps: Times | None, sigmas: Times | None, mu: float | None) -> Times | None:
        """The times of a host's own timesteps, or of its sigmas; None if neither is given.

        A flow schedule's sigmas are meant before the shift, and a spacing that is not even then lies between their
        ends, as FlowMatchEuler has it.
        """
        if timesteps is not None:
            return self.host.t_of_told(timesteps)
        if sigmas is None:
            return None
        row = sigmas[:-1] if len(sigmas) > 1 and sigmas[-1] == 0 else sigmas
        if self.host.kind == "flow" and not self.config["sigmas_are_final"]:
            row = shift(row, self.shifting, mu)
            # pipelines pass even sigmas of their own, and mean their ends
            if self.spacing not in EVEN and len(row) > 1:
                row = between_flow(self.spacing, row[0], row[-1], len(row), self.own(len(row)))
        return self.host.t_of_sigma(row)

    def run(self, count: int, t: Times | None, mu: float | None = None) -> HostRun:
        """The run of `count` model calls, or of `count` step starts in the hosts' layout of multi-stage schedulers; at
        the times t, if they are given.

        Raises: ValueError if the network does not know as many steps.
        """
        calls = self.order * count - (self.order - 1)
        if self.host.whole and calls > self.host.steps:
            raise InputError(
                f"{calls} model calls are more than the {self.host.steps} steps that the network knows: ask for fewer."
            )
        path, name, method = self.host.schedule, self.spacing, self.method

        def levels(n: int) -> Times:
            return (
                t if t is not None and n == len(t) else spaced(self.host, n, name, self.shifting, mu, self.own(calls))
            )

        def split(n: int) -> Times:
            """One call leaves SNR 0, so the first of the multi-stage steps is two."""
            row = levels(n - 1) if n > 2 else levels(n)
            return row if n <= 2 else np.concatenate([row[:1], self.host.known(row[:2].mean(keepdims=True)), row[1:]])

        options = self.settled(calls)
        end = self._end(levels(count)[-1]) if self.config["final_sigmas_type"] == "sigma_min" else None
        stages = self.order > 1
        if t is not None and not stages:
            run = run_at(method, path, t, options, end=end)
        else:
            snr_0 = stages and count > 1 and bool(path.alpha(levels(2)[0] if t is None else t[0]) == 0)
            row = split if snr_0 else levels
            run = run_of(method, path, calls, row, self.host.known, options, end=end, rest_first=snr_0)
        return replace(run, options=self.settled(calls, path.nsr(run.starts)))

    def _end(self, last: float) -> float | None:
        """The cleanest level, where a run that returns its last state ends; None if its last call is there."""
        clean = float(self.host.schedule.t_min)
        return clean if clean < last and float(self.host.schedule.sigma(clean)) > 0 else None
