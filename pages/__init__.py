"""What people open: start page, report, lineage, diagram."""
