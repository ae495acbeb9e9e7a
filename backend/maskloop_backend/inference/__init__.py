"""Images in, label maps and confidences out."""
