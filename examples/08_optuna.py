"""Search for a learning rate with Optuna: bad trials are pruned by epoch, and a divergence is a failure."""

import sys
import warnings

import equiprop as eq

try:
    import optuna
except ImportError:
    print("This example needs Optuna: pip install optuna")
    sys.exit()

DATA, TEST = eq.load_digits()


class Report(eq.callbacks.Callback):
    """Reports the validation error of each epoch to a trial, and stops the training if it is pruned."""

    def __init__(self, trial):
        self.trial, self.pruned = trial, False

    def on_epoch(self, trainer, epoch):
        self.trial.report(epoch.validation_error, epoch.epoch)
        self.pruned = self.trial.should_prune()
        if self.pruned:
            trainer.stop()


def objective(trial):
    """Return the validation error of a training; a ConvergenceError makes the state of the trial FAIL."""
    rate = trial.suggest_float("learning rate", 1e-3, 0.3, log=True)
    report = Report(trial)
    network = eq.HopfieldNetwork([64, 32, 10], seed=0)
    trainer = eq.Trainer(network, optimizer=eq.SGD(rate, momentum=0.0), callbacks=[report])
    history = trainer.fit(DATA, epochs=6, validation=0.2)
    if report.pruned:
        raise optuna.TrialPruned
    return history[-1].validation_error


optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", eq.TrainingWarning)  # of learning rates that are too small or too large
study = optuna.create_study(
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
)
for rate in (0.1, 0.3, 0.05):
    study.enqueue_trial({"learning rate": rate})
study.optimize(objective, n_trials=12, catch=eq.ConvergenceError)
for state in ("COMPLETE", "PRUNED", "FAIL"):
    rates = [t.params["learning rate"] for t in study.trials if t.state.name == state]
    print(f"{state:<9}", ", ".join(f"{rate:.3g}" for rate in rates))
best = study.best_trial
print(f"best: learning rate {best.params['learning rate']:.3g}, validation error {best.value:.1%}")
