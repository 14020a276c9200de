"""Events and documents, one file each: the Python type, and generated from it the JSON Schema checked in beside it."""
