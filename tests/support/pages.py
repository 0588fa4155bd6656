"""Pages run as scripts."""

import json

from streamlit.testing.v1 import AppTest

from nvib.show import page as frame
from tests.support.folders import ROOT

PATHS = {title: path for path, title in frame.PAGES.items() if title != "Gallery"}  # it has no controls


def opened(page, **query):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    if page != "Explore":
        app.switch_page(PATHS[page])
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def charts(app):
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
