"""`python -m edgedistill` is the command line."""

from edgedistill.cli import main

if __name__ == "__main__":
    main()
