"""What goes on by itself: customization jobs, deployments, and the runner that moves them on."""
