"""The history of one row, and past days built again."""
