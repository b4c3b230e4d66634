"""A pipeline's network as a denoiser: the other way round."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seeds.denoisers import Wrapped, wrap
from seeds.errors import InputError
from seeds.integrations.configs import HostSchedule
from seeds.integrations.diffusers.scheduler import SEEDSScheduler
from seeds.plans import Point


class Network(torch.nn.Module):
    """A network of diffusers, called as network(x, time, labels): see `denoiser`."""

    def __init__(self, module: torch.nn.Module, sign: float = 1.0, call: Callable[..., Tensor] | None = None):
        super().__init__()
        self.module, self.sign, self.call = module, sign, call
        self.training = module.training

    def forward(self, x: Tensor, time: Tensor, labels: Any = None) -> Tensor:
        if self.call is not None:
            return self.call(self.module, x, time, labels)
        arguments = {} if labels is None else labels if isinstance(labels, Mapping) else {_named(labels): labels}
        inputs = {name: value.to(x.dtype) if _embeds(value) else value for name, value in arguments.items()}
        out = self.module(x, time, **inputs, return_dict=False)[0]
        out = out[:, : x.shape[1]]  # what follows is a variance, of networks that have learned one
        return out if self.sign == 1 else -out


def _embeds(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _named(labels: Tensor) -> str:
    return "encoder_hidden_states" if labels.is_floating_point() else "class_labels"


def denoiser(
    model: Any,
    scheduler: Any = None,
    *,
    call: Callable[..., Tensor] | None = None,
    dtype: torch.dtype | None = None,
    shape: Sequence[int] | None = None,
    null: Any = None,
    **facts: Any,
) -> Wrapped:
    """The network of a pipeline as a denoiser, for `seeds.sample`, `seeds curves` and `seeds fid`.

        model = denoiser(pipe, null=negative_prompt_embeds)
        guided, prompts = seeds.guide(model, 7.5), prompt_embeds.repeat(4, 1, 1)
        latents = seeds.sample(guided, model.shape, seed=range(4), labels=prompts, nfe=20)
        images = model.decode(latents)

    Args:
        model: a pipeline, of which the unet or the transformer is taken, with its scheduler's configuration and its
            VAE; or a network.
        scheduler: a scheduler, or its configuration, of what the network was trained on. None: the pipeline's.
        call: (module, x, time, labels) -> output, for a network that is called otherwise than module(x, time, ...), as
            Flux' with packed latents. None: labels are class_labels if they are whole numbers, encoder_hidden_states if
            not, and a dict of them goes by its own names.
        dtype: what the network computes in; None: its own.
        shape: of one state; None: channels and size of the network's configuration.
        null: what means no prompt, for `seeds.guide`: the embeddings of the negative one.
        facts: what else `seeds.wrap` takes: nsr_range, name, decode_batch, ...
    Returns: a denoiser with `decode` and `encode`, images in [-1, 1], where the model has a VAE.
    Raises: ValueError if there is no network or no scheduler to be found.
    """
    module = next(
        (
            part
            for part in (getattr(model, "unet", None), getattr(model, "transformer", None), model)
            if isinstance(part, torch.nn.Module)
        ),
        None,
    )
    scheduler = getattr(model, "scheduler", None) if scheduler is None else scheduler
    if module is None or scheduler is None:
        missing = (
            "network: pass a pipeline with a unet or a transformer, or a module"
            if module is None
            else "scheduler: pass one as `scheduler`"
        )
        raise InputError(f"`model` is a {type(model).__name__} that has no {missing}.")
    host = SEEDSScheduler.from_config(getattr(scheduler, "config", scheduler)).host
    config, vae = getattr(module, "config", {}), getattr(model, "vae", None)
    if shape is None and isinstance(config.get("sample_size"), int):
        shape = (config["in_channels"], config["sample_size"], config["sample_size"])
    own = (
        {"decode": functools.partial(_decoded, vae), "encode": functools.partial(_encoded, vae)}
        if vae is not None
        else {}
    )
    return wrap(
        Network(module, -1.0 if host.output.startswith("-") else 1.0, call),
        host.output.lstrip("-"),
        schedule=host.schedule,
        time=functools.partial(_told, host),
        sd=host.sd,
        dtype=dtype or getattr(module, "dtype", None),
        shape=None if shape is None else tuple(shape),
        null=null,
        **{**own, **facts},
    )


def _told(host: HostSchedule, at: Point) -> float:
    return float(host.told(np.asarray(at.t)))


def _decoded(vae: Any, latents: Tensor) -> Tensor:
    latents = latents / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", None) or 0.0)
    return vae.decode(latents.to(vae.dtype), return_dict=False)[0].to(latents.dtype)


def _encoded(vae: Any, images: Tensor) -> Tensor:
    latents = vae.encode(images.to(vae.dtype)).latent_dist.mode().to(images.dtype)
    return (latents - (getattr(vae.config, "shift_factor", None) or 0.0)) * vae.config.scaling_factor
