"""The linearised conditions of a cone program, behind both refinement and derivative."""
