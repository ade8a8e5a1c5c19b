"""Events as publishers deliver them: files, lines, and the verdict that a worker would give."""
