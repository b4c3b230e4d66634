"""The rivals: published methods under the names that people type, each a few numbers for a builder, with its source and
what differs (docs/rivals.md)."""

from seeds.solvers.rivals import deis as deis
from seeds.solvers.rivals import dpm as dpm
from seeds.solvers.rivals import er_sde as er_sde
from seeds.solvers.rivals import ipndm as ipndm
from seeds.solvers.rivals import pfdiff as pfdiff
from seeds.solvers.rivals import renoise as renoise
from seeds.solvers.rivals import res as res
from seeds.solvers.rivals import sa as sa
from seeds.solvers.rivals import unipc as unipc
