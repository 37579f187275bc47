"""Sources: the SQL mapping of a log format, and raw files read as JSON lines."""
