"""The command line: `python -m nvib VERB`, which is `nvib VERB` once installed."""

import sys

from nvib.lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
