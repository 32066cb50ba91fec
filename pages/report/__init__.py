"""The report: figures from the marts, charts, and the page that shows both."""
