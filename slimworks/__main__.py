"""`python -m slimworks`: the same command line as the `slimworks` console script."""

from slimworks.pipeline.cli import main

if __name__ == "__main__":
    main()
