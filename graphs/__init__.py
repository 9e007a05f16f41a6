"""The LangGraph state machine of a run."""
