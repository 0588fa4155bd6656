"""Models and observations that the visitors of one server share, within budgets; pages never change what they get."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import partial

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from nvib.errors import NVError
from nvib.fitting import Batch
from nvib.lab import Bench, IdentityProof, Observation, Scenario, observe, prove_identity
from nvib.lab.scenario import PRIOR
from nvib.lab.view import distance, words
from nvib.lab.view.ablation import Ablation, ablate
from nvib.lab.view.check import Finding, findings
from nvib.lab.view.distance import TextDistance
from nvib.lab.view.forwards import both_sides
from nvib.lab.view.glance import Glance
from nvib.lab.view.glance import glance as small_maps
from nvib.lab.view.heads import Heads, over_texts
from nvib.lab.view.lens import Lens
from nvib.lab.view.lens import lens as read_layers
from nvib.lab.view.observation import OBSERVED
from nvib.lab.view.samples import Draws, draw_row
from nvib.lab.view.slopes import Slopes, slopes_of_list
from nvib.lab.view.slopes import slopes as slopes_of
from nvib.lab.view.walk import Path, follow
from nvib.lab.view.words import Row, Taken
from nvib.memory import Memory, Pool, looking, size_of
from nvib.models import hub
from nvib.models.catalogue import resolve
from nvib.prior import Prior
from nvib.show import boundary, journal, session, shared, waiting
from nvib.show.gate import Gate, Place, tokens_of
from nvib.show.leases import Leases, Room
from nvib.show.limits import limits

LONG = 256  # tokens of a text above which a page says that the model is at work

LIMITS = limits()
PAGES = Gate(int(LIMITS.pages), int(LIMITS.line), float(LIMITS.patience))  # in front of the pages
GATE = Gate(int(LIMITS.forwards), int(LIMITS.line), float(LIMITS.patience), LIMITS.work_seconds)  # of the models
BENCHES: Leases[Bench] = Leases(LIMITS.models_bytes, Bench.close, float(LIMITS.patience))
KEPT = Pool(LIMITS.results_bytes)
_SAY: ContextVar[Callable[[str], None]] = ContextVar("say")  # to the visitor of a run
_observations: Memory[Observation] = Memory(KEPT, size_of)
_distances: Memory[TextDistance] = Memory(KEPT, size_of)
_draws: Memory[Draws] = Memory(KEPT, size_of)
_rows: Memory[Row] = Memory(KEPT, size_of)
_taken: Memory[Taken] = Memory(KEPT, size_of)
_proofs: Memory[IdentityProof] = Memory(KEPT, size_of)


def bench(name: str, device: str = "", dtype: str = "") -> Bench:
    """The model of this name, loaded once for all visitors, and anew when the files of its folder were written anew.

    device, dtype: as a scenario names them, nothing for the server's own. Raises NVError or ValueError with one
    sentence.
    """
    called, name, how = resolve(name), meant(name), _how(device, dtype)

    def made(room: Room) -> Bench:
        with ExitStack() as turn:

            def ready(size: int) -> None:
                room(size)
                turn.enter_context(GATE.turn())

            bench = Bench(
                name, *how, ready=ready, kept=KEPT, most=int(LIMITS.tokens),
                called=called, shelf=shared.priors(),
            )  # fmt: skip
        GATE.guard(bench.model)
        return bench

    seen = get_script_run_ctx(suppress_warning=True) and not loaded(called, device, dtype)
    with st.spinner("Loading the model …") if seen else nullcontext():
        found = BENCHES.get((*_files(name), *how), made, _stand_aside)
    GATE.note(called)
    return found


@contextmanager
def visit(visitor: str = "", say: Callable[[str], None] | None = None, address: str = "") -> Iterator[None]:
    """A run of a page: it has its visitor's place in the lines, and what it uses stays until it ends.

    visitor, say, address: of a run that is no page's. say: told what the run waits for, and "" as it goes on; what it
    raises ends the run.
    """
    say = say or waiting.say
    context = get_script_run_ctx(suppress_warning=True)
    visitor = visitor or (context.session_id if context else f"thread {threading.get_ident()}")

    def tell(place: Place | None) -> None:
        say(place.words if place else "")

    def at_gate(place: Place | None) -> None:
        """Who waits for a model, and each step of long work, leaves room for other pages."""
        if place or GATE.is_long:
            PAGES.leave()
        tell(place)

    saying = _SAY.set(say)
    aside = partial(_stand_aside, "Another visitor's page is making these numbers …")
    with (
        PAGES.run(visitor, tell) as page, GATE.run(visitor, at_gate) as run, BENCHES.run(), looking(aside),
        journal.line(visitor, (page, run), address),
    ):  # fmt: skip
        try:
            yield
        finally:
            _SAY.reset(saying)
            tell(None)


def _stand_aside(sentence: str) -> None:
    """While a run waits for what another has, or is making, there is room for other pages."""
    PAGES.leave()
    _SAY.get(waiting.say)(sentence)


def meant(name: str) -> str:
    """What is loaded for a name that a visitor gives: in public mode one of those that are offered, and no other.

    Raises NVError, the same for every other name, and without a look at any file.
    """
    offered, asked = LIMITS.offered, resolve(name)
    if offered is None:
        return asked
    if asked not in offered:
        raise NVError(f"This server has the models {', '.join(offered)}, and no other; choose one of them.")
    return offered[asked]


def loaded(name: str, device: str = "", dtype: str = "") -> bool:
    """Whether `bench` has the model of this name, device and precision at hand."""
    with suppress(NVError):
        return (*_files(meant(name)), *_how(device, dtype)) in BENCHES
    return False


def _files(name: str) -> tuple[Hashable, ...]:
    return resolve(name), hub.state(name)


def _how(device: str, dtype: str) -> tuple[str, str]:
    """Device and precision that a model is loaded with: in public mode the server's own, whatever is asked for."""
    own = "auto", LIMITS.dtype
    return own if LIMITS.is_public else (device or own[0], dtype or own[1])


