"""Where errors come from: classes, pairs of classes, labels, operating points."""
