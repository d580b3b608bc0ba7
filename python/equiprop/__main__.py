"""Run the command-line program ``equiprop`` by ``python -m equiprop``."""

from equiprop.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
