"""The results of a sweep: per arm, paired statistics, and the text of the verdict."""
