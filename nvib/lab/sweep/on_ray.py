"""The engine that measures on a Ray cluster: a pool of actors, each with one bench, that the driver gives places to.

Only numbers and texts cross: a task with its texts, a place and an answer as JSON, and of a visitor's own prior the
bytes of its file. An actor whose node dies is started again elsewhere by Ray, and its place goes back into the line.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import numpy as np

from nvib import __version__
from nvib.errors import NVError
from nvib.lab.fields import written
from nvib.lab.model.bench import MAX_TOKENS, Bench
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import FIELDS, Scenario
from nvib.lab.sweep import measures
from nvib.lab.sweep.engine import Engine, Place, Rows, rows_at
from nvib.lab.sweep.tasks import Task
from nvib.prior import Prior

TICK = 0.5  # seconds until the driver looks whether it is still wanted
LOSSES = 3  # of one place, after which it is held to kill whoever measures it
CONNECT = 2.0  # seconds for Ray's head to answer
LOOK = 1.0  # seconds until it is asked again
GONE = 10.0  # seconds without an answer of the head; after 60 Ray ends the process of whoever is connected
MEASURES = {name: found for name, found in vars(measures).items() if isinstance(found, measures.Measure)}
_connecting = threading.Lock()
_users: list[None] = []  # one for each engine that is open, where the connection is ours


class OnRay(Engine):
    """A model's points on a Ray cluster, through as many actors as it has room for.

    dtype, most: as a bench takes them; shape: of the model where it is known, else an actor tells it. own: a point's
    prior, where a point may name one that only the driver has. Each actor takes NVIB_RAY_CPUS processors, 1 unless it
    is set, and where the cluster has GPUs NVIB_RAY_GPUS of one, which may be a fraction. Close it, or use it in a
    `with`. Raises NVError without Ray or a cluster, where it has no room for an actor, where the model cannot be loaded
    there, and where an actor runs another version.
    """

    def __init__(self, model: str, dtype: str = "float32", most: int = MAX_TOKENS, shape: Shape | None = None) -> None:
        cpus = _share("NVIB_RAY_CPUS", os.environ.get("NVIB_RAY_CPUS", ""))
        gpus = _share("NVIB_RAY_GPUS", os.environ.get("NVIB_RAY_GPUS", ""))
        self._ray = connected()
        self.own: Callable[[Scenario], Prior] | None = None
        self._own_refs: dict[str, Any] = {}
        cluster = self._ray.cluster_resources()
        gpus = gpus if cluster.get("GPU") else 0.0
        room = min([cluster.get("CPU", 0.0) / cpus, *([cluster["GPU"] / gpus] if gpus else [])])
        if room < 1:
            disconnect(self._ray)
            raise NVError(f"The Ray cluster has {cluster.get('CPU', 0):g} processors; an actor needs {cpus:g}.")
        # what is lost with a node is told at once and goes back into the line; only the greeting waits for the restart
        remote = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=0)(Worker)
        self._idle: list[Any] = []
        self._actors = [remote.remote(model, dtype, most) for _ in range(int(room))]
        self._busy: dict[Any, tuple[Any, Place | None]] = {}
        self._shape = shape
        self._head, self._looked = self._ray.get_runtime_context().gcs_address, time.monotonic()
        self._silent: float | None = None  # since when the head is
        for actor in self._actors:
            self._greet(actor)

    def __enter__(self) -> OnRay:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the actors go, whatever they are at, and the cluster."""
        for actor in self._actors:
            with suppress(Exception):  # the cluster may be gone
                self._ray.kill(actor)
        if self._actors:
            disconnect(self._ray)
        self._actors, self._idle, self._busy = [], [], {}

    @property
    def workers(self) -> int:
        """How many actors there are."""
        return len(self._actors)

    @property
    def shape(self) -> Shape:
        """As the first actor that is ready tells it."""
        while self._shape is None:
            for _ in self._answers():
                pass
        return self._shape

    def require_peers(self, peers: Collection[str]) -> None:
        """See `Engine.require_peers`: the model is elsewhere, and says so when a peer's turn comes."""

    def measure(self, task: Task, places: Iterable[Place], tick: Callable[[], None]) -> Iterator[tuple[Place, Rows]]:
        """See `Engine.measure`."""
        given, lost, waiting = self._ray.put(_task_text(task)), Counter[Place](), deque(places)
        while waiting or any(place for _, place in self._busy.values()):
            while waiting and self._idle:
                actor, place = self._idle.pop(), waiting.popleft()
                self._busy[actor.measure.remote(given, *self._crossing(place))] = actor, place
            tick()
            for place, found in self._answers():
                if found:
                    yield place, found
                    continue
                lost[place] += 1
                if lost[place] == LOSSES:
                    raise NVError(f"{LOSSES} Ray workers died at one point, as where memory runs out; see Ray's log.")
                waiting.append(place)

    def _answers(self) -> list[tuple[Place, Rows | None]]:
        """What has come within a tick: the rows of a place, or None where they were lost with their actor."""
        found = list[tuple[Place, Rows | None]]()
        self._require_head()
        for ref in self._ray.wait(list(self._busy), timeout=TICK)[0]:
            actor, place = self._busy.pop(ref)
            try:
                answer = json.loads(self._ray.get(ref))
            except self._ray.exceptions.RayError as error:
                lost = isinstance(error, self._ray.exceptions.RayActorError | self._ray.exceptions.ObjectLostError)
                if not lost or not place:  # a greeting is tried again without end, unless nothing helps
                    raise NVError(
                        f"A Ray worker cannot go on ({_last_line(error)}); is nvib installed on every node?"
                    ) from error
                found.append((place, None))
                self._greet(actor)
                continue
            self._check(answer)
            if place:
                judged = answer["judged"]
                found.append((place, Rows(np.array(answer["sums"]), None if judged is None else np.array(judged))))
            self._idle.append(actor)
        return found

    def _require_head(self) -> None:
        """Raises NVError where Ray's head has not answered for a while, whatever the workers say meanwhile."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        try:
            _require_answer(self._head)
            self._silent = None
        except OSError as error:
            self._silent = now if self._silent is None else self._silent
            if now - self._silent > GONE:
                self._actors = []  # nobody is there to let them go
                disconnect(self._ray)
                raise NVError(
                    f"Ray's head at {self._head} does not answer any more; what is measured stays: go on once it is up."
                ) from error

    def _greet(self, actor: Any) -> None:
        """Have an actor load its model; it is given places once it says that it has."""
        self._busy[actor.hello.options(max_task_retries=-1).remote()] = actor, None

    def _check(self, answer: dict[str, Any]) -> None:
        """Raises NVError for what a worker could not do, and for one that would measure something else."""
        if told := answer.get("told"):
            raise NVError(told)
        if answer["version"] != __version__:
            raise NVError(
                f"A Ray worker has nvib {answer['version']}, and this is {__version__}; install the same on every node."
            )
        said = answer["shape"]
        shape = Shape(**said | {"kinds": tuple(said["kinds"])})
        if self._shape and self._shape.revision != shape.revision:
            raise NVError(f"The Ray workers hold {shape.called} in different revisions; give them the same files.")
        self._shape = self._shape or shape

    def _crossing(self, place: Place) -> tuple[str, Any]:
        """A place as text, and the bytes of its prior where only the driver has it, or None."""
        point, data = place.point, None
        if self.own and not point.peer and point.prior in ("own", "text"):
            prior = self.own(point)
            point = replace(point, prior="own", prior_id=prior.identity, prior_text="")
            if prior.identity not in self._own_refs:
                self._own_refs = {prior.identity: self._ray.put(prior.to_bytes())}
            data = self._own_refs[prior.identity]
        return _place_text(replace(place, point=point)), data


class Worker:
    """One bench in a process of Ray's. What it is asked and answers is JSON; of an error the sentence alone."""

    def __init__(self, model: str, dtype: str, most: int) -> None:
        self._model, self._dtype, self._most = model, dtype, most
        self._bench: Bench | None = None

    def hello(self) -> str:
        """Load the model; the answer has its shape, and the version of the library."""
        return self._answer(lambda bench: {})

    def measure(self, task: str, place: str, prior: bytes | None) -> str:
        """The rows of a place."""

        def rows(bench: Bench) -> dict[str, Any]:
            if prior is not None:
                bench.priors.keep(Prior.from_bytes("of the driver", prior))
            found = rows_at(bench, _task_of(task), _place_of(place))
            return {"sums": found.sums.tolist(), "judged": None if found.judged is None else found.judged.tolist()}

        return self._answer(rows)

    def _answer(self, make: Callable[[Bench], dict[str, Any]]) -> str:
        try:
            self._bench = self._bench or Bench(self._model, "auto", self._dtype, most=self._most)
            return json.dumps({"version": __version__, "shape": asdict(self._bench.shape)} | make(self._bench))
        except NVError as error:
            return json.dumps({"told": str(error)})


