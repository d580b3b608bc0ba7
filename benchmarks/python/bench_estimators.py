"""Scores and fit times of the estimators beside MLPs of scikit-learn behind a StandardScaler, on small sets.

OMP_NUM_THREADS=1 python benchmarks/python/bench_estimators.py [--splits 5] [--second-phase rbp]

Settings are the defaults of each estimator, with one hidden layer of 100 units. Scores (accuracy, or R2) are
means over shuffled folds; times are medians of the processor time of one fit.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
from equiprop.estimator import EquilibriumClassifier, EquilibriumRegressor
from sklearn import datasets
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

#: Numbers of classes and of informative features of the sets of 400 samples by make_classification.
CLASSES_AND_INFORMATIVE = ((2, 2), (2, 4), (2, 5), (3, 12), (4, 6), (4, 8))


def noisy(features: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        datasets.make_classification(400, features, n_classes=c, n_informative=i, random_state=seed)
        for seed, (c, i) in enumerate(CLASSES_AND_INFORMATIVE)
    ]


def data_sets() -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    return {
        "iris": [datasets.load_iris(return_X_y=True)],
        "digits, 0 to 16": [datasets.load_digits(return_X_y=True)],
        "moons, 400 samples": [datasets.make_moons(400, noise=0.25, random_state=seed) for seed in range(3)],
        "make_classification, 20 features": noisy(20),
        "make_classification, 40 features": noisy(40),
        "diabetes (R2)": [datasets.load_diabetes(return_X_y=True)],
    }


def measure(model: Any, x: np.ndarray, y: np.ndarray, splits: int) -> tuple[list[float], list[float]]:
    """Return the score and the seconds of the fit for each split."""
    folds = (StratifiedKFold if y.dtype.kind == "i" else KFold)(splits, shuffle=True, random_state=0)
    scores, seconds = [], []
    for seed, (train, test) in enumerate(folds.split(x, y)):
        fresh = model(seed)
        start = time.process_time()
        fresh.fit(x[train], y[train])
        seconds.append(time.process_time() - start)
        scores.append(fresh.score(x[test], y[test]))
    return scores, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--second-phase", default="eqprop", choices=["eqprop", "rbp"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # MLP warns where 200 epochs do not suffice
    print("| data | score | MLP's score | seconds | MLP's seconds |\n|---|---|---|---|---|")
    for name, sets in data_sets().items():
        regression = sets[0][1].dtype.kind == "f"
        ours = EquilibriumRegressor if regression else EquilibriumClassifier
        mlp = MLPRegressor if regression else MLPClassifier
        columns = []
        for model in (
            lambda seed, ours=ours: ours(second_phase=options.second_phase, random_state=seed),
            lambda seed, mlp=mlp: make_pipeline(StandardScaler(), mlp(random_state=seed)),
        ):
            runs = [measure(model, x, y, options.splits) for x, y in sets]
            columns.append((np.mean([r[0] for r in runs]), np.median([r[1] for r in runs])))
        (score, seconds), (other, others) = columns
        print(f"| {name} | {score:.3f} | {other:.3f} | {seconds:.2f} | {others:.2f} |", flush=True)


if __name__ == "__main__":
    main()
