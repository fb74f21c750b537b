"""Who serves: the champion of each line of models, its challengers, promotion, rollback and retirement.

``register`` is what is known of a line, and pure; ``store`` keeps it in S3 under conditional writes; ``serving`` puts
a model behind a deployment; ``promotion`` orders these so that a crash at any call leaves one model serving.
"""
