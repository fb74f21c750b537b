"""What Bedrock has cost and may cost: the budget, its ledger, and what is paid for without being used."""
