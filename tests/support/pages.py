"""Pages run as scripts."""

import base64
import json
from functools import cache

import numpy as np
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from nvib.show.menu import PAGES, path_of
from tests.support.folders import ROOT

PATHS = {title: path for path, title in PAGES.items() if title != "Gallery"}  # it has no controls
# Every AppTest looks for components in all that is installed, which a server does once.
manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)


def opened(page, **query):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    if page != "Explore":
        app.switch_page(path_of(page))
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def charts(app):
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def keyed(app, begin):
    """The charts whose keys begin so."""
    found = app.get("plotly_chart")
    return [json.loads(chart.proto.spec) for chart in found if chart.proto.id.split("-", 2)[2].startswith(begin)]


def arrays(values):
    """The numbers of a trace, as plotly packs them."""
    if isinstance(values, dict):
        found = np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
        return found.reshape([int(n) for n in values["shape"].split(",")]) if "shape" in values else found
    return np.array(values, float)
