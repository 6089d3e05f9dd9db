"""What the package exports, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import convatlas
from convatlas import errors


def _modules_after(code):
    script = f"{code}\nimport sys\nprint(' '.join(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


def test_every_public_name_exists():
    assert convatlas.__all__ == sorted(convatlas.__all__)
    assert set(convatlas._HOMES) == set(convatlas.__all__)
    for name in convatlas.__all__:
        assert getattr(convatlas, name).__module__ == convatlas._HOMES[name]
    assert set(convatlas.__all__) <= set(dir(convatlas))


def test_every_error_is_listed_and_drawn():
    raised = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert {error.__name__ for error in raised} | {"nearest"} == set(errors.__all__)
    assert all(issubclass(error, errors.ConvAtlasError) for error in raised)
    assert all(error.__name__ in errors.__doc__ for error in raised)


def test_importing_the_package_does_not_import_torch():
    loaded = _modules_after("import convatlas; convatlas.list_models()")
    assert loaded.isdisjoint({"torch", "numpy", "PIL", "plotly"})


def test_listing_models_does_not_import_torch():
    command = "from convatlas.cli.main import main\ntry: main(['list'])\nexcept SystemExit: pass"
    assert _modules_after(command).isdisjoint({"torch", "numpy", "PIL", "plotly"})
