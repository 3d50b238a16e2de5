"""What the study of adjoints measures: instances whose solution and derivative are known, and tasks to train."""