def connected() -> Any:
    """Ray, connected to the cluster that RAY_ADDRESS names, else to this machine's, which is begun where there is none.

    Raises NVError with one sentence.
    """
    try:
        import ray
    except ImportError as error:
        raise NVError("The engine ray needs the package ray; run pip install 'nvib-explorer[ray]'.") from error
    with _connecting:
        if _users or not ray.is_initialized():  # else it is the caller's own, and stays
            if not _users:
                _connect(ray)
            _users.append(None)
    return ray


def _connect(ray: Any) -> None:
    address = os.environ.get("RAY_ADDRESS", "").strip()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is begun here tells nobody
    try:
        _require_answer(address)
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f"at RAY_ADDRESS={address!r}" if address else "on this machine"
        why = _last_line(error)
        raise NVError(f"Ray cannot be reached {where} ({why}); is it up, and is the token its own?") from error


def disconnect(ray: Any) -> None:
    """The end of one `connected`: after the last a process is of no cluster, whose end would be its own."""
    with _connecting:
        if _users:
            _users.pop()
            if not _users:
                ray.shutdown()


def _require_answer(address: str) -> None:
    """Raises OSError where nothing listens: Ray itself tries for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:160].rstrip(".")


def _share(variable: str, value: str) -> float:
    """How much of something an actor takes, by a variable's value. Raises NVError for what is no number above 0."""
    text = value.strip() or "1"
    with suppress(ValueError):
        if 0 < float(text) < 10**6:
            return float(text)
    raise NVError(f"{variable}={text!r} is no number above 0.")


