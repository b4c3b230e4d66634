"""The networks behind a denoiser: found wherever Python shows them, moved with it, refused while they are being
trained."""

import functools

import pytest
import torch
from other_device import THERE, OtherDevice
from torch import nn

import seeds
from seeds import modules
from seeds.denoisers import device_of, facts, state
from seeds.exact import Gaussian


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x):
        return x * self.weight


class Net(nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.inside = nn.ModuleDict({"scale": Scale(), **{f"part{i}": part for i, part in enumerate(parts)}})

    def forward(self, x, t, labels=None):
        for part in self.inside.values():
            x = part(x)
        return x

    def eps(self, x, t):
        return self(x, t)


class Pipeline:
    """A denoiser of one's own: it asks its network through another method, and has another that it never asks."""

    schedule, shape = "vp", (3, 4, 4)

    def __init__(self, net):
        self.net, self.other = [net], nn.Dropout()

    def __call__(self, x, at):
        return self._answer(x, at.t)

    def _answer(self, x, t):
        return self.net[0](x, t)

    def train_other(self):
        return self.other


NET = Net().eval()


def by_a_global_name(x, t):
    return NET(x, t)


def closed_over(net):
    return lambda x, t: net(x, t)


WAYS = {
    "itself": lambda net: seeds.wrap(net, "noise", schedule="vp"),
    "a method": lambda net: seeds.wrap(net.eps, "noise", schedule="vp"),
    "a function": lambda net: seeds.wrap(closed_over(net), "noise", schedule="vp"),
    "a partial": lambda net: seeds.wrap(functools.partial(lambda net, x, t: net(x, t), net), "noise", schedule="vp"),
    "an object": Pipeline,
    "guidance and bounds": lambda net: state(
        seeds.threshold(seeds.guide(seeds.wrap(net, "noise", schedule="vp", classes=3), 2.0)), null=0
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_network_is_found(way):
    net = Net().eval()
    assert modules.modules(WAYS[way](net)) == [net]


def test_what_is_found_besides():
    net, vae, table = Net().eval(), Net().eval(), torch.ones(3)
    assert modules.modules(seeds.wrap(by_a_global_name, schedule="vp")) == [NET]
    assert modules.modules(seeds.wrap(net, schedule="vp", decode=vae.forward, encode=lambda x: vae(x, 0))) == [net, vae]
    assert (
        modules.modules(lambda x, at: x * table)
        == []
        == modules.modules(Gaussian(0.0, 1.0))
        == modules.modules(torch.lerp)
    )


class Functional(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


ACTING = [nn.Dropout(0.5), nn.Sequential(nn.BatchNorm2d(3)), Functional()]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ACTING, ids=lambda part: type(part).__name__)
def test_a_network_in_training_mode_in_any_part_is_refused(way, part):
    net = Net(part)
    arguments = {"seed": 0, "nfe": 2, "labels": 1 if way == "guidance and bounds" else None}
    with pytest.raises(
        ValueError, match=r"^The network Net .*is in training mode: .*Call `network\.eval\(\)` before sampling"
    ):
        seeds.sample(WAYS[way](net), (3, 4, 4), **arguments)
    assert seeds.sample(WAYS[way](net.eval()), (3, 4, 4), **arguments).shape == (1, 3, 4, 4)
    part.train()
    with pytest.raises(ValueError, match=r"\(its part 'inside\.part0"):
        next(seeds.iterate(WAYS[way](net), (3, 4, 4), **arguments))


def test_the_part_that_acts_is_named_and_a_decoder_counts():
    with pytest.raises(ValueError, match=r"its part 'inside\.part1', a Dropout\)"):
        seeds.sample(
            seeds.wrap(Net(nn.Identity(), nn.Dropout(0.1)), "noise", schedule="vp"),
            (3, 4, 4),
            seed=0,
            solver="seeds-3",
            steps=2,
        )
    with pytest.raises(ValueError, match="The network Dropout is in training mode"):
        seeds.sample(
            seeds.wrap(NET, "noise", schedule="vp", decode=nn.Dropout()), (3, 4, 4), seed=0, solver="seeds-3", steps=2
        )


@pytest.mark.parametrize(("part", "acts"), [
    (nn.Linear(2, 2), False), (nn.GroupNorm(1, 3), False), (nn.Dropout(0.0), False), (nn.InstanceNorm2d(3), False),
    (nn.LSTM(2, 2, 2), False), (nn.Sequential(nn.Linear(2, 2)), False), (nn.MultiheadAttention(4, 2), False),
    (Net(), False), (Functional(), True), (nn.BatchNorm1d(2, affine=False), True),
    (nn.InstanceNorm2d(3, track_running_stats=True), True), (nn.LSTM(2, 2, 2, dropout=0.1), True),
    (nn.MultiheadAttention(4, 2, dropout=0.1), True), (nn.AlphaDropout(0.1), True), (nn.RReLU(), True),
])  # fmt: skip
def test_a_network_that_is_the_same_in_training_mode_is_let_through(part, acts):
    assert modules.acts_in_training(part) == acts and part.training


@pytest.mark.parametrize("way", WAYS)
def test_on_a_device_that_refuses_to_mix_the_network_is_moved_where_it_is_asked_for(way):
    labels = {"labels": torch.tensor([1, 2])} if way == "guidance and bounds" else {}
    at_home = seeds.sample(WAYS[way](Net().eval()), (3, 4, 4), seed=[0, 1], solver="seeds-3", steps=2, **labels)
    with OtherDevice():
        denoiser = WAYS[way](Net().eval())
        with pytest.raises(RuntimeError, match="on the same device"):
            denoiser(
                torch.zeros(2, 3, 4, 4, device=THERE), seeds.plan("seeds-1", schedule="vp", steps=2).start, **labels
            )
        found = seeds.sample(denoiser, (3, 4, 4), seed=[0, 1], solver="seeds-3", steps=2, device=THERE, **labels)
        assert found.device == device_of(denoiser) == facts(denoiser).device == THERE
        torch.testing.assert_close(found.to("cpu"), at_home)
        assert device_of(modules.moved(denoiser, "cpu")) == torch.device("cpu")


def test_a_decoder_and_a_scale_for_each_image_go_along():
    with OtherDevice():
        vae = Net().eval()
        model = seeds.guide(
            seeds.wrap(Net().eval(), "noise", schedule="vp", decode=lambda z: vae(z, 0), classes=3), [1.0, 4.0]
        )
        found = seeds.sample(model, (3, 4, 4), seed=[0, 1], solver="seeds-3", steps=1, labels=[0, 1], device=THERE)
        assert model.decode(found).device == found.device == THERE


def test_what_cannot_be_moved_is_said_before_the_first_call():
    class Fixed(Net):
        def to(self, device):
            raise NotImplementedError("weights are in a file.\nmore")

    asked = []
    for denoiser in (
        seeds.wrap(Fixed().eval(), schedule="vp"),
        seeds.guide(seeds.wrap(closed_over(Fixed().eval()), schedule="vp"), 2.0),
    ):
        with pytest.raises(
            ValueError,
            match=r"`device` = 'cpu:1': Fixed cannot be moved there \(weights are in a file\)\. Put it on its device",
        ):
            next(
                seeds.iterate(
                    denoiser,
                    (3, 4, 4),
                    seed=0,
                    solver="seeds-3",
                    steps=1,
                    device="cpu:1",
                    noise=lambda *_: asked.append(1),
                )
            )
    assert not asked


def test_a_to_of_ones_own_is_used_and_may_return_another():
    class Placed:
        def __init__(self, device="cpu"):
            self.device = device

        def to(self, device):
            return Placed(device)

        def __call__(self, x, t):
            return x

    here = seeds.wrap(Placed(), schedule="vp")
    assert device_of(modules.moved(here, "meta").network) == torch.device("meta") and device_of(here) == torch.device(
        "cpu"
    )
    assert device_of(modules.moved(seeds.threshold(Placed()), "meta")) == torch.device("meta")
