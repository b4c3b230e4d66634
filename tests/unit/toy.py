"""Models for the tests of runs and the command line."""

import os
import time

import torch


class Toy:
    """The exact denoiser of data N(mean, 0.5^2), the mean moving with the class; `at_call` is done before each
    answer."""

    shape, schedule, classes = (1, 6, 5), "edm", 0

    def __init__(self, at_call=lambda call, x: x, **attributes):
        self.at_call, self.calls, self.labels = at_call, 0, []
        self.__dict__ |= attributes

    def __call__(self, x, at, labels=None):
        self.calls += 1
        self.labels.append(labels)
        x = self.at_call(self.calls, x)
        mean = 0.0 if labels is None else labels.view(-1, 1, 1, 1).to(x) / 10
        return mean + 0.25 * at.alpha / (0.25 * at.alpha**2 + at.sigma**2) * (x - at.alpha * mean)


def plain():
    return Toy()


def colour():
    return Toy(shape=(3, 4, 4), classes=10)


def tinted():
    return Toy(lambda call, x: x + 0.1, shape=(3, 4, 4), classes=10)


def trained_from_1_to_10():
    return Toy(nsr_range=(1.0, 10.0))


PROBED = 3
"""Calls by which a run asks a model which it is, before it draws."""


def nan():
    return Toy(lambda call, x: x * float("nan") if call > PROBED + 5 else x)


def broken():
    return Toy(lambda call, x: torch.zeros(2) @ torch.zeros(3))


def first_only():
    return Toy(shape=(3, 4, 4) if os.environ.get("RANK", "0") == "0" else None, classes=10)


def interrupted():
    def stop(call, x):
        if call > PROBED + 5:
            raise KeyboardInterrupt
        return x

    return Toy(stop)


def slow():
    def wait(call, x):
        time.sleep(0.03)
        return x

    return Toy(wait, shape=(3, 4, 4), classes=10)