def _key(model: Bench, scenario: Scenario, names: Collection[str]) -> Hashable:
    """What numbers depend on that are made of these fields of a scenario."""
    shape = model.shape
    of_model = model.loaded.revision, model.state, shape.device, shape.dtype
    return replace(scenario, model=model.loaded.name).key(names, model.kinds), *of_model


def prior(model: Bench, scenario: Scenario) -> Prior:
    """The prior of a scenario, with progress while it is estimated. Raises NVError with one sentence."""
    if scenario.prior != "text" or model.priors.has(scenario):
        return model.priors.of(scenario)
    spot = st.empty()
    with spot.container():
        status = st.status("Estimating the prior from your text …")
        st.button("Cancel the estimate", on_click=session.give_up_prior_text)
    try:
        return model.priors.of(
            scenario, lambda tokens: status.update(label=f"Estimating the prior: {tokens:,} tokens read")
        )
    finally:
        spot.empty()


def observation(model: Bench, scenario: Scenario) -> Observation:
    """The numbers of a scenario; recent ones are kept. Raises NVError or ValueError with one sentence."""
    told = prior(model, scenario).provenance  # which is this visitor's, whoever else has the same numbers
    shown = replace(scenario, kind=scenario.kind or model.kinds[-1])
    key = (_key(model, shown, OBSERVED), tuple(sorted(told.items())))
    with nullcontext() if key in _observations else at_work(model, scenario):
        return _observations.get(key, lambda: observe(model, scenario))


def at_work(model: Bench, scenario: Scenario) -> AbstractContextManager[None]:
    """What says, while it lasts, that the model runs on a long text; nothing for a short one, or one it cannot take."""
    with suppress(Exception):
        tokens = model.encode(model.rows(scenario.text))["input_ids"].numel()
        if tokens > LONG:
            return st.spinner(f"The model runs on {tokens:,} tokens …")
    return nullcontext()


def taken(model: Bench, scenario: Scenario, seen: Observation, layer: int, head: int) -> Taken:
    """What took a head's attention; recent answers are kept."""
    key = (_key(model, scenario, OBSERVED), layer, head)
    return _taken.get(key, lambda: words.taken(model, scenario, seen, layer, head))


def row(model: Bench, scenario: Scenario, seen: Observation) -> Row:
    """The row of the weight that is explained; recent ones are kept."""
    return _rows.get(_key(model, scenario, OBSERVED), lambda: words.row_of(model, scenario, seen))


def run_ahead(model: Bench, scenario: Scenario) -> None:
    """Run a scenario before the page draws its controls: the browser then has nothing to do with the same cores.

    What cannot be run is told where the page asks for it.
    """
    if scenario.prior != "text" or model.priors.has(scenario):
        with suppress(Exception), at_work(model, scenario):
            both_sides(model, scenario)


