"""Metrics of image sets: arrays in, numbers out. Nothing here samples, solves or opens a network connection.

- `frechet`: the Frechet distance (FID), bare and with an interval; `moments`: means and covariances of sets and of
streams;
- `inception_score`, `kernel` (KID), `precision_recall`: each gives an `estimate.Estimate`, a value with its interval;
- `features`: extractors with a name and a hash; `references`: statistics on disk.
"""
