"""What `ltxtui sweep` is asked for, its runs, made alone or with others, and its report."""
