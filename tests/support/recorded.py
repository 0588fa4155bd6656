"""Digests of what a scenario shows, as tests/data/scenarios.json.gz holds them: recorded with version 0.1.0."""

import gzip
import json
import math
from dataclasses import fields, is_dataclass

import numpy as np

from nvib.lab import observe
from nvib.lab.share.fingerprint import numbers
from nvib.lab.sweep.space import count, grids, proposals, space
from nvib.lab.sweep.store import name_of
from nvib.lab.view import dirichlet
from nvib.lab.view.batch import as_table, entries, go_through
from nvib.lab.view.comparison import Forced, compare
from nvib.lab.view.distance import prior_summary, text_distance
from nvib.lab.view.samples import draw_row
from nvib.lab.view.walk import follow
from tests.support.folders import ROOT

FORCED = ("tokens", "start", "baseline", "regularised", "kl", "js")


def recorded():
    """Each entry: page, link or file, the scenario's fields as text, and what was seen."""
    return json.loads(gzip.decompress((ROOT / "tests" / "data" / "scenarios.json.gz").read_bytes()))


def digest(value):
    """Dataclasses by field, arrays as their shape and the mean, root mean square and a weighted mean."""
    if isinstance(value, Forced):  # which had the log-probabilities alone then
        return digest({name: getattr(value, name) for name in FORCED})
    if is_dataclass(value):
        return {f.name: digest(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        flat = np.asarray(value, np.float64).ravel()
        weights = np.random.default_rng(0).uniform(0.5, 1.5, len(flat))[np.isfinite(flat)]
        flat = flat[np.isfinite(flat)]
        sums = [flat.mean(), np.sqrt((flat**2).mean()), (flat * weights).mean()] if len(flat) else [0.0] * 3
        return {"shape": list(value.shape), "finite": len(flat), "numbers": [float(x) for x in sums]}
    if isinstance(value, np.generic):
        return digest(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): digest(item) for key, item in value.items()}
    return [digest(item) for item in value] if isinstance(value, list | tuple) else value


def seen_on(page, bench, scenario):
    """What a page shows of a scenario."""
    if page == "Sweep":
        return swept(bench, scenario)
    seen, prior = observe(bench, scenario), bench.priors.of(scenario)
    shown = {"observation": digest(seen), "numbers": numbers(seen)}
    shown["observation"]["provenance"].pop("weights", None)  # which priors did not name when this was recorded
    if page == "Explore" and scenario.path and scenario.effect == "total":
        shown["path"] = digest(follow(bench, scenario.without_view()))
    if page == "Pseudo-counts":
        shown["draws"] = digest(draw_row(bench, scenario, seen))
        log_alpha = dirichlet.components(seen.log_alpha[seen.layer], seen.prior_log_alpha[seen.layer])
        if np.isfinite(log_alpha).any():
            ends = dirichlet.intervals(log_alpha, scenario.level)
            number = dirichlet.effective_number(log_alpha)
            shown["dirichlet"] = digest([dirichlet.mean_weights(log_alpha), *ends, number])
    if page == "Compare" and bench.mode.writes:
        shown["comparison"] = digest(compare(bench, scenario, prior))
    if page == "Compare" and scenario.listing:
        rows = list(go_through(bench, scenario, prior, entries(scenario.listing)))
        shown["listing"] = json.loads(as_table(rows).to_json(orient="split"))
    if page == "Prior":
        shown["prior"] = digest(prior_summary(bench, scenario, prior, scenario.kind))
        shown["fingerprint"] = prior.fingerprint if scenario.prior != "text" else ""
        other = scenario.other_text or scenario.text
        shown["distance"] = digest(text_distance(bench, scenario, other, scenario.kind))
    return shown


def swept(bench, scenario):
    """What a sweep would go through, the points before answered with their number."""
    tried = space(scenario.at_identity(), scenario.grid)
    points, proposed = [], proposals(tried, scenario.search, scenario.trials, scenario.seed)
    point = next(proposed, None)
    while point is not None:
        points.append(name_of(point))
        try:
            point = proposed.send(float(len(points)))
        except StopIteration:
            point = None
    number = count(tried, scenario.search, scenario.trials)
    return {"spec": tried.spec, "count": number, "points": points, "grids": grids(bench.shape)}


def differences(here, there, relative, absolute, path=""):
    """Where two digests differ by more than numbers may."""
    if isinstance(here, dict) and isinstance(there, dict) and here.keys() == there.keys():
        return [d for key in here for d in differences(here[key], there[key], relative, absolute, f"{path}/{key}")]
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        pairs = enumerate(zip(here, there, strict=True))
        return [d for n, pair in pairs for d in differences(*pair, relative, absolute, f"{path}/{n}")]
    if isinstance(here, float) and isinstance(there, float):
        return [] if abs(here - there) <= absolute + relative * abs(there) else [f"{path}: {here} here, {there} there"]
    return [] if here == there else [f"{path}: {here!r} here, {there!r} there"]
