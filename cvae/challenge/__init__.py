"""The challenge's side: score a file of solutions, write and check a submission bundle."""

from cvae.challenge.score import Scores, read_submission, score_file, score_solutions
from cvae.challenge.submit import write_bundle

__all__ = ["Scores", "read_submission", "score_file", "score_solutions", "write_bundle"]
