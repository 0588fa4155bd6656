"""Serve the app: `python -m nvib.show`, with the options of `streamlit run`."""

import sys
from pathlib import Path

from streamlit.web.cli import main

SERVER = Path(__file__).parent / "server.py"

if __name__ == "__main__":
    sys.exit(main(["run", str(SERVER), *sys.argv[1:]]))
