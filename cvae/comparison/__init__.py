"""Runs held against each other: read from their folders, as a table, a file and a picture; none of it needs torch."""

from cvae.comparison.records import INTERRUPTED, Run, read_runs
from cvae.comparison.table import Comparison, print_table, tabulate, write_csv

__all__ = ["INTERRUPTED", "Comparison", "Run", "print_table", "read_runs", "tabulate", "write_csv"]
