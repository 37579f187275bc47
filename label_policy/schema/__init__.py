"""The words that a condition may read: interaction columns, signals, and what a blank text is."""
