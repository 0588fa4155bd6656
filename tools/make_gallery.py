"""Observe the scenarios of the gallery and store what is seen in assets/gallery."""

from __future__ import annotations

from nvib import __version__
from nvib.lab import Bench, gallery, link, observe
from nvib.lab.fingerprint import fingerprint, numbers


def main() -> None:
    gallery.STORE.mkdir(parents=True, exist_ok=True)
    benches: dict[str, Bench] = {}
    for entry in gallery.ENTRIES:
        name = entry.scenario.model
        bench = benches.get(name) or benches.setdefault(name, Bench(name))
        seen = observe(bench, entry.scenario)
        made = link.Made(fingerprint(seen), bench.shape.revision, __version__)
        gallery.store(entry, gallery.Stored(bench.shape, seen, made))
        size = (gallery.STORE / f"{entry.name}.json.gz").stat().st_size
        told = ", ".join(f"{key} {value:.4g}" for key, value in numbers(seen).items())
        print(f"{entry.name:16} {size / 1e3:5.1f} kB  {told}")


if __name__ == "__main__":
    main()
