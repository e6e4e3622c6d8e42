"""`pairsim completion`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter


def completion(shell: Literal["bash", "zsh", "fish"], /, *, app: Annotated[App, Parameter(parse=False)]) -> None:
    """Print a script that lets a shell complete commands, options and choices. Nothing is installed.

    For bash: pairsim completion bash > ~/.local/share/bash-completion/completions/pairsim

    For zsh: pairsim completion zsh > ~/.zfunc/_pairsim (a folder that is in fpath)

    For fish: pairsim completion fish > ~/.config/fish/completions/pairsim.fish

    Args:
        shell: bash, zsh or fish.
        app: The application, given by the caller.
    """
    print(app.generate_completion(shell=shell))