# As text


def _task_text(task: Task) -> str:
    """Raises NVError for a task whose measure has no name that a worker could know it by."""
    name = next((name for name, measure in MEASURES.items() if measure is task.measure), None)
    if name is None:
        raise NVError(f"The task {task.name!r} has a measure of its own; the engine ray takes those of nvib alone.")
    sets = {called: [(e.text, e.target) for e in examples] for called, examples in task.sets.items()}
    return json.dumps({"name": task.name, "model": task.model, "measure": name, "sets": sets, "inside": task.inside})


@lru_cache(1)
def _task_of(text: str) -> Task:
    said = json.loads(text)
    sets = {name: [measures.Example(*pair) for pair in pairs] for name, pairs in said["sets"].items()}
    return Task(said["name"], said["model"], MEASURES[said["measure"]], sets, tuple(said["inside"]), "")


def _place_text(place: Place) -> str:
    said = {name: written(value) for name, value in place.point.changed().items()}
    return json.dumps({"point": said, "name": place.name, "part": place.part, "judged": place.judged})


def _place_of(text: str) -> Place:
    said = json.loads(text)
    values: dict[str, Any] = {name: FIELDS[name].parse(value) for name, value in said["point"].items()}
    return Place(Scenario(**values), said["name"], said["part"], said["judged"])
