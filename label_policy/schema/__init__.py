"""The vocabulary of conditions: interaction columns, signals, and the definition of blank text."""
