"""The challenge's side: score a file of solutions, write solutions, write and check a submission bundle."""

from cvae.challenge.score import Scores, print_scores, read_submission, score_file, score_solutions
from cvae.challenge.solutions import print_solutions, write_solutions
from cvae.challenge.submit import write_bundle

__all__ = [
    "Scores",
    "print_scores",
    "print_solutions",
    "read_submission",
    "score_file",
    "score_solutions",
    "write_bundle",
    "write_solutions",
]
