"""iPNDM: Adams-Bashforth's fixed numbers on the noise; and gradient estimation, which extrapolates instead."""

from seeds.solvers.rivals.points import point

DEIS = "Zhang and Chen 2023 (arXiv:2204.13902), after Liu et al. 2022, PNDM (arXiv:2202.09778)"
point("ipndm", {"k": 4, "variable": "index", "measure": "index"}, ["k"], cases=({}, {"k": 2}), prediction="noise",
      noise=None,
      note="last k, as if levels were evenly spaced and weights flat", source=DEIS,
      differs="order 2, whatever k: exact weights (measure='exact' of adams) have k. Published runs make no final "
              "denoise")  # fmt: skip
point("ipndm-v", {"k": 4, "variable": "nsr"}, ["k"], prediction="noise", noise=None,
      note="last k, Adams-Bashforth of variable steps in nsr", source=DEIS)  # fmt: skip
point("gradient-estimation", {"k": 2, "variable": "index", "measure": "at 1"}, ["measure"], prediction="noise",
      noise=None,
      note="last 2, extrapolated over a whole step: gamma = 2 is measure 'at 1', gamma = 1 + r is 'at r'",
      source="Permenter and Yuan 2023 (arXiv:2306.04848)")  # fmt: skip
