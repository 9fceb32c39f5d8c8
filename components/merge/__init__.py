"""The rules that turn several models into one, and the ensembles they are measured against."""

from components.merge.analogy import analogy
from components.merge.arithmetic import arithmetic
from components.merge.batchnorm import recompute
from components.merge.best import best
from components.merge.dare import dare
from components.merge.ensemble import ensemble, greedy_ensemble
from components.merge.fisher import fisher, fisher_merge
from components.merge.fisher_wise_ft import fisher_wise_ft
from components.merge.fused import fused
from components.merge.greedy import greedy
from components.merge.learned import learned
from components.merge.lines import lines
from components.merge.magmax import magmax
from components.merge.model_stock import model_stock
from components.merge.random_vector import random_vector
from components.merge.regmean import gram, regmean
from components.merge.slerp import slerp
from components.merge.ties import ties
from components.merge.uniform import uniform
from components.merge.wise_ft import wise_ft

__all__ = [
    "analogy", "arithmetic", "best", "dare", "ensemble", "fisher", "fisher_merge", "fisher_wise_ft", "fused", "gram", "greedy",
    "greedy_ensemble", "learned", "lines", "magmax", "model_stock", "random_vector", "recompute", "regmean", "slerp",
    "ties", "uniform", "wise_ft",
]  # fmt: skip
