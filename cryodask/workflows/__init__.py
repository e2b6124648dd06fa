"""Side effects: read, hand to ops, run on the cluster, write, and carry on where an interrupted run stopped."""
