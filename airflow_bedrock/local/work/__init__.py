"""Background work: the generators that advance customization jobs, deployments and other resources."""
