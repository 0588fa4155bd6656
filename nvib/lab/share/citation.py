"""How to cite, as BibTeX: a view with its link and fingerprint, and the papers behind every view."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from nvib.lab.share.link import APP, Made

PAPERS = """
@inproceedings{fehr2024nonparametric,
  title     = {Nonparametric Variational Regularisation of Pretrained Transformers},
  author    = {Fehr, Fabio and Henderson, James},
  booktitle = {Conference on Language Modeling (COLM)},
  year      = {2024},
  note      = {arXiv:2312.00662}
}
@inproceedings{henderson2023vae,
  title     = {A {VAE} for Transformers with Nonparametric Variational Information Bottleneck},
  author    = {Henderson, James and Fehr, Fabio},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2023},
  note      = {arXiv:2207.13529}
}
"""
NAMES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def citation(page: str, model: str, made: Made, link: str) -> str:
    """The BibTeX of a view and of the papers.

    link: its whole address, or a sentence where it has none; made: its fingerprint, and what its numbers were made
    with. The day is today's, for an address is cited as it was seen.
    """
    seen = datetime.now(UTC).date()
    where = f"\\url{{{link}}}" if re.fullmatch(r"https?://\S+", link) else _escaped(link)
    key = re.sub(r"\W", "", made.fingerprint, flags=re.ASCII)[:8].lower() or "view"
    parts = [f"{APP} {made.app}", f"model {model}, revision {made.revision}"]
    parts += [f"fingerprint {made.fingerprint}"] * bool(made.fingerprint)
    return (
        f"@misc{{nvib-{key},\n"
        f"  title        = {{{_escaped(f'{APP}, {page}: {model}')}}},\n"
        f"  howpublished = {{{where}}},\n"
        f"  year         = {{{seen.year}}},\n"
        f"  note         = {{{_escaped('; '.join(parts))}; seen {seen.isoformat()}}}\n"
        f"}}{PAPERS}"
    )


def _escaped(text: str) -> str:
    """A text that TeX writes as it is."""
    return "".join(NAMES.get(c) or (f"\\{c}" if c in "{}$&#_%" else c) for c in " ".join(text.split()))
