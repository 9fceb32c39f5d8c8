"""The rules that turn several models into one, and the ensembles they are measured against."""

from components.merge.best import best
from components.merge.ensemble import ensemble, greedy_ensemble
from components.merge.greedy import greedy
from components.merge.learned import learned
from components.merge.lines import lines
from components.merge.uniform import uniform
from components.merge.wise_ft import wise_ft

__all__ = ["best", "ensemble", "greedy", "greedy_ensemble", "learned", "lines", "uniform", "wise_ft"]
