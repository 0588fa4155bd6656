"""Pictures and controls: numpy in, plotly figure out; Streamlit widgets in, Scenario out."""
