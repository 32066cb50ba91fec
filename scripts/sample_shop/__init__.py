"""The invented shop behind `sample_source.py`: its tables, rows, databases and events."""
