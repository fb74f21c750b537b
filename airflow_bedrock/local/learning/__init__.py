"""The small language model that Local Bedrock trains: tokens, the model, its training."""
