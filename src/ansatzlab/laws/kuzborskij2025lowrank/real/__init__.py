"""The third chapter: pairs of classes of real data, where inputs are orthogonal only if they are made so."""
