"""The pages of target/site that are the project's own, and the page of the lineage."""