def text_distance(model: Bench, scenario: Scenario, text: str, kind: str) -> TextDistance:
    """How far a text is from the scenario's prior; recent answers are kept. Raises NVError with one sentence."""
    of_prior = _key(model, scenario, ("model", "chat", *PRIOR, "prior_mean_scale", "prior_variance_scale"))
    key = (of_prior, text, kind)
    return _distances.get(key, lambda: distance.text_distance(model, scenario, text, kind))


def proof(model: Bench, text: str, chat: bool = False) -> IdentityProof:
    """The identity proof of a model on a text, or on a chat turn of it, computed once."""
    key = (_key(model, Scenario(), ()), model.loaded.name, text, chat)
    return _proofs.get(key, lambda: prove_identity(model, text, chat))


def checked(model: Bench) -> list[Finding]:
    """The whole check of a model, if a visitor had it made; else nothing."""
    return check(model, lambda _line: None) if ("check",) in model.results else []


def check(model: Bench, tell: Callable[[Finding], None]) -> list[Finding]:
    """The whole check of a model, made once; what tell raises stops it."""

    def made() -> list[Finding]:
        found: list[Finding] = []
        lines = findings(model)
        while True:
            with GATE.turn():  # it loads the model once more, which no gate guards
                line = next(lines, None)
            if line is None:
                return found
            found.append(line)
            tell(line)

    lines: list[Finding] = model.results.get(("check",), made)
    return lines


def known(model: Bench) -> list[Finding]:
    """What is known of the check of a model: the whole, or its quick lines, made now."""
    lines: list[Finding] = checked(model) or model.results.get(
        ("quick check",), lambda: list(findings(model, quick=True))
    )
    return lines


def walk(model: Bench, scenario: Scenario, progress: Callable[[float], None]) -> Path:
    """The walk from identity to a setting; recent ones are kept. What progress raises stops it."""
    path: Path = model.results.get(("path", model.run_of(scenario)), lambda: follow(model, scenario, progress))
    return path


def glance(model: Bench, scenario: Scenario, progress: Callable[[int, int], None]) -> Glance:
    """The small maps that a scenario asks for; recent ones are kept. What progress raises stops it."""
    key = ("glance", scenario.key((*OBSERVED, "glance"), model.kinds))
    found: Glance = model.results.get(key, lambda: small_maps(model, scenario, prior(model, scenario), progress))
    return found


def ablation(model: Bench, scenario: Scenario, progress: Callable[[int, int], None]) -> Ablation:
    """What each layer of a setting does; recent answers are kept. What progress raises stops it."""
    key = ("ablation", model.run_of(scenario))
    found: Ablation = model.results.get(key, lambda: ablate(model, scenario, prior(model, scenario), progress))
    return found


def lens(model: Bench, scenario: Scenario, progress: Callable[[int, int], None]) -> Lens:
    """What each layer would say; recent answers are kept. What progress raises stops it."""
    key = ("lens", scenario.row, model.run_of(scenario))
    found: Lens = model.results.get(key, lambda: read_layers(model, scenario, prior(model, scenario), progress, turn))
    return found


def heads(
    model: Bench, scenario: Scenario, texts: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> Heads:
    """Every head over a list of texts; without progress of those that were measured here before."""
    used = prior(model, scenario)
    return over_texts(model, scenario, used, texts, progress, shared.heads(), boundary.sentence)


def slopes(
    model: Bench, scenario: Scenario, progress: Callable[[int, int], None], texts: tuple[str, ...] = ()
) -> Slopes:
    """The slopes of a scenario's loss, or of a list's; recent ones are kept. What progress raises stops it."""

    def made() -> Slopes:
        used = prior(model, scenario)
        if texts:
            return slopes_of_list(model, scenario, used, texts, progress, turn)
        return slopes_of(model, scenario, used, progress, turn)

    at = replace(scenario, text="") if texts else scenario
    found: Slopes = model.results.get(("slopes", model.run_of(at), texts), made)
    return found


def turn(batch: Batch) -> AbstractContextManager[None]:
    """A turn for a forward with its backward, which no guard of the model sees."""
    return GATE.turn(tokens_of((), batch))


def draws(model: Bench, scenario: Scenario, seen: Observation) -> Draws:
    """The seeded draws of the observation's cell; recent ones are kept."""
    return _draws.get(_key(model, scenario, (*OBSERVED, "seed")), lambda: draw_row(model, scenario, seen))
