"""The run of a sweep: where its results are kept, its button with progress and a way to stop, and what is measured."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from nvib import NVError, assets
from nvib.lab import Bench
from nvib.lab.bootstrap import Metric
from nvib.lab.sweep.engine import LOCAL, RAY, Engine, Local, chosen_engine
from nvib.lab.sweep.on_ray import OnRay
from nvib.lab.sweep.run import Findings, Plan, read_calibration, read_findings, sweep
from nvib.lab.sweep.store import file_name, is_sound
from nvib.lab.sweep.timing import seconds_a_text
from nvib.memory import Memory
from nvib.models.packaged import cache_folder
from nvib.show import resources
from nvib.show.gate import in_words

T = TypeVar("T")
RUNNING = "sweep_running"
STORES_KEPT, KEPT_SECONDS = 64, 86_400  # files of results that nobody asked for since
FINDINGS_KEPT = 64
CALIBRATIONS_KEPT = 16
RATES_KEPT = 64
_findings: Memory[Findings] = Memory(FINDINGS_KEPT)
_calibrations: Memory[dict[str, dict[str, np.ndarray]]] = Memory(CALIBRATIONS_KEPT)
_rates: Memory[list[float]] = Memory(RATES_KEPT)  # seconds a text, one of each: the last that was measured


def store_of(plan: Plan, revision: str) -> Path:
    """The file that the server keeps a task's results in, begun with what ships; the oldest go. Raises NVError."""
    path = cache_folder() / "sweeps" / file_name(plan.task, revision)
    shipped = assets.shipped("assets", "sweeps") / f"{path.name}.gz"
    try:
        kept_in(path)
        if path.exists() and not _sound(
            path, path.stat().st_mtime_ns
        ):  # a disk that failed: what is lost is measured anew
            path.replace(path.with_suffix(".damaged"))
        if shipped.exists() and not path.exists():
            part = path.with_suffix(f".{time.monotonic_ns()}")
            part.write_bytes(gzip.decompress(shipped.read_bytes()))
            part.replace(path)
    except OSError as error:
        raise NVError(f"The results cannot be kept in {str(path.parent)!r} ({error.strerror}).") from error
    return path


def kept_in(path: Path) -> None:
    """Make a file's folder, and let the oldest of its kind go: those that nobody has written to for a day.

    The others may be open in another run. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    changed = {file: file.stat().st_mtime for file in path.parent.glob(f"*{path.suffix}")}
    for old in sorted(changed, key=lambda file: changed[file])[:-STORES_KEPT]:
        if old != path and time.time() - changed[old] > KEPT_SECONDS:
            old.unlink(missing_ok=True)


@lru_cache(STORES_KEPT)
def _sound(path: Path, _written: int) -> bool:
    """Whether a file of results holds together, asked once while nobody writes to it."""
    return is_sound(path)


def run_panel(bench: Bench, plan: Plan, path: Path, kept: Findings) -> None:
    """The button, and while it runs the progress and a way to stop; what is measured stays."""
    state, key = st.session_state, plan.key
    spot = st.empty()
    if state.get(RUNNING) == key:
        with spot.container():
            bar = st.progress(0.0, "Measuring the untouched model")
            st.button("Stop the sweep", on_click=_set_running, args=(None,), help="What is measured stays.")
        try:
            if plan.space.base.prior == "text":
                resources.prior(bench, plan.space.base)  # it has a progress of its own, and is kept
            started = time.monotonic()
            with _engine(bench) as engine:
                sweep(engine, plan, path, _teller(bar))
            if kept.left:
                _rates.get(_rated(bench, plan), lambda: [0.0])[0] = (time.monotonic() - started) / kept.left
        except NVError:
            _offer(spot, plan, kept)  # what was wrong may be over when it is tried again
            raise
        finally:
            state[RUNNING] = None
        st.rerun()
    if not kept.finished:
        _offer(spot, plan, kept)
        with suppress(Exception):  # what cannot be run is told when it is
            st.caption(_estimate(bench, plan, kept.left))


def _offer(spot: Any, plan: Plan, kept: Findings) -> None:
    """The button that runs a sweep, in the place of whatever stands in a spot."""
    label = "Go on with the sweep" if kept.rows else "Run the sweep"
    points = f"{plan.points:,} point{'s' if plan.points > 1 else ''}"
    spot.button(f"{label}, {points}", type="primary", on_click=_set_running, args=(plan.key,))


@contextmanager
def _engine(bench: Bench) -> Iterator[Engine]:
    """Where a sweep of a bench's model is measured, as NVIB_ENGINE says: on it, or by others like it."""
    if chosen_engine() == LOCAL:
        yield Local(bench)
        return
    with OnRay(bench.source, bench.shape.dtype, bench.most, bench.shape) as engine:
        engine.own = bench.priors.of
        yield engine


