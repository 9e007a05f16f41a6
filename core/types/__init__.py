"""Domain values: frozen, validated, free of I/O. Import them from their own modules."""
