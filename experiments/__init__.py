"""The applications of the survey, each against its published numbers, all with the shared layer."""
