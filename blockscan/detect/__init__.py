"""From a model's surprise to a judgement: token p-values, one value, a conformal p-value, a reason."""
