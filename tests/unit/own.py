"""Factories as users write them, for the command line: weights drawn or read, data in [0, 1], latents with a decoder,
and slips."""

from pathlib import Path

import torch
from toy import Toy

import seeds
from seeds.exact import GaussianMixture


class Net(torch.nn.Module):
    """A small network of known or of random weights."""

    def __init__(self, seed=None, channels=3):
        super().__init__()
        self.c = torch.nn.Conv2d(channels, channels, 1)
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)

    def forward(self, x, t, labels=None):
        return torch.tanh(self.c(x))


def wrapped(seed=0, **changes):
    return seeds.wrap(
        Net(seed).eval(), **{"output": "data", "schedule": "vp", "shape": (3, 8, 8), "classes": 4, **changes}
    )


def random():
    """Other weights at each call."""
    return wrapped(None)


def from_file():
    weights = torch.load("latest.pt", weights_only=True)
    net = Net(0)
    net.load_state_dict(weights)
    return seeds.wrap(lambda x, t, labels=None: net(x, t), "data", schedule="vp", shape=(3, 8, 8), classes=4)


def from_number():
    """A function that holds no network: its factor lies in a file."""
    factor = float(Path("factor.txt").read_text())
    return Toy(lambda call, x: x * factor)


def unit_range():
    """Data in [0, 1]: two grey levels, 0.05 and 0.95."""
    model = GaussianMixture(torch.stack([torch.full((1, 8, 8), 0.05), torch.full((1, 8, 8), 0.95)]), 0.02)
    model.data_range = (0.0, 1.0)
    return model


def unsaid():
    """The same, by somebody who did not say so."""
    model = unit_range()
    del model.data_range
    return model


class Decoder(torch.nn.Module):
    """Latents (4, 8, 8) to images (3, 16, 16) in [0, 1]; it notes how many it is given at once."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mix", torch.tensor([[0.4, 0.0, 0.1, 0.1], [0.0, 0.4, -0.1, 0.1], [0.1, 0.1, 0.4, 0.0]]))
        self.sizes = []

    def decode(self, z):
        self.sizes.append(len(z))
        return torch.einsum("cl,blhw->bchw", self.mix, z).repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.5

    def encode(self, images):
        """Latents whose images are those, up to rounding: the mean of each 2 x 2 block, by the pseudo-inverse of
        `mix`."""
        small = torch.nn.functional.avg_pool2d(images - 0.5, 2)
        return torch.einsum("lc,bchw->blhw", torch.linalg.pinv(self.mix), small)


def latent():
    model = GaussianMixture(torch.zeros(4, 4, 8, 8), 1.0, component_class=range(4))
    decoder = Decoder()
    model.decode, model.encode, model.decode_batch, model.data_range = decoder.decode, decoder.encode, 4, (0.0, 1.0)
    model.decoder = decoder
    return model


def latents_only():
    model = latent()
    del model.decode
    return model


def wrong_decoder():
    model = latent()
    model.decode = lambda z: z
    return model


def nothing():
    return None


def text():
    return "fashion-unet"


def bare():
    return Net(0)


def needs(path):
    return wrapped()


def on_device(device):
    model = wrapped()
    model.network.to(device)
    return model


class Stays:
    """A denoiser that nothing can move."""

    shape, schedule, classes = (3, 8, 8), "vp", 0

    def __init__(self):
        self.net = Net(0)

    def __call__(self, x, at, labels=None):
        return self.net(x, at.t)


def stays():
    return Stays()
