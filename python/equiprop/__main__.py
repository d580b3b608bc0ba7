"""``python -m equiprop`` is the ``equiprop`` command."""

from equiprop.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
