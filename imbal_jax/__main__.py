"""``python -m imbal_jax``: the command line."""

import sys

from imbal_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
