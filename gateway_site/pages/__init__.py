"""Pages for signed-in people. They name tokens, and never show one."""
