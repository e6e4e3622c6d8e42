"""`python -m pairsim` is the command `pairsim`."""

from pairsim.cli import main

if __name__ == "__main__":
    main()
