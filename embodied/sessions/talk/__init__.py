"""Talk: sentences in, motion out, at once. A language model writes the objective and a planner follows it."""
