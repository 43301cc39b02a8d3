"""Features of boxes in two ways, by cropping or by pooling, compared: agreement, retrieval and time."""
