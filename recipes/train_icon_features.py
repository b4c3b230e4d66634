"""Trains `icon-features`: the classifier of icon sets behind the distances of 32 x 32 icons. `recipes.features` says
how.

    python -m recipes.train_icon_features --out recipes/data/icon_features.safetensors

Its test set is the tenth of the icons that `recipes.icons` calls "test".
"""

from recipes import icons
from recipes.features import Features, command
from recipes.packages import SIZE

SUBJECT = Features(
    name="icon-features",
    network={"width": 32, "classes": len(icons.CLASSES), "channels": 1, "size": SIZE},
    ground=255,
    epochs=12,
    source=icons.SOURCE,
    recipe="recipes/train_icon_features.py",
    dropout=0.3,
    weight_decay=0.05,
)

if __name__ == "__main__":
    command(SUBJECT, icons.read, icons.ROOT, __doc__)
