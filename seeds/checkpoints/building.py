"""From a class name and constructor arguments, as checkpoints record them, to a denoiser."""

import dataclasses
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seeds import schedules
from seeds.checkpoints.errors import CheckpointError, reason, shown
from seeds.errors import InputError
from seeds.networks import DhariwalUNet, Patched, SongUNet
from seeds.networks.classifier import ConvClassifier
from seeds.preconditioners import EDMNoise, Preconditioned, Preconditioner, VENoise, VPNoise, iDDPM

Module = TypeVar("Module", bound=nn.Module)
NETWORKS: dict[str, type[nn.Module]] = {"SongUNet": SongUNet, "DhariwalUNet": DhariwalUNet}
FAMILIES: dict[str, tuple[type, str]] = {  # class name in checkpoints: (preconditioner, default model_type)
    "VPPrecond": (VPNoise, "SongUNet"),
    "VEPrecond": (VENoise, "SongUNet"),
    "iDDPMPrecond": (iDDPM, "DhariwalUNet"),
    "EDMPrecond": (EDMNoise, "DhariwalUNet"),
}
_OWN = {"img_resolution": 0, "img_channels": 0, "label_dim": 0, "use_fp16": False, "model_type": "", "patch": 1}
# larger values are a damaged file; other integers: 65,536
_MOST = {"num_blocks": 64, "patch": 64, "img_resolution": 1 << 14}
_MAY_BE_0 = {"label_dim", "augment_dim", "num_blocks", "attn_resolutions"}  # of the integers
_FRACTIONS = {"resample_filter"}  # of the sequences; the others hold integers


@dataclass(frozen=True)
class Config:
    """What a network is built from.

    Attributes:
        class_name: one of FAMILIES.
        kwargs: the constructor's arguments as given, in the published form, and `patch` (default 1): see
            `seeds.networks.Patched`; img_resolution and img_channels are those of the image.
        attributes: constants that a checkpoint stores beside its arguments; they win.
    """

    class_name: str
    kwargs: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)


def build(
    config: Config, *, u: Tensor | None = None, schedule: schedules.Schedule | None = None, name: str = ""
) -> Preconditioned:
    """A denoiser with fresh weights, in training mode. Under `torch.device("meta")` nothing is allocated.

    Args:
        u: the table of levels of an iDDPM checkpoint; None computes it.
        schedule, name: see `Preconditioned`.
    Raises: CheckpointError if the class or an argument is unknown, out of range, or impossible.
    """
    family, model_type, constants = _family(config.class_name)
    model_type = config.kwargs.get("model_type", model_type)
    if not isinstance(model_type, str) or model_type not in NETWORKS:
        raise CheckpointError(f"the network {shown(model_type)} is not known; known are {', '.join(NETWORKS)}")
    parameters = inspect.signature(NETWORKS[model_type].__init__).parameters
    options = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    _check(config.kwargs, options | _OWN | constants)
    _check(config.attributes, {"sigma_min": 0.0, "sigma_max": 0.0, "use_fp16": False} | constants)
    given: dict[str, Any] = _OWN | constants | {"model_type": model_type} | config.kwargs | config.attributes
    missing = [key for key in ("img_resolution", "img_channels") if key not in config.kwargs]
    if missing:
        raise CheckpointError(f"the argument {missing[0]} is missing")
    try:
        table = {"u": u} if u is not None and family is iDDPM else {}
        preconditioner: Preconditioner = family(**{key: given[key] for key in constants}, **table)
        network = _network(
            given,
            {key: config.kwargs[key] for key in options if key in config.kwargs},
            isinstance(preconditioner, iDDPM),
        )
        denoiser = Preconditioned(
            network,
            preconditioner,
            (given["img_channels"], given["img_resolution"], given["img_resolution"]),
            classes=given["label_dim"],
            use_fp16=given["use_fp16"],
            nsr_range=(
                given.get("sigma_min", preconditioner.sigma_min),
                given.get("sigma_max", preconditioner.sigma_max),
            ),
            schedule=schedule,
            name=name,
        )
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise _impossible(error, model_type) from error
    denoiser.config = config
    return denoiser


