"""What a run does: load, build, test, and write the pages; one module for each make target."""
