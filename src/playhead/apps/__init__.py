"""What one does with a trained model: features, index, search, and the report of the demo."""
