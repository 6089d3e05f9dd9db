"""Head, loss and metric over any backbone; it knows no training loop."""
