"""What each fault costs: the same faults under this package's operator and under the amazon provider's.

Workers are real processes that are really killed; the service is Local Bedrock over HTTP, and what was paid for is
counted on its side.
"""
