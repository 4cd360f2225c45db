"""Networks: the U²-Net, its weights in float32 and int8, and third-party ONNX matting networks."""
