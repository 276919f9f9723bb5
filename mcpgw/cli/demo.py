"""`mcpgw demo`: runs examples/demo/story.py, from a checkout or from the installed package."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import mcpgw
from mcpgw.core.errors import ConfigError


def demo(folder: Annotated[Path, typer.Argument(help="Made, or made anew.")] = Path("mcpgw-demo")) -> None:
    """Run the whole story on real upstream servers, and leave the gateway's folder to explore."""
    package = Path(mcpgw.__file__).parent
    for examples in (package / "examples", package.parent / "examples"):
        story = examples / "demo/story.py"
        if story.exists():
            os.execv(sys.executable, [sys.executable, str(story), str(folder)])  # noqa: S606  # our own file, our interpreter
    raise ConfigError("this installation lacks the examples", hint="Install mcpgw from its wheel, or run scripts/demo.")
