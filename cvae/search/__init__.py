"""Hyperparameter search with Optuna: spaces as config, studies on disk that can be killed and resumed."""