def _estimate(bench: Bench, plan: Plan, left: int) -> str:
    """How long what is left will take, by the last run's rate or by a few texts that are timed now, once.

    On Ray by the last run's alone, for this machine's own rate says nothing of a cluster's.
    """
    if chosen_engine() == RAY and _rated(bench, plan) not in _rates:
        return f"{left:,} texts to run, each under one setting, on Ray."
    (seconds,) = timed(_rates, _rated(bench, plan), lambda: [seconds_a_text(bench, plan)])
    where = "on Ray" if chosen_engine() == RAY else "on this machine"
    return (
        f"{left:,} texts to run, each under one setting: {in_words(left * seconds)} {where}, at the rate of "
        "those that it was timed on."
    )


def timed(kept: Memory[T], key: Hashable, measure: Callable[[], T]) -> T:
    """What a few texts take, measured once and told while it is."""

    def alone() -> T:
        with resources.GATE.turn():  # its waits would count else
            return measure()

    with nullcontext() if key in kept else st.spinner("Timing a few texts …"):
        return kept.get(key, alone)


def _rated(bench: Bench, plan: Plan) -> tuple[Any, ...]:
    """What a rate is of: a model's own time for a task's texts."""
    shape, task = bench.shape, plan.task
    return chosen_engine(), shape.name, shape.revision, task.name, task.digest, task.metric.name


def _teller(bar: Any) -> Callable[[int, int], None]:
    """What a sweep tells its progress to: a bar, with the time that is left once there is something to judge it by."""
    begun: list[tuple[float, int]] = []

    def tell(done: int, count: int) -> None:
        begun.append((time.monotonic(), done))
        (start, first), (now, _) = begun[0], begun[-1]
        seconds = (now - start) / max(1, done - first) * (count - done)
        left = f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"
        bar.progress(done / count, f"{done:,} of {count:,} measurements{left if done - first > 2 else ''}")

    return tell


def _set_running(key: Any) -> None:
    """Have the next run of the page measure what the key is of; None for nothing."""
    st.session_state[RUNNING] = key


def findings(bench: Bench, plan: Plan, path: Path, metric: Metric) -> Findings:
    """What the file has of the plan, by a metric; read anew where the file has changed."""
    key = (path, _state(path), plan.key, metric.name, bench.shape.revision)
    return _findings.get(key, lambda: read_findings(plan, path, bench.shape.revision, metric))


def calibration(bench: Bench, plan: Plan, path: Path, kept: Findings) -> dict[str, dict[str, np.ndarray]]:
    """What the file has of the calibration of what was found, by set and side; read anew where the file has changed."""
    key = (path, _state(path), plan.key, kept.best, kept.peer, bench.shape.revision)
    return _calibrations.get(key, lambda: read_calibration(plan, path, bench.shape.revision, kept))


def _state(path: Path) -> tuple[int, ...]:
    """When a file was written last, and how large it is; nothing where there is none."""
    if not path.exists():
        return ()
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size
