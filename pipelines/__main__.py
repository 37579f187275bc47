"""`python -m pipelines` is the `feedback-kto` command."""

from pipelines.start import main

main()
