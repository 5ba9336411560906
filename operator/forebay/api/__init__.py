"""What users write: the three kinds as pydantic models, the single source of the CRDs, validation and documentation."""
