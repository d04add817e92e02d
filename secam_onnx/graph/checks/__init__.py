"""From a stranger's file to a graph that the rest can rely on."""
