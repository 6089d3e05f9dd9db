"""From a trained network to a file that runs elsewhere, with proof that it agrees."""
