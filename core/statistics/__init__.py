"""What scores on finitely many items do and do not show: arrays in, frozen values out."""
