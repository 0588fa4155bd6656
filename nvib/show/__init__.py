"""Pictures and controls: numpy in, plotly figure out; Streamlit widgets in, Scenario out.

Each module imports from those to its right alone:

app.py, pages > sections, share > page > sidebar, draw, report > pick, poster, resources > session, components > figures

The scripts end or rerun the page, and page.stop for them; what draws does not.
"""
