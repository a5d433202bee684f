"""The gateway on ECS by CloudFormation: what fits together, and what the tasks may do."""
