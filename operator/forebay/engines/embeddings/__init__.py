"""A real embeddings model on the CPU: all-MiniLM-L6-v2 through onnxruntime, with weights that come as an ordinary Python package."""
