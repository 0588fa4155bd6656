"""Heads: every head over many texts, what kind it is, and which ones NV touches."""

from dataclasses import replace

import streamlit as st

from nvib import __version__
from nvib.lab.share import link
from nvib.lab.share.script import heads_script
from nvib.show import page, report, share
from nvib.show.sections import heads, without_prior

with page.guarded():
    bench, scenario = page.begin("Heads", text=False)
    if without_prior.asked_for(bench, scenario):
        st.stop()
    texts, ready = heads.texts_of(bench, scenario)
    words = report.about("Heads", bench.shape, replace(scenario, text="", row=0), link.Made(app=__version__))
    words["text"] = f"{len(texts)} texts, {'those that ship' if ready else 'of a list'}"
    if texts:
        with page.told():
            found = heads.measured(bench, scenario, texts, ready)
            if found.measured:
                heads.verdict(found)
                heads.one_head(found, scenario, *heads.picture(found, scenario))
    else:
        st.info("Paste texts above, one per line; every head is measured over them.")
    code = heads_script(scenario, bench.shape, texts, ready is not None) if texts else ""
    share.toolbar("Heads", bench.shape, scenario, None, code=code, words=words)
