"""Connect pairsim to other libraries: TensorBoard and a Gradio app."""
