"""Background work: the generators that move customization jobs, deployments and other resources on."""
