"""The paper's own tasks, for those who have a network and a GPU: summaries with BART-large, translations with Marian.

Models, data sets and the ranges of the random search are those of the published experiments (Fehr & Henderson, COLM
2024; github.com/idiap/nvr_transformers at acb2c88, its read-me, `sweep_configs` and data modules). The data come
through `datasets` from Hugging Face's hub.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from typing import Any

from nvib.assets import shipped
from nvib.errors import NVError
from nvib.estimation import estimate_prior
from nvib.lab.model.bench import Bench
from nvib.lab.sweep.measures import BATCH, SUMMARIES, TRANSLATIONS, Example, Measure
from nvib.lab.sweep.tasks import Task
from nvib.settings import KINDS

TRIALS = 64  # the published searches took 50 to 100
TEXTS_OF_PRIOR = 640
Load = Callable[["Source", str], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Source:
    """A data set on the hub, or a folder of .jsonl files. text, target: its columns, as "translation.en" inside one.

    splits: what it calls training, validation and test; where two are the same, its rows are dealt in turn.
    """

    hub: str
    text: str
    target: str
    config: str = ""
    splits: tuple[str, str, str] = ("train", "validation", "test")


@dataclass(frozen=True)
class Published:
    """A checkpoint, the data that it was fine-tuned on, and other domains.

    grid: the ranges of a search that chooses one setting by the mean over the domains, all that was searched for any of
    them. ranges: the published ones, for a setting that is chosen for one domain on its own validation texts.
    """

    model: str
    measure: Measure
    inside: dict[str, Source]
    outside: dict[str, Source] = field(default_factory=dict)
    grid: str = ""
    ranges: dict[str, str] = field(default_factory=dict)

    def of(self, domain: str) -> Published:
        """The same for one target domain, as the published searches are. Raises NVError where there is no such."""
        if domain not in self.ranges:
            raise NVError(f"The task has no domain {domain!r} with ranges of its own; choose {', '.join(self.ranges)}.")
        outside = {name: source for name, source in self.outside.items() if name == domain}
        return replace(self, outside=outside, grid=self.ranges[domain], ranges={domain: self.ranges[domain]})

    @property
    def sources(self) -> dict[str, Source]:
        return self.inside | self.outside


ALONE = ("train", "train", "train")
XSUM = {"XSum": Source("EdinburghNLP/xsum", "document", "summary")}
CNN = {"CNN/DailyMail": Source("abisee/cnn_dailymail", "article", "highlights", "3.0.0")}
OTHER_SUMMARIES = {
    "Curation": Source("d0rj/curation-corpus", "article_content", "summary", splits=ALONE),
    "SAMSum": Source("knkarthick/samsum", "dialogue", "summary"),
    "WikiHow": Source("wikihow", "text", "headline", "all"),
}
# The domains by the names that the published search files have for them.
DOMAINS = {
    "cnndm": "CNN/DailyMail", "xsum": "XSum", "curation": "Curation", "samsum": "SAMSum", "wikihow": "WikiHow",
    "opus100": "OPUS-100", "iwslt2017": "IWSLT 2017", "bible": "Bible", "tedtalks": "TED",
}  # fmt: skip
VARIED = [f"{kind}_{what}" for what in ("alpha", "sigma") for kind in KINDS]
RANGES: dict[str, dict[str, dict[str, Any]]] = json.loads(
    shipped("assets", "published-ranges.json").read_text("utf-8")
)["models"]


def _published(model: str, measure: Measure, inside: dict[str, Source], outside: dict[str, Source]) -> Published:
    found = {DOMAINS[name]: ranges for name, ranges in RANGES[model].items()}
    hull = {name: [end(ranges[name][n] for ranges in found.values()) for n, end in enumerate((min, max))]
            for name in VARIED}  # fmt: skip
    grids = {domain: _grid(ranges) for domain, ranges in found.items()}
    return Published(model, measure, inside, outside, _grid(hull), grids)


def _grid(ranges: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={ranges[name][0]:g}:{ranges[name][1]:g}" for name in VARIED)


def _translations(to: str, pair: str) -> Published:
    source, target = "translation.en", f"translation.{to}"
    return _published(
        f"Helsinki-NLP/opus-mt-en-{to}",
        TRANSLATIONS,
        {"OPUS-100": Source("Helsinki-NLP/opus-100", source, target, pair)},
        {
            "IWSLT 2017": Source("IWSLT/iwslt2017", source, target, f"iwslt2017-en-{to}"),
            "Bible": Source("Helsinki-NLP/bible_para", source, target, pair, ALONE),
            "TED": Source("IWSLT/ted_talks_iwslt", source, target, f"{pair.replace('-', '_')}_2014", ALONE),
        },
    )


PAPER = {
    "xsum": _published("facebook/bart-large-xsum", SUMMARIES, XSUM, CNN | OTHER_SUMMARIES),
    "cnn": _published("facebook/bart-large-cnn", SUMMARIES, CNN, XSUM | OTHER_SUMMARIES),
    "en-de": _translations("de", "de-en"),
    "en-fr": _translations("fr", "en-fr"),
}


def from_hub(source: Source, split: str) -> Iterator[Mapping[str, Any]]:
    """The rows of a split, as they come. Raises NVError with one sentence when they cannot be had."""
    try:
        from datasets import load_dataset  # only those who have a network install it
    except ImportError as error:
        raise NVError("The paper's tasks need the package datasets; run pip install 'nvib-explorer[paper]'.") from error
    try:
        yield from load_dataset(source.hub, source.config or None, split=split, streaming=True)
    except Exception as error:  # it raises what its many parts raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(".")
        raise NVError(f"The data set {source.hub!r} cannot be read ({reason}); is there a network?") from error


def examples(source: Source, count: int, load: Load = from_hub) -> list[Example]:
    """Twice `count` examples, of the validation split at even places and of the test split at odd ones."""
    _, *parts = source.splits
    if parts[0] == parts[1]:
        return list(islice(_read(source, parts[0], load), 2 * count))
    both = [list(islice(_read(source, part, load), count)) for part in parts]
    return [example for pair in zip_longest(*both) for example in pair if example]


def _read(source: Source, split: str, load: Load) -> Iterator[Example]:
    """The split's rows that have a text and a target; the others are left out."""
    for row in load(source, split):
        text, target = (_inside(row, path) for path in (source.text, source.target))
        if text is None or target is None:
            raise NVError(f"The data set {source.hub!r} has no text in {source.text!r} and {source.target!r}.")
        if text.strip() and target.strip():
            yield Example(text, target)


