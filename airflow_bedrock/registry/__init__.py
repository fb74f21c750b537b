"""The model registry: the champion of each line of models, its challengers, promotion, rollback and retirement.

``register`` holds what is known of a line, and is pure. ``store`` keeps it in S3 with conditional writes. ``serving``
puts a model behind a deployment. ``promotion`` orders these steps so that a crash at any call leaves one model serving.
"""
