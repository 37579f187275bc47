"""`python -m pipelines` is the `feedback-kto` command."""

from pipelines.cli import main

main()
