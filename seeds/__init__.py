"""SEEDS: fast, provably right stochastic sampling from diffusion models."""

__version__ = "0.1.0"
