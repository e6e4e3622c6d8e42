"""`pairsim completion`."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script that lets a shell complete commands, options and choices. Nothing is installed.

    For bash: pairsim completion bash > ~/.local/share/bash-completion/completions/pairsim

    For zsh: pairsim completion zsh > ~/.zfunc/_pairsim (a folder that is in fpath)

    For fish: pairsim completion fish > ~/.config/fish/completions/pairsim.fish

    Args:
        shell: bash, zsh or fish.
    """
    from pairsim.cli.app import make_app  # which has this command

    print(make_app().generate_completion(shell=shell))
