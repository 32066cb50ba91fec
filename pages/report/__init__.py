"""The parts of the report: figures from the marts, charts, and the page that shows both."""
