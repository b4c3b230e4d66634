"""The calls of the published detector, in small, as the TorchScript file that the commands take."""

import hashlib
import warnings

import torch


class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Conv2d(3, 5, 2, bias=False)
        self.mix.weight.data = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0)) / 50

    def forward(self, img: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        features = self.mix(img.to(torch.float32)).amax((2, 3))
        if return_features:
            return features
        if not no_output_bias:
            features = features + 100 * torch.arange(5)
        return features.softmax(1)


def save(path, module=None):
    """(path, SHA-256) of the file; of another `module` than the detector, if given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module or Detector()).save(str(path))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()
