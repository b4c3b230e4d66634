"""The report of a curves study: its record as a CSV table, PNG plots and one self-contained HTML page.

A record is the object of curves.json, with the study's settings, the baselines and a row for each line, NFE and range
of seeds. What is still waiting is left out and counted, so a running study can be looked at.
"""

from seeds.report.comparison import bench
from seeds.report.figures import pareto, plots
from seeds.report.html import page
from seeds.report.table import csv_text
from seeds.report.writing import write

__all__ = ["bench", "csv_text", "page", "pareto", "plots", "write"]
