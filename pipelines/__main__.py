"""`python -m pipelines` is the `feedback-kto` command."""

from pipelines.cli.start import main

main()
