"""Events as publishers hand them in: files, lines, and the verdict that a worker would give."""
