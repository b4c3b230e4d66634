"""What comes before the first model call: building a plan, and importing the package.

    python benchmarks/build.py

Prints JSON: seconds for a plan of 1,000 SEEDS-3 steps in each prediction (best of 5), and what `import seeds` adds to
`import torch` (median of 7 pairs).
"""

import json
import statistics
import subprocess
import sys
import time

import seeds


def plan_seconds(prediction: str) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        assert seeds.plan("seeds-3", steps=1000, schedule="vp", prediction=prediction).nfe == 3001
        best = min(best, time.perf_counter() - start)
    return best


def import_seconds(modules: str) -> float:
    code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    added = [import_seconds("torch, seeds") - import_seconds("torch") for _ in range(7)]
    plans = {name: round(plan_seconds(name), 3) for name in seeds.PREDICTIONS}
    print(
        json.dumps(
            {"plan_of_1000_seeds_3_steps_s": plans, "import_adds_s": round(statistics.median(added), 3)}, indent=2
        )
    )


if __name__ == "__main__":
    main()
