"""``python -m convatlas`` is the command ``convatlas``."""

from __future__ import annotations

from convatlas.cli.main import main

if __name__ == "__main__":
    main()
