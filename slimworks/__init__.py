"""SlimWorks: labelled photos in, a gated TF-Slim model behind TensorFlow Serving out."""

__version__ = "0.1.0"
