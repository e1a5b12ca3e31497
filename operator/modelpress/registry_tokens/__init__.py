"""The token service of the default registry: each namespace reads and writes its own repository alone.

Protocol: https://distribution.github.io/distribution/spec/auth/token/. A pod shows the token of its
ServiceAccount as the password; the API server says whose it is (TokenReview).
"""
