"""Quality of the bundled `fashion-unet`, against Fashion-MNIST in `fashion-features` space. `benchmarks.unets` says
what is measured.

python -m benchmarks.fashion_unet --num 5000 --nfe 40 --out out/fashion-unet
"""

from pathlib import Path

from benchmarks.unets import Bench, Gaussian, command, gaussian, judged
from recipes import fashion

FEATURES = "fashion-features"


def read(root: Path) -> Bench:
    """Against the training set and the test set in the folder of the four IDX files."""
    training, test = (fashion.load(split, root)[0] for split in ("train", "t10k"))

    def reference() -> Gaussian:
        return gaussian(judged(training, FEATURES)[0])

    def unseen() -> Gaussian:
        return gaussian(judged(test, FEATURES)[0])

    return Bench("fashion-unet", FEATURES, training, test, reference, unseen, exact="fashion-mixture")


if __name__ == "__main__":
    command(read, fashion.ROOT, __doc__)
