"""Events as publishers deliver them: files, lines, tables, and the verdict that a worker would give."""
