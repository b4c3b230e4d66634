"""Networks of the EDM family: tensors in, raw output F out. No schedules, no preconditioning, no loading."""

from seeds.networks.adm import DhariwalUNet
from seeds.networks.patched import Patched
from seeds.networks.song import SongUNet

__all__ = ["DhariwalUNet", "Patched", "SongUNet"]
