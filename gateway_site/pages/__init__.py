"""Pages for signed-in people. They describe tokens but never show one."""