def _inside(row: Mapping[str, Any], path: str) -> str | None:
    """What stands at "translation.en" in a row, "" for nothing, or None where that is no text."""
    found: Any = row
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found if isinstance(found, str) else "" if found is None else None


def published_task(name: str, published: Published, count: int, load: Load = from_hub) -> Task:
    """The task of a checkpoint, `count` examples for validation and as many for test in each set."""
    sets = {said: examples(source, count, load) for said, source in published.sources.items()}
    hubs = ", ".join(source.hub for source in published.sources.values())
    return Task(name, published.model, published.measure, sets, tuple(published.inside), f"data sets {hubs}")


def fine_tuning_prior(
    bench: Bench, published: Published, load: Load = from_hub, progress: Callable[[int], None] | None = None
) -> str:
    """Estimate the prior from the fine-tuning data, as the paper does; the answer names it in a scenario."""
    (source,) = published.inside.values()
    split = source.splits[0]
    found = list(islice(_read(source, split, load), TEXTS_OF_PRIOR))
    if not found:
        raise NVError(f"The data set {source.hub!r} has no row in {split!r} to estimate the prior from.")
    groups = [found[n : n + BATCH] for n in range(0, len(found), BATCH)]
    batches = (bench.training_batch([e.text for e in group], [e.target for e in group]) for group in groups)
    about = {"corpus": f"{len(found)} rows of {source.hub}, {split}"}
    return bench.priors.keep(estimate_prior(bench.model, batches, provenance=about, progress=progress))
