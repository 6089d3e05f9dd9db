"""A real MLflow store in a folder: what is logged is read back through MLflow's own client."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from convatlas.errors import MissingExtraError, OptionError
from convatlas.train.mlflow import MLflow, flatten
from convatlas.train.reports import EpochReport, Plan, StepReport

PARAMS = {"name": "tiny", "optimizer": {"lr": 0.1, "name": "sgd"}, "input": {"sizes": [32, 64]}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


def observer(folder: Path, store: str | None) -> MLflow:
    return MLflow(folder, experiment="digits", run_name="first", params=PARAMS, tracking_uri=store)


def step(number: int) -> StepReport:
    return StepReport(epoch=(number - 1) // 4 + 1, step=number, loss=1 / number, lr=0.1, images=8)


def epoch(number: int) -> EpochReport:
    metrics = {"accuracy": 0.5 + number / 10}
    return EpochReport(number, 4 * number, 0.5, 0.1, 0.9, metrics, True, 1.0, 32.0)


def train(watcher: MLflow, plan: Plan, last_step: int, error: BaseException | None = None) -> None:
    """Call the observer as the loop does: an exit stack stops it while an error passes."""
    with suppress(type(error) if error else ()), ExitStack() as stack:
        stack.callback(watcher.stop)
        watcher.start(plan)
        for number in range(plan.steps_done + 1, last_step + 1):
            watcher.step(step(number))
            if number % 4 == 0:
                watcher.epoch(epoch(number // 4))
        if error is not None:
            raise error


def runs(store: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def history(store: str, run_id: str, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    return sorted((m.step, m.value) for m in client.get_metric_history(run_id, name))


def test_figures_parameters_and_the_end_are_logged(tmp_path: Path, store: str) -> None:
    train(observer(tmp_path, store), Plan(2, 4), 8)
    (run,) = runs(store)
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "name": "tiny",
        "optimizer.lr": "0.1",
        "optimizer.name": "sgd",
        "input.sizes": "[32, 64]",
    }
    assert history(store, run.info.run_id, "train/loss") == [(n, 1 / n) for n in range(1, 9)]
    assert history(store, run.info.run_id, "eval/accuracy") == [(4, 0.6), (8, 0.7)]


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "KILLED"), (ValueError("NaN"), "FAILED")]
)
def test_a_resumed_run_goes_on_in_the_same_one_without_repeating_itself(
    tmp_path: Path, store: str, error: BaseException, status: str
) -> None:
    train(observer(tmp_path, store), Plan(3, 4), 6, error)
    (stopped,) = runs(store)
    assert stopped.info.status == status
    train(observer(tmp_path, store), Plan(3, 4, epochs_done=1, steps_done=4), 12)
    (run,) = runs(store)
    assert run.info.run_id == stopped.info.run_id
    assert run.info.status == "FINISHED"
    assert history(store, run.info.run_id, "train/loss") == [(n, 1 / n) for n in range(1, 13)]
    assert [s for s, _ in history(store, run.info.run_id, "eval/accuracy")] == [4, 8, 12]


def test_a_run_that_ends_well_while_another_error_is_handled_is_finished(
    tmp_path: Path, store: str
) -> None:
    try:
        raise ValueError("somebody else's")
    except ValueError:
        train(observer(tmp_path, store), Plan(1, 4), 4)
    assert [run.info.status for run in runs(store)] == ["FINISHED"]


def test_a_run_that_the_store_does_not_know_is_begun_anew(tmp_path: Path, store: str) -> None:
    (tmp_path / "mlflow.json").write_text('{"run_id": "0123456789abcdef0123456789abcdef"}')
    train(observer(tmp_path, store), Plan(2, 4, epochs_done=1, steps_done=4), 8)
    (run,) = runs(store)
    assert [s for s, _ in history(store, run.info.run_id, "train/loss")] == [5, 6, 7, 8]


def test_a_store_that_fails_on_the_way_gets_the_figures_later(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(*_: object, **__: object) -> None:
        raise MlflowException("connection refused\nby the server")

    watcher = observer(tmp_path, store)
    watcher.start(Plan(2, 4))
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        broken.setattr(MlflowClient, "log_batch", fail)
        for number in range(1, 5):
            watcher.step(step(number))
        watcher.epoch(epoch(1))
    assert caplog.messages == ["MLflow does not answer (connection refused); the run goes on"]
    for number in range(5, 9):
        watcher.step(step(number))
    watcher.epoch(epoch(2))
    watcher.stop()
    (run,) = runs(store)
    assert [s for s, _ in history(store, run.info.run_id, "train/loss")] == list(range(1, 9))


def test_a_place_that_cannot_keep_runs_is_told(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    for place in (store, "nonsense://server"):
        watcher = observer(tmp_path, place)
        with pytest.raises(OptionError, match="MLflow cannot keep runs at") as caught:
            watcher.start(Plan(1, 1))
        assert "\n" not in str(caught.value)
        watcher.stop()  # nothing was begun
    assert not (tmp_path / "mlflow.json").exists()


def test_without_mlflow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'convatlas\[mlflow\]'"):
        observer(tmp_path, None)


def test_nested_names_are_joined_by_dots() -> None:
    assert flatten({"a": 1, "b": {"c": None, "d": {"e": [1]}}}) == {
        "a": 1,
        "b.c": None,
        "b.d.e": [1],
    }
