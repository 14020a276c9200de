"""Ground truth: the join rule, the metric accumulators and the merge rule. Pure: numbers, arrays and dataclasses."""
