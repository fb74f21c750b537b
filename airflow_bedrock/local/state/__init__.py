"""The state of Local Bedrock: jobs, custom models, deployments."""
