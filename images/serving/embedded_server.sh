#!/bin/sh
# The embedded server under TensorFlow Serving's name. Like it, it listens on all addresses here:
# what reaches a container is what was published.
exec slimworks serve --host=0.0.0.0 "$@"
