"""How the policy is made: a file for each `method` of params.yaml."""
