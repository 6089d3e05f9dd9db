"""The numbers of a run in MLflow, for teams that have a tracking server.

It listens to the loop as an observer. The identity of the MLflow run is kept in the run
folder, so that a resumed training goes on in the same one. Needs the extra ``mlflow``.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convatlas.errors import MissingExtraError, OptionError
from convatlas.files import write_json
from convatlas.train.reports import EpochReport, Plan, StepReport

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

__all__ = ["MLflow", "flatten"]

_MOST_METRICS = 1000  # of one call, as MLflow's documentation of log-batch says
_MOST_PARAMS = 100
_LONGEST_PARAM = 6000  # letters of a value
_PATIENCE = 50  # steps whose figures are sent together
_LOSS, _EPOCH_LOSS = "train/loss", "train/epoch_loss"

_log = logging.getLogger(__name__)


class MLflow:
    """Loss and learning rate per step, every metric per epoch, the recipe as parameters.

    The status becomes FINISHED, KILLED after Ctrl-C, or FAILED; after ``kill -9`` it stays
    RUNNING until the run is resumed. What MLflow already has is not sent again: a resumed run
    repeats the steps after its checkpoint exactly. A server that does not answer while the
    run trains costs a warning, and the figures are sent with the next epoch.

    Args:
        folder: The run folder; ``mlflow.json`` in it keeps the identity of the MLflow run.
        experiment: Name of the MLflow experiment; it is created.
        run_name: Name of the run in it.
        params: What to log as parameters, such as a recipe; nested names are joined by dots.
        tracking_uri: Where MLflow keeps runs; None for ``MLFLOW_TRACKING_URI``.

    Raises:
        MissingExtraError: mlflow is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any],
        tracking_uri: str | None = None,
    ) -> None:
        try:
            import_module("mlflow")  # to say at once that it is missing
        except ImportError as error:
            raise MissingExtraError.of("mlflow", "mlflow") from error
        self._file = folder / "mlflow.json"
        self._experiment = experiment
        self._run_name = run_name
        self._params = flatten(params)
        self._uri = tracking_uri
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._plan = Plan(0, 0)
        self._epochs_done = 0
        self._known_step = self._known_epoch = 0  # the last ones that MLflow has
        self._waiting: list[Metric] = []

    def start(self, plan: Plan) -> None:
        """Go on in the run that the folder names, or begin one.

        Raises:
            OptionError: The place for runs cannot be used.
            OutputError: The run folder cannot be written.
        """
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._plan, self._epochs_done = plan, plan.epochs_done
        try:
            client = MlflowClient(tracking_uri=self._uri)
            if not self._go_on(client):
                self._begin(client)
        except MlflowException as error:
            raise OptionError(_advice(self._uri, error)) from error
        self._client = client

    def step(self, report: StepReport) -> None:
        """Keep the loss and the learning rate, and send them now and then."""
        if report.step > self._known_step:
            self._wait(report.step, {_LOSS: report.loss, "train/lr": report.lr})
        if report.step % _PATIENCE == 0:
            self._send()

    def epoch(self, report: EpochReport) -> None:
        """Send every metric."""
        self._epochs_done = report.epoch
        if report.step > self._known_epoch:
            figures = {
                _EPOCH_LOSS: report.loss,
                "train/images_per_second": report.images_per_second,
            }
            evaluated = {f"eval/{name}": value for name, value in report.metrics.items()}
            self._wait(report.step, {**figures, **evaluated})
        self._send()

    def stop(self) -> None:
        """Send the rest, and say how the run ended."""
        client, status = self._client, self._status()
        if client is None:
            return
        self._send()
        self._client = None
        self._try(partial(client.set_terminated, self._run_id, status))

    def _begin(self, client: MlflowClient) -> None:
        from mlflow.entities import Param

        known = client.get_experiment_by_name(self._experiment)
        experiment = known.experiment_id if known else client.create_experiment(self._experiment)
        self._run_id = client.create_run(experiment, run_name=self._run_name).info.run_id
        params = [Param(name, str(v)[:_LONGEST_PARAM]) for name, v in self._params.items()]
        for first in range(0, len(params), _MOST_PARAMS):
            client.log_batch(self._run_id, params=params[first : first + _MOST_PARAMS])
        write_json(self._file, {"run_id": self._run_id, "experiment": self._experiment})

    def _go_on(self, client: MlflowClient) -> bool:
        """Tell whether the run that the folder names is there, and set it running again."""
        from mlflow.exceptions import MlflowException

        try:
            record = json.loads(self._file.read_text(encoding="utf-8"))
            self._run_id = str(record["run_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        try:
            client.update_run(self._run_id, status="RUNNING")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # deleted, or in another store
                return False
            raise
        self._known_step = self._last_step(client, _LOSS)
        self._known_epoch = self._last_step(client, _EPOCH_LOSS)
        return True

    def _last_step(self, client: MlflowClient, name: str) -> int:
        return max((m.step for m in client.get_metric_history(self._run_id, name)), default=0)

    def _wait(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(name, float(v), now, step) for name, v in values.items()]

    def _send(self) -> None:
        while self._client is not None and self._waiting:
            part = self._waiting[:_MOST_METRICS]
            if not self._try(partial(self._client.log_batch, self._run_id, metrics=part)):
                return
            del self._waiting[: len(part)]

    def _try(self, call: Callable[[], object]) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            call()
        except MlflowException as error:
            _log.warning("MLflow does not answer (%s); the run goes on", _first_line(error))
            return False
        return True

    def _status(self) -> str:
        """Return how the run ended: the loop stops its observers while an error passes."""
        error = sys.exception()
        if error is None or self._epochs_done >= self._plan.epochs:
            return "FINISHED"
        return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with names joined by dots: ``optimizer.lr``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _advice(uri: str | None, error: Exception) -> str:
    place = "MLFLOW_TRACKING_URI" if uri is None else repr(uri)
    return (
        f"MLflow cannot keep runs at {place} ({_first_line(error)[:160]}): give the address of a "
        "server, or a file:// address and set MLFLOW_ALLOW_FILE_STORE=true"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
