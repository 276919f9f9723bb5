"""The only place that wires rooms together: `convert` turns settings into the rooms' values, `gateway` connects the doors."""
