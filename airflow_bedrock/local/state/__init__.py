"""What Local Bedrock remembers: jobs, custom models, deployments."""
