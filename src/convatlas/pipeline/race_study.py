"""The record of a race: an Optuna study in an SQLite file, one trial per network.

A rung that is noted there is finished for good; everything else can be done again. Optuna's own
``SuccessiveHalvingPruner`` is asynchronous: it decides on each network as soon as that one
reports, always lets the first one through, and cannot let a trial wait for the others. Here the
order must not matter, so the trials stay open, and who goes on is decided between two rungs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convatlas.errors import CheckpointError, OutputError
from convatlas.search.halving import Stint

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

__all__ = ["RaceStudy", "held_networks", "open_study"]

_NAME, _NETWORK, _NETWORKS = "race", "network", "networks"
_PLAN, _QUESTION, _FAILURE = "plan", "question", "failure"
_RUNG = "epoch "


@contextmanager
def open_study(
    path: Path, plan: Mapping[str, Any], names: Sequence[str], question: Mapping[str, Any]
) -> Iterator[RaceStudy]:
    """Open the study of a race for a while, in which Optuna keeps quiet.

    Args:
        path: The SQLite file; it is made if it is not there.
        plan: What decides the outcome, as JSON values: a study of another plan is refused.
        names: The networks.
        question: What the networks were chosen by, as JSON values; kept of the first start.

    Raises:
        CheckpointError: The file holds another race, or no study.
        OutputError: It cannot be written.
    """
    with _opened(path) as study:
        with _guarded(path):
            study.begin(plan, names, question)
        yield study


def held_networks(path: Path, question: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the networks of a race that began with the same question; none of any other.

    Raises:
        CheckpointError: The file holds no study.
    """
    if not path.is_file():
        return ()
    with _opened(path) as study, _guarded(path):
        return study.held(question)


@contextmanager
def _opened(path: Path) -> Iterator[RaceStudy]:
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with ExitStack() as stack:
        stack.callback(optuna.logging.set_verbosity, verbosity)
        with _guarded(path):
            # A URL would give a meaning to ?, % and braces in the folder's name.
            storage = optuna.storages.RDBStorage(
                "sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(path)}
            )
            stack.callback(storage.engine.dispose)
            stack.callback(storage.remove_session)
            study = RaceStudy(path, storage)
        yield study


class RaceStudy:
    """What is known of the networks of a race so far.

    Args:
        path: The SQLite file, for messages.
        storage: Optuna's access to it.
    """

    def __init__(self, path: Path, storage: RDBStorage) -> None:
        import optuna

        self._path = path
        self._storage = storage
        self._study = optuna.create_study(
            storage=storage,
            study_name=_NAME,
            direction="maximize",
            pruner=optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        self._numbers: dict[str, int] = {}
        self._stints: dict[str, list[Stint]] = {}
        self._failures: dict[str, str] = {}

    def held(self, question: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the networks of the race, if this is what they were chosen by."""
        kept = self._study.user_attrs.get(_QUESTION, {})
        return tuple(kept[_NETWORKS]) if kept.get(_QUESTION) == question else ()

    def begin(
        self, plan: Mapping[str, Any], names: Sequence[str], question: Mapping[str, Any]
    ) -> None:
        """Keep the plan, or compare it with the one that was kept, and enrol the networks.

        Raises:
            CheckpointError: Another plan was kept.
        """
        kept = self._study.user_attrs.get(_PLAN)
        if kept is None:
            asked = {_QUESTION: dict(question), _NETWORKS: list(names)}
            self._study.set_user_attr(_QUESTION, asked)
            self._study.set_user_attr(_PLAN, dict(plan))
        else:
            self._require_same(kept, plan)
        self._enrol(names)
        for trial in self._study.get_trials(deepcopy=False):
            self._read(trial)

    def stints(self, name: str) -> tuple[Stint, ...]:
        """Return what a network was worth at the end of each rung that it finished."""
        return tuple(self._stints[name])

    def failure(self, name: str) -> str:
        """Return why a network could not be trained further, or ``""``."""
        return self._failures.get(name, "")

    def note(self, name: str, stint: Stint) -> None:
        """Keep what a network was worth at the end of a rung, which is thereby finished."""
        with _guarded(self._path):
            trial = self._id(name)
            self._storage.set_trial_intermediate_value(trial, stint.epochs, stint.accuracy)
            self._storage.set_trial_user_attr(trial, f"{_RUNG}{stint.epochs}", asdict(stint))
        self._stints[name].append(stint)

    def fail(self, name: str, reason: str) -> None:
        """Keep why a network could not be trained further."""
        with _guarded(self._path):
            self._storage.set_trial_user_attr(self._id(name), _FAILURE, reason)
        self._failures[name] = reason

    def end(self, name: str, *, finished: bool) -> None:
        """End the trial of a network, if that was not done: it is out, or it got to the end."""
        from optuna.trial import TrialState

        state, value = TrialState.PRUNED, None
        if self.failure(name):
            state = TrialState.FAIL
        elif finished:
            state, value = TrialState.COMPLETE, self.stints(name)[-1].accuracy
        with _guarded(self._path):
            self._study.tell(self._numbers[name], value, state=state, skip_if_finished=True)

    def _require_same(self, kept: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        changed = [_change(k, kept.get(k), plan[k]) for k in plan if kept.get(k) != plan[k]]
        if changed:
            raise CheckpointError(
                f"{self._path.parent} holds another race ({'; '.join(changed)}): ask for the same "
                "again, or choose another folder"
            )

    def _enrol(self, names: Sequence[str]) -> None:
        """Open a trial for each network that has none."""
        from optuna.distributions import CategoricalDistribution
        from optuna.trial import TrialState, create_trial

        known = {trial.params[_NETWORK] for trial in self._study.get_trials(deepcopy=False)}
        grid = CategoricalDistribution(tuple(names))
        for name in names:
            if name not in known:
                self._study.add_trial(
                    create_trial(
                        state=TrialState.RUNNING,
                        params={_NETWORK: name},
                        distributions={_NETWORK: grid},
                    )
                )

    def _read(self, trial: FrozenTrial) -> None:
        """Remember what the file holds of a network."""
        name, attrs = trial.params[_NETWORK], trial.user_attrs
        found = [value for key, value in attrs.items() if key.startswith(_RUNG)]
        stints = [Stint(**{**each, "interval": tuple(each["interval"])}) for each in found]
        self._numbers[name] = trial.number
        self._stints[name] = sorted(stints, key=lambda stint: stint.epochs)
        if _FAILURE in attrs:
            self._failures[name] = attrs[_FAILURE]

    def _id(self, name: str) -> int:
        study = self._storage.get_study_id_from_name(_NAME)
        return self._storage.get_trial_id_from_study_id_trial_number(study, self._numbers[name])


def _change(key: str, was: Any, now: Any) -> str:
    """Return in words what changed; of a list of names only those that came and went."""
    if key != _NETWORKS:
        return f"{key} {was} → {now}"
    gone, new = ([each for each in a if each not in b] for a, b in ((was, now), (now, was)))
    parts = [f"{how} {', '.join(n)}" for how, n in (("without", gone), ("with", new)) if n]
    return f"{key} {' and '.join(parts)}"


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with the file at ``path``."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = " ".join(str(getattr(cause, "orig", None) or cause or error).split())
        if isinstance(cause, OperationalError):
            raise OutputError(
                f"cannot write {path}: {reason}; free some space, or choose a folder that can be "
                "written and that no other race is using"
            ) from error
        raise CheckpointError(
            f"expected the record of a race in {path}, got a file that cannot be used ({reason}): "
            "move it away, or choose another folder"
        ) from error
