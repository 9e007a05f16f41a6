"""The survey agent: finds the works that bear on a task, classifies them, and says how complete the list is."""
