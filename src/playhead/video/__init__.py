"""Files to tensors: which seconds of a video to read, how to read them, and what to do to the pixels."""
