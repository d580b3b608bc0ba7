"""Estimators with the interface of scikit-learn (extra ``sklearn``)."""

try:
    from equiprop.estimator.classifier import EquilibriumClassifier as EquilibriumClassifier
    from equiprop.estimator.regressor import EquilibriumRegressor as EquilibriumRegressor
except ImportError as _error:
    raise ImportError(
        f"[equiprop.estimator] scikit-learn 1.6 or later cannot be imported ({_error}). "
        "Install it with pip install 'equiprop[sklearn]'."
    ) from _error
