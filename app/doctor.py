"""`research-agent doctor`: what this machine can do, and with a SoW, what it lacks to run it."""


def doctor_command() -> None:
    """Say what this machine can do."""