def by_name(class_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a preconditioner's constructor by name. Positional ones stand in this order: img_resolution,
    img_channels, label_dim, use_fp16, the class's constants as in `FAMILIES`, model_type.

    Raises: CheckpointError if there are too many, or one is given twice.
    """
    order = [*(key for key in _OWN if key not in ("model_type", "patch")), *_family(class_name)[2], "model_type"]
    if len(args) > len(order):
        raise CheckpointError(
            f"its network has {len(args)} positional arguments; {class_name} takes {len(order)}: {', '.join(order)}"
        )
    positional = dict(zip(order, args, strict=False))
    twice = [key for key in positional if key in kwargs]
    if twice:
        raise CheckpointError(f"the argument {twice[0]} is given twice, by position and by name")
    return positional | dict(kwargs)


def _family(class_name: str) -> tuple[type, str, dict[str, Any]]:
    """Of the class of a preconditioner in checkpoints: our class, its default model_type, and its constants with their
    defaults, in order."""
    if class_name not in FAMILIES:
        raise CheckpointError(f"the class {shown(class_name)} is not known; known are {', '.join(FAMILIES)}")
    family, model_type = FAMILIES[class_name]
    return family, model_type, {f.name: f.default for f in dataclasses.fields(family) if f.name != "u"}


def build_classifier(kwargs: Mapping[str, Any]) -> ConvClassifier:
    """A classifier with fresh weights, in training mode. Under `torch.device("meta")` nothing is allocated.

    Raises: CheckpointError if an argument is unknown, out of range, or impossible.
    """
    _check(kwargs, {name: p.default for name, p in inspect.signature(ConvClassifier).parameters.items()})
    try:
        return ConvClassifier(**kwargs)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise _impossible(error, "ConvClassifier") from error


def _impossible(error: Exception, model_type: str) -> CheckpointError:
    """Our own errors, and torch's of one argument, are ValueErrors and name it; of others the words say little."""
    why = (
        reason(error)
        if isinstance(error, ValueError)
        else f"together they are none of a {model_type}'s ({reason(error)})"
    )
    return CheckpointError(f"no network can be built from its arguments: {why}")


def _network(given: Mapping[str, Any], options: dict[str, Any], learned_variance: bool) -> nn.Module:
    channels, patch = given["img_channels"] * given["patch"] ** 2, given["patch"]
    if given["img_resolution"] % patch:
        raise InputError(f"`img_resolution` = {given['img_resolution']} is not a multiple of `patch` = {patch}")
    options |= {"img_resolution": given["img_resolution"] // patch, "label_dim": given["label_dim"]}
    network = NETWORKS[given["model_type"]](
        in_channels=channels, out_channels=channels * (2 if learned_variance else 1), **options
    )
    return network if patch == 1 else Patched(network, patch)


def _check(values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Every key is known and every value of the kind of its default, and of a size that a network can have."""
    for key, value in values.items():
        if key not in known:
            raise CheckpointError(f"the argument {shown(key)} is not known")
        default = known[key]
        if isinstance(default, bool | str):
            fits = isinstance(value, type(default))
        elif isinstance(default, int):
            fits = _whole(key, value)
        elif isinstance(default, float):
            fits = isinstance(value, int | float) and (abs(value) <= 1e9 or value == math.inf)
        else:
            fits = isinstance(value, list | tuple) and 0 < len(value) + (key == "attn_resolutions") <= 16
            wrong = (
                [item for item in value if not (_fraction(item) if key in _FRACTIONS else _whole(key, item))]
                if fits
                else []
            )
            if wrong:
                raise CheckpointError(f"the argument {key} holds the value {shown(wrong[0])}, which is not possible")
        if not fits:
            raise CheckpointError(f"the argument {key} has the value {shown(value)}, which is not possible")


def _whole(key: str, value: Any) -> bool:
    return type(value) is int and (key not in _MAY_BE_0) <= value <= _MOST.get(key, 1 << 16)


def _fraction(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= 1 << 16


def fill(module: Module, tensors: Mapping[str, Tensor]) -> Module:
    """Puts weights in, floats as float32; names, kinds and shapes must be exactly those of the module. Returns it
    frozen, in eval mode."""
    wanted = module.state_dict()
    for name in [*wanted, *tensors]:
        if name not in tensors or name not in wanted:
            raise CheckpointError(
                f"the weight {shown(name)} is {'missing' if name in wanted else 'not one of this network'}"
            )
        tensor, like = tensors[name], wanted[name]
        fits = tensor.is_floating_point() if like.is_floating_point() else tensor.dtype == like.dtype
        if tensor.shape != like.shape or not fits:
            kind = "a float" if like.is_floating_point() else like.dtype
            raise CheckpointError(
                f"the weight {name} is {tensor.dtype} {tuple(tensor.shape)}, not {kind} {tuple(like.shape)}"
            )
    module.load_state_dict(
        {name: t.to(torch.float32) if t.is_floating_point() else t for name, t in tensors.items()}, assign=True
    )
    return module.eval().requires_grad_(False)
