"""The invented shop: its tables, rows, databases and events."""
